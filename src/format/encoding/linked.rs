//! The rows of linked stores, once they have been brought together: canonical, with narrow columns, and each row's values as narrow as
//! they can be.
//!
//! A row is two parts: its columns, as wide as those of the [raw](super::raw) encoding, and its values, in `u8` or `u16` where all of the row
//! are such counts, else in their own type. Which it is, their length says.

use std::ops::RangeInclusive;

use super::bytes::Padded;
use super::codec::{Codec, DecodeObs, StoredMatrix};
use super::error::FrameError;
use super::raw::RawDecoder;
use crate::format::var_order::VarOrder;
use cellring_core::{Element, ValueType};

/// The rows of linked stores.
pub(crate) enum LinkedCodec {}

impl Codec for LinkedCodec {
    const NAME: &'static str = "linked";
    const HAS_RAW_VALUE_TYPE: bool = false;
    const VAR_ORDER: VarOrder = VarOrder::Source;

    type Decoder = LinkedDecoder;

    /// There are no shards.
    fn obs_bytes(_nnz: u32, _matrix: &StoredMatrix) -> RangeInclusive<u64> {
        0..=0
    }
}

/// The type that `n` values of `value_type` have as they are kept, in so many bytes together. `None` if there is none.
#[inline]
pub(crate) fn kept_type(value_type: ValueType, n: usize, bytes: usize) -> Option<ValueType> {
    match bytes {
        _ if n * value_type.size_bytes() == bytes => Some(value_type),
        _ if n == bytes => Some(ValueType::U8),
        _ if 2 * n == bytes => Some(ValueType::U16),
        _ => None,
    }
}

/// Decodes rows of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkedDecoder(StoredMatrix);

impl DecodeObs for LinkedDecoder {
    fn new(matrix: StoredMatrix) -> Self {
        Self(matrix)
    }

    /// There is no checksum.
    #[inline]
    fn decode<T: Element>(
        &self,
        _obs: u64,
        _crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        let [index_part, value_part] = parts.map(Padded::bytes);
        let kept = kept_type(self.0.value_type, data.len(), value_part.len());
        let stored = kept.ok_or(FrameError::Layout(
            "the values of an obs do not have the length that their number requires",
        ))?;
        let decoder = RawDecoder::new(StoredMatrix { stored, ..self.0 });
        decoder.decode_parts(index_part, value_part, indices, data)
    }
}
