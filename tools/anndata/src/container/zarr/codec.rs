//! The codecs of zarr that make bytes of bytes, undone within limits: no small chunk becomes any number of bytes.
//!
//! Three kinds of names mean one codec: those of zarr v2 (`lz4`), those of v3 (`blosc`), and those that zarr-python writes into v3
//! for numcodecs (`numcodecs.lz4`).

use std::io::Read;

use cellring_filters::{FLETCHER32_BYTES, Filter, blosc, stream, strip_crc32c, strip_fletcher32, zarr};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use serde_json::Value;

use crate::container::Fault;
use crate::container::limits::MAX_CHUNK_BYTES;

/// The most memory that a stream of lzma may ask for, in KiB.
const MAX_LZMA_KIB: u32 = (MAX_CHUNK_BYTES >> 10) as u32;

/// The greatest width of a shuffle that is read.
const MAX_SHUFFLED_BYTES: u64 = 1 << 12;

/// What codecs have to know of the elements of an array.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a> {
    /// As numpy names them.
    pub(super) dtype: &'a str,
    /// The width that they are shuffled by if none is named,
    pub(super) default_shuffle: u64,
    /// or if it is null; v2 does not have that.
    pub(super) null_shuffle: Option<u64>,
}

/// A codec from bytes to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
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
    Shuffle {
        element_bytes: u32,
    },
    /// The bytes, then their checksum.
    Fletcher32,
    Crc32c,
}

/// Refuses a codec by name.
pub(super) fn refused(what: &str) -> Fault {
    Fault::Unsupported {
        detail: format!("it is stored with zarr codec {what}, which is not read"),
        remedy: "open it with anndata and write it again with zarr's default codecs".to_owned(),
    }
}

impl Codec {
    /// The codec of this name, of an array of such elements; `None` for one that leaves what it stored as it is.
    ///
    /// # Errors
    /// If it is not read.
    pub(super) fn named(name: &str, configuration: &Value, of: Elements<'_>) -> Result<Option<Self>, Fault> {
        let plain = name.strip_prefix("numcodecs.").unwrap_or(name);
        Ok(Some(match plain {
            // How it was compressed the stream says itself.
            "gzip" => Self::Gzip,
            "zlib" => Self::Zlib,
            "zstd" => Self::Zstd,
            "blosc" => Self::Blosc,
            "lz4" => Self::Lz4,
            "bz2" => Self::Bz2,
            "lzma" => match configuration["format"].as_i64() {
                None | Some(1) => Self::Xz,
                Some(2) => Self::Lzma,
                Some(format) => return Err(refused(&format!("lzma of format {format}"))),
            },
            "shuffle" => {
                let given = configuration.get("elementsize");
                let element_bytes = match given {
                    None => Some(of.default_shuffle),
                    Some(Value::Null) => of.null_shuffle,
                    Some(width) => width.as_u64(),
                };
                let Some(element_bytes) = element_bytes else {
                    let given = given.unwrap_or(&Value::Null);
                    return Err(refused(&format!("shuffle with elementsize {given}")));
                };
                match element_bytes {
                    0 | 1 => return Ok(None),
                    2..=MAX_SHUFFLED_BYTES => Self::Shuffle {
                        element_bytes: element_bytes as u32,
                    },
                    _ => return Err(refused(&format!("shuffle of {element_bytes} bytes"))),
                }
            }
            "fletcher32" => Self::Fletcher32,
            "crc32c" if configuration["location"] != "start" => Self::Crc32c,
            // They round before they store.
            "bitround" => return Ok(None),
            "quantize"
                if configuration["dtype"] == of.dtype
                    && (configuration["astype"].is_null() || configuration["astype"] == of.dtype) =>
            {
                return Ok(None);
            }
            _ => return Err(refused(name)),
        }))
    }

    /// Its counterpart among the filters that links name.
    ///
    /// # Errors
    /// In one clause, if it has none.
    pub(super) fn filter(self) -> Result<Filter, String> {
        let (id, client_data) = match self {
            Self::Zlib => (1, vec![]),
            Self::Shuffle { element_bytes } => (2, vec![element_bytes]),
            Self::Fletcher32 => (3, vec![]),
            Self::Blosc => (32001, vec![]),
            Self::Zstd => (32015, vec![]),
            Self::Gzip => (zarr::GZIP, vec![]),
            Self::Crc32c => (zarr::CRC32C, vec![]),
            Self::Lz4 => (zarr::LZ4, vec![]),
            Self::Bz2 | Self::Xz | Self::Lzma => {
                let name = if self == Self::Bz2 { "bz2" } else { "lzma" };
                return Err(format!("zarr codec {name} is decoded by a conversion only"));
            }
        };
        Ok(Filter {
            id,
            name: None,
            client_data,
        })
    }

    /// The length of what it makes of so many bytes, if that does not depend on them.
    pub(super) fn encoded_bytes(self, decoded_bytes: u64) -> Option<u64> {
        match self {
            Self::Shuffle { .. } => Some(decoded_bytes),
            Self::Fletcher32 | Self::Crc32c => decoded_bytes.checked_add(FLETCHER32_BYTES as u64),
            _ => None,
        }
    }

    /// Decodes a chunk to `expected_bytes`; if they are not known, to at most what a chunk may have.
    ///
    /// # Errors
    /// In one clause, what is damaged.
    pub(super) fn decode(self, stored: Vec<u8>, expected_bytes: Option<u64>) -> Result<Vec<u8>, String> {
        let decoded = match self {
            Self::Shuffle { element_bytes } => {
                if !stored.len().is_multiple_of(element_bytes as usize) {
                    return Err(format!(
                        "a chunk of {} bytes is shuffled by {element_bytes}, which does not divide that",
                        stored.len()
                    ));
                }
                let mut plain = vec![0; stored.len()];
                stream::unshuffle(&stored, &mut plain, element_bytes as usize);
                plain
            }
            Self::Fletcher32 | Self::Crc32c => {
                let mut body = stored;
                match self {
                    Self::Crc32c => strip_crc32c(&mut body)?,
                    _ => strip_fletcher32(&mut body)?,
                }
                body
            }
            Self::Blosc => {
                let found_bytes = blosc::decoded_bytes(&stored)? as u64;
                let mut place = placed(found_bytes, expected_bytes)?;
                blosc::decode(&stored, &mut place)?;
                place
            }
            Self::Lz4 => {
                let (length, block) = stored.split_first_chunk::<4>().ok_or("an lz4 chunk ends early")?;
                let mut place = placed(u32::from_le_bytes(*length).into(), expected_bytes)?;
                stream::lz4_block(block, &mut place)?;
                place
            }
            Self::Gzip | Self::Zlib | Self::Zstd | Self::Bz2 | Self::Xz | Self::Lzma => {
                self.decode_stream(&stored, expected_bytes)?
            }
        };
        match expected_bytes {
            Some(expected) if expected != decoded.len() as u64 => Err(format!(
                "a chunk decodes to {} bytes, expected {expected}",
                decoded.len()
            )),
            _ => Ok(decoded),
        }
    }

    /// Decodes a stream that does not say in advance how long it becomes: straight to its place, if that is known.
    fn decode_stream(self, stored: &[u8], expected_bytes: Option<u64>) -> Result<Vec<u8>, String> {
        let most_bytes = expected_bytes.unwrap_or(MAX_CHUNK_BYTES);
        let mut place = match self {
            Self::Gzip | Self::Zlib | Self::Zstd => vec![0; expected_bytes.unwrap_or(0) as usize],
            _ => Vec::new(),
        };
        match (self, expected_bytes) {
            (Self::Gzip, Some(_)) if stream::gunzip(stored, &mut place) => return Ok(place),
            (Self::Zlib, Some(_)) => return stream::inflate(stored, &mut place).map(|()| place),
            (Self::Zstd, Some(_)) => return stream::zstd(stored, &mut place).map(|()| place),
            _ => place.clear(),
        }
        let failed = |error| format!("a chunk does not decode ({error})");
        match self {
            Self::Zlib => read(ZlibDecoder::new(stored), most_bytes, &mut place)?,
            Self::Zstd => {
                let reader = ::zstd::stream::read::Decoder::with_buffer(stored).map_err(failed)?;
                read(reader, most_bytes, &mut place)?;
            }
            Self::Bz2 => read(bzip2::read::MultiBzDecoder::new(stored), most_bytes, &mut place)?,
            Self::Xz => {
                let reader = lzma_rust2::XzReader::new_mem_limit(stored, true, MAX_LZMA_KIB);
                read(reader, most_bytes, &mut place)?;
            }
            Self::Lzma => {
                let reader = lzma_rust2::LzmaReader::new_mem_limit(stored, MAX_LZMA_KIB, None);
                read(reader.map_err(failed)?, most_bytes, &mut place)?;
            }
            // Of several streams.
            Self::Gzip => read(MultiGzDecoder::new(stored), most_bytes, &mut place)?,
            Self::Blosc | Self::Lz4 | Self::Shuffle { .. } | Self::Fletcher32 | Self::Crc32c => {
                unreachable!("not a stream")
            }
        }
        Ok(place)
    }
}

/// Room for what a chunk says that it decodes to, if that is what is expected.
fn placed(found_bytes: u64, expected_bytes: Option<u64>) -> Result<Vec<u8>, String> {
    let is_expected = match expected_bytes {
        Some(expected) => found_bytes == expected,
        None => found_bytes <= MAX_CHUNK_BYTES,
    };
    match is_expected {
        true => Ok(vec![0; found_bytes as usize]),
        false => Err(format!(
            "a chunk decodes to {found_bytes} bytes, expected {}",
            expected_bytes.unwrap_or(MAX_CHUNK_BYTES)
        )),
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
