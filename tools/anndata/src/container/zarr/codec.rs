//! The codecs of zarr: which are read, and those that are decoded here: `zarrs` does not know them, or would let a small chunk
//! become any number of bytes.
//!
//! Three kinds of names mean one codec: those of zarr v2 (`lz4`), those of v3 (`blosc`), and those that zarr-python writes into v3
//! for numcodecs (`numcodecs.lz4`). A document is brought to the names of `zarrs` before that sees it, so that the message
//! about a codec that is not read has its name; ours are registered under names of their own.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use cellring_filters::{FLETCHER32_BYTES, blosc, stream, strip_fletcher32};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use serde_json::{Value, json};
use zarrs::array::codec::{
    BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions, CodecOptions, CodecPlugin, CodecTraits,
    PartialDecoderCapability, PartialEncoderCapability,
};
use zarrs::array::{BytesRepresentation, RawBytes, RecommendedConcurrency};
use zarrs::metadata::Configuration;
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::PluginCreateError;

use crate::container::Fault;
use crate::container::limits::MAX_CHUNK_BYTES;

/// Where the names of our codecs begin.
const OURS: &str = "cellring.";

/// The most bytes that one codec gives to the next: numbers may be stored as wider ones, with a checksum.
const MAX_DECODED_BYTES: u64 = 8 * MAX_CHUNK_BYTES + (1 << 10);

/// The most memory that a stream of lzma may ask for, in KiB.
const MAX_LZMA_KIB: u32 = (MAX_CHUNK_BYTES >> 10) as u32;

inventory::submit! {
    CodecPlugin::new(OURS, |name| name.starts_with(OURS), create)
}

/// A codec of bytes that is undone here.
#[derive(Clone, Copy, Debug)]
enum Compression {
    /// One stream or several.
    Gzip,
    Zlib,
    /// One frame or several.
    Zstd,
    Blosc,
    /// Four bytes of length, little-endian, then one block.
    Lz4,
    Bz2,
    /// In the container of `xz`.
    Xz,
    /// In the older container of one stream.
    Lzma,
    /// None, but a checksum after the bytes. That of `zarrs` is another one if their number is odd.
    Fletcher32,
}

/// Renames the codecs of a v3 document, those within shards too.
pub(super) fn prepare_v3(codecs: &mut Value) -> Result<(), Fault> {
    let Some(listed) = codecs.as_array_mut() else {
        return Ok(());
    };
    let mut kept = Vec::with_capacity(listed.len());
    for mut codec in listed.drain(..) {
        let name = match &codec {
            Value::String(name) => name.clone(),
            other => other["name"].as_str().unwrap_or_default().to_owned(),
        };
        if name == "sharding_indexed" {
            for inner in ["codecs", "index_codecs"] {
                if let Some(codecs) = codec.pointer_mut(&format!("/configuration/{inner}")) {
                    prepare_v3(codecs)?;
                }
            }
        }
        let configuration = codec
            .get_mut("configuration")
            .map(Value::take)
            .unwrap_or_default();
        if let Some((name, configuration)) = known(&name, configuration)? {
            kept.push(match configuration {
                Value::Null => json!({ "name": name }),
                configuration => json!({ "name": name, "configuration": configuration }),
            });
        }
    }
    *listed = kept;
    Ok(())
}

/// Renames the compressor and the filters of a v2 document.
pub(super) fn prepare_v2(document: &mut Value) -> Result<(), Fault> {
    let rename = |codec: Value| -> Result<Option<Value>, Fault> {
        let mut configuration = codec;
        let id = configuration["id"].as_str().unwrap_or_default().to_owned();
        if let Some(members) = configuration.as_object_mut() {
            members.remove("id");
        }
        Ok(known(&id, configuration)?.map(|(name, mut configuration)| {
            if !configuration.is_object() {
                configuration = json!({});
            }
            configuration["id"] = name.into();
            configuration
        }))
    };
    if document["compressor"].is_object() {
        document["compressor"] = rename(document["compressor"].take())?.unwrap_or_default();
    }
    if let Some(filters) = document["filters"].as_array_mut() {
        let renamed: Result<Vec<_>, Fault> = filters.drain(..).map(rename).collect();
        let renamed: Vec<Value> = renamed?.into_iter().flatten().collect();
        document["filters"] = match renamed.is_empty() {
            true => Value::Null,
            false => renamed.into(),
        };
    }
    Ok(())
}

/// The name and the configuration under which a codec is known here; `None` for one that leaves what it stored as it is.
fn known(name: &str, configuration: Value) -> Result<Option<(String, Value)>, Fault> {
    let plain = name.strip_prefix("numcodecs.").unwrap_or(name);
    let is_numcodecs = plain != name;
    let theirs = |configuration| Ok(Some((plain.to_owned(), configuration)));
    let refused = |what: String| {
        Err(Fault::Unsupported {
            detail: format!("it is stored with zarr codec {what}, which is not read"),
            remedy: "open it with anndata and write it again with zarr's default codecs".to_owned(),
        })
    };
    match plain {
        // How it was compressed the stream says itself.
        "fletcher32" | "blosc" | "lz4" | "bz2" | "gzip" | "zlib" | "zstd" => {
            Ok(Some((format!("{OURS}{plain}"), json!({}))))
        }
        "lzma" => match configuration["format"].as_i64() {
            None | Some(1) => Ok(Some((format!("{OURS}xz"), json!({})))),
            Some(2) => Ok(Some((format!("{OURS}lzma"), json!({})))),
            Some(format) => refused(format!("lzma of format {format}")),
        },
        // They round before they store.
        "bitround" => Ok(None),
        "quantize"
            if configuration["astype"].is_null() || configuration["astype"] == configuration["dtype"] =>
        {
            Ok(None)
        }
        "shuffle" => theirs(configuration),
        "crc32c" if !is_numcodecs || configuration["location"] != "start" => theirs(Value::Null),
        "bytes" | "endian" | "transpose" | "sharding_indexed" | "vlen-utf8" | "vlen-bytes"
            if !is_numcodecs =>
        {
            theirs(configuration)
        }
        _ => refused(name.to_owned()),
    }
}

fn create(metadata: &MetadataV3) -> Result<Codec, PluginCreateError> {
    let name = metadata.name();
    let compression = match name.strip_prefix(OURS) {
        Some("gzip") => Compression::Gzip,
        Some("zlib") => Compression::Zlib,
        Some("zstd") => Compression::Zstd,
        Some("blosc") => Compression::Blosc,
        Some("lz4") => Compression::Lz4,
        Some("bz2") => Compression::Bz2,
        Some("xz") => Compression::Xz,
        Some("lzma") => Compression::Lzma,
        Some("fletcher32") => Compression::Fletcher32,
        _ => return Err(PluginCreateError::Other(format!("codec {name} is not known"))),
    };
    Ok(Codec::BytesToBytes(Arc::new(compression)))
}

impl Compression {
    /// Decodes a chunk to `expected_bytes`; where they are not known, to at most what a chunk may have.
    fn undo(self, stored: &[u8], expected_bytes: Option<u64>) -> Result<Vec<u8>, String> {
        let (body, found_bytes) = match self {
            Self::Blosc => (stored, Some(blosc::decoded_bytes(stored)? as u64)),
            Self::Lz4 => {
                let (length, block) = stored.split_first_chunk::<4>().ok_or("an lz4 chunk ends early")?;
                (block, Some(u64::from(u32::from_le_bytes(*length))))
            }
            _ => (stored, None),
        };
        let most_bytes = expected_bytes.unwrap_or(MAX_CHUNK_BYTES);
        if let Some(found_bytes) = found_bytes
            && (found_bytes > most_bytes || expected_bytes.is_some_and(|expected| expected != found_bytes))
        {
            return Err(format!(
                "a chunk decodes to {found_bytes} bytes, expected {most_bytes}"
            ));
        }
        let n_bytes = match self {
            // Decoded straight to where it is wanted, if its length is known.
            Self::Gzip | Self::Zlib | Self::Zstd => expected_bytes,
            _ => found_bytes,
        };
        let mut place = vec![0; n_bytes.unwrap_or(0) as usize];
        match self {
            Self::Fletcher32 => {
                place = body.to_vec();
                strip_fletcher32(&mut place)?;
            }
            Self::Gzip if expected_bytes.is_some() && stream::gunzip(body, &mut place) => {}
            // Of several streams.
            Self::Gzip => {
                place.clear();
                read(MultiGzDecoder::new(body), most_bytes, &mut place)?;
            }
            Self::Zlib if expected_bytes.is_some() => stream::inflate(body, &mut place)?,
            Self::Zlib => read(ZlibDecoder::new(body), most_bytes, &mut place)?,
            Self::Zstd if expected_bytes.is_some() => stream::zstd(body, &mut place)?,
            Self::Zstd => {
                let reader = ::zstd::stream::read::Decoder::with_buffer(body);
                let reader = reader.map_err(|error| format!("a zstd chunk does not decode ({error})"))?;
                read(reader, most_bytes, &mut place)?;
            }
            Self::Blosc => blosc::decode(body, &mut place)?,
            Self::Lz4 => stream::lz4_block(body, &mut place)?,
            Self::Bz2 => read(bzip2::read::MultiBzDecoder::new(body), most_bytes, &mut place)?,
            Self::Xz => read(
                lzma_rust2::XzReader::new_mem_limit(body, true, MAX_LZMA_KIB),
                most_bytes,
                &mut place,
            )?,
            Self::Lzma => {
                let reader = lzma_rust2::LzmaReader::new_mem_limit(body, MAX_LZMA_KIB, None);
                let reader = reader.map_err(|error| format!("an lzma chunk does not decode ({error})"))?;
                read(reader, most_bytes, &mut place)?;
            }
        }
        if expected_bytes.is_some_and(|expected| expected != place.len() as u64) {
            return Err(format!(
                "a chunk decodes to {} bytes, expected {most_bytes}",
                place.len()
            ));
        }
        Ok(place)
    }
}

/// Reads a stream to its end, which is at most so far away.
fn read(reader: impl Read, most_bytes: u64, place: &mut Vec<u8>) -> Result<(), String> {
    let n = reader
        .take(most_bytes.saturating_add(1))
        .read_to_end(place)
        .map_err(|error| format!("a chunk does not decode ({error})"))?;
    match n as u64 > most_bytes {
        true => Err(format!("a chunk decodes to more than {most_bytes} bytes")),
        false => Ok(()),
    }
}

impl CodecTraits for Compression {
    fn identifier(&self) -> &str {
        OURS
    }

    fn configuration_opt(&self, _: &str, _: &CodecMetadataOptions) -> Option<Configuration> {
        None
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        PartialDecoderCapability {
            partial_read: false,
            partial_decode: false,
        }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability {
            partial_encode: false,
        }
    }
}

impl BytesToBytesCodecTraits for Compression {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(&self, _: &BytesRepresentation) -> Result<RecommendedConcurrency, CodecError> {
        Ok(RecommendedConcurrency::new_maximum(1))
    }

    fn encoded_representation(&self, decoded: &BytesRepresentation) -> BytesRepresentation {
        match (self, decoded) {
            (Self::Fletcher32, BytesRepresentation::FixedSize(n_bytes)) => {
                BytesRepresentation::FixedSize(n_bytes + FLETCHER32_BYTES as u64)
            }
            _ => BytesRepresentation::UnboundedSize,
        }
    }

    fn encode<'a>(&self, _: RawBytes<'a>, _: &CodecOptions) -> Result<RawBytes<'a>, CodecError> {
        Err(CodecError::Other("this codec only decodes".to_owned()))
    }

    fn decode<'a>(
        &self,
        encoded_value: RawBytes<'a>,
        decoded_representation: &BytesRepresentation,
        _: &CodecOptions,
    ) -> Result<RawBytes<'a>, CodecError> {
        // Where another codec took more than a chunk may have, this one would only be told so.
        let expected_bytes = match decoded_representation {
            BytesRepresentation::FixedSize(bytes) if *bytes <= MAX_DECODED_BYTES => Some(*bytes),
            BytesRepresentation::FixedSize(bytes) => {
                return Err(CodecError::Other(format!(
                    "a chunk is to decode to {bytes} bytes, expected at most {MAX_DECODED_BYTES}"
                )));
            }
            _ => None,
        };
        self.undo(&encoded_value, expected_bytes)
            .map(Cow::Owned)
            .map_err(CodecError::Other)
    }
}
