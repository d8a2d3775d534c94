//! Calls into `zarrs`, which decodes chunks.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;

use cellring_core::caught::caught;
use serde_json::Value;
use zarrs::array::codec::{ArrayToBytesCodecTraits, CodecOptions};
use zarrs::array::{Array, ArrayBytes, BytesRepresentation, ChunkRepresentation, CodecChain, DataType};
use zarrs::metadata::ArrayMetadata;

use super::text::{STRINGS, Strings};

/// Decodes chunks of one shape.
pub(super) struct Decoder {
    chain: Arc<CodecChain>,
    chunk: ChunkRepresentation,
    options: CodecOptions,
}

/// Runs a call into the library, which works on the calling thread alone; a panic over damaged data is an error like any other.
pub(super) fn guard<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(call).unwrap_or_else(|| Err("the zarr library failed on it".to_owned()))
}

/// What `zarrs` makes of a document.
pub(super) fn array_of(path: &str, document: Value) -> Result<Array<()>, String> {
    guard(|| {
        let metadata: ArrayMetadata = serde_json::from_value(document).map_err(|error| error.to_string())?;
        Array::new_with_metadata(Arc::new(()), &format!("/{path}"), metadata)
            .map_err(|error| error.to_string())
    })
}

/// Lengths of a document, none of them 0.
pub(super) fn lengths(value: Option<&Value>) -> Result<Vec<NonZeroU64>, String> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    listed
        .map(|length| length.as_u64().and_then(NonZeroU64::new))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "the shape of its chunks holds other than lengths from 1 on".to_owned())
}

/// The product, if it is less than 2^64.
pub(super) fn product(numbers: impl IntoIterator<Item = u64>) -> Option<u64> {
    numbers
        .into_iter()
        .try_fold(1u64, |n, length| n.checked_mul(length))
}

impl Decoder {
    /// A decoder of chunks of this shape of an array, of numbers or strings.
    pub(super) fn new(array: &Array<()>, chunk: Vec<NonZeroU64>) -> Result<Self, String> {
        let data_type = array.data_type().clone();
        let is_text = data_type == DataType::String;
        let chunk = ChunkRepresentation::new(chunk, data_type, array.fill_value().clone())
            .map_err(|error| error.to_string())?;
        let mut chain = array.codecs();
        if is_text {
            let codec = chain.array_to_bytes_codec().name();
            if codec != STRINGS {
                return Err(format!(
                    "its strings are stored with codec {codec}, expected {STRINGS}"
                ));
            }
            let before = chain.array_to_array_codecs().iter();
            let after = chain.bytes_to_bytes_codecs().iter();
            chain = Arc::new(CodecChain::new(
                before.map(|codec| Arc::clone(codec.codec())).collect(),
                Arc::new(Strings),
                after.map(|codec| Arc::clone(codec.codec())).collect(),
            ));
        }
        // With other threads a panic would be printed.
        let options = CodecOptions::builder()
            .concurrent_target(1)
            .validate_checksums(true)
            .build();
        Ok(Self {
            chain,
            chunk,
            options,
        })
    }

    /// The length of what is stored of a chunk, where every one has the same.
    pub(super) fn stored_bytes(&self) -> Option<u64> {
        let stored = guard(|| {
            self.chain
                .encoded_representation(&self.chunk)
                .map_err(|error| error.to_string())
        });
        match stored {
            Ok(BytesRepresentation::FixedSize(n_bytes)) => Some(n_bytes),
            _ => None,
        }
    }

    pub(super) fn decode(&self, stored: Vec<u8>) -> Result<ArrayBytes<'static>, String> {
        guard(|| {
            self.chain
                .decode(Cow::Owned(stored), &self.chunk, &self.options)
                .map_err(|error| error.to_string())
        })
    }

    /// Decodes a chunk of numbers to so many bytes.
    pub(super) fn decode_fixed(&self, stored: Vec<u8>, n_bytes: usize) -> Result<Vec<u8>, String> {
        let bytes = self
            .decode(stored)?
            .into_fixed()
            .map_err(|error| error.to_string())?;
        match bytes.len() == n_bytes {
            true => Ok(bytes.into_owned()),
            false => Err(format!("it decodes to {} bytes, expected {n_bytes}", bytes.len())),
        }
    }
}
