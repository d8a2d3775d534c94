//! The rows of linked stores, once they have been brought together: canonical, with narrow columns, and each row's values as narrow as
//! they can be.
//!
//! A row is two parts: its columns, as wide as those of the [raw](super::raw) encoding, and its values, in `u8` or `u16` where all of the row
//! are such counts, else in their own type. Which it is, their length says.

use std::ops::RangeInclusive;

use super::bytes::Padded;
use super::codec::{Codec, DecodeObs, StoredMatrix};
use super::error::FrameError;
use super::raw::index_bytes;
use super::values::{check_exact, may_round};
use crate::format::checksum::{crc32c, crc32c_append};
use crate::format::var_order::VarOrder;
use cellring_core::{Element, ValueType, get};

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

    /// The checksum, if the index has them, is that of the canonical row, so that it is compared with what was decoded.
    #[inline]
    fn decode<T: Element>(
        &self,
        _obs: u64,
        crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        let [index_part, value_part] = parts.map(Padded::bytes);
        let kept = kept_type(self.0.value_type, data.len(), value_part.len());
        let stored = kept.ok_or(FrameError::Layout(
            "the values of an obs do not have the length that their number requires",
        ))?;
        if index_part.len() != indices.len() * index_bytes(self.0.n_vars) {
            return Err(FrameError::Layout(
                "the columns of an obs do not have the length that their number requires",
            ));
        }
        widen(index_part, self.0.n_vars, indices);
        if self.0.has_row_checksums {
            let found = checksum(
                bytemuck::cast_slice(indices),
                value_part,
                stored,
                self.0.value_type,
            );
            if found != crc {
                return Err(FrameError::Checksum { expected: crc, found });
            }
        }
        self.values(value_part, stored, data)
    }
}

/// Columns as they are delivered. That they are in range was seen when they were made narrow.
#[inline]
fn widen(columns: &[u8], n_vars: u64, indices: &mut [i32]) {
    match index_bytes(n_vars) {
        2 => indices
            .iter_mut()
            .zip(columns.as_chunks::<2>().0)
            .for_each(|(index, &le)| *index = u16::from_le_bytes(le).into()),
        _ => indices
            .iter_mut()
            .zip(columns.as_chunks::<4>().0)
            .for_each(|(index, &le)| *index = u32::from_le_bytes(le) as i32),
    }
}

/// The checksum of a canonical row (`FORMAT.md`, section 12): of its columns, and of its values, which are kept as `kept` and are of
/// `value_type`.
pub(crate) fn checksum(columns: &[u32], values: &[u8], kept: ValueType, value_type: ValueType) -> u32 {
    let crc = crc32c(bytemuck::cast_slice(columns));
    if kept == value_type {
        return crc32c_append(crc, values);
    }
    cellring_core::with_element!(value_type, T => match kept {
        ValueType::U8 => checksum_of_counts::<T, 1>(crc, values, |[count]| count.into()),
        _ => checksum_of_counts::<T, 2>(crc, values, |le| u16::from_le_bytes(le).into()),
    })
}

/// Goes on with counts of `W` bytes, which are widened to the type of the matrix, some at a time.
fn checksum_of_counts<T: Element, const W: usize>(
    mut crc: u32,
    counts: &[u8],
    count: impl Fn([u8; W]) -> u32,
) -> u32 {
    const MAX_WIDTH: usize = 8;
    const AT_A_TIME: usize = 512;
    let width = T::VALUE_TYPE.size_bytes();
    let mut bytes = [0; AT_A_TIME * MAX_WIDTH];
    for some in counts.as_chunks::<W>().0.chunks(AT_A_TIME) {
        let places = bytes.chunks_exact_mut(width);
        for (place, &kept) in places.zip(some) {
            place.copy_from_slice(&T::from_count(count(kept)).bits().to_le_bytes()[..width]);
        }
        crc = crc32c_append(crc, &bytes[..some.len() * width]);
    }
    crc
}

impl LinkedDecoder {
    /// Values as they are delivered: of type `T`, which is that of the matrix or `f32`.
    #[inline]
    fn values<T: Element>(&self, values: &[u8], stored: ValueType, data: &mut [T]) -> Result<(), FrameError> {
        let value_type = self.0.value_type;
        if stored != value_type {
            match stored {
                ValueType::U8 => data
                    .iter_mut()
                    .zip(values)
                    .for_each(|(value, &count)| *value = T::from_count(count.into())),
                _ => data
                    .iter_mut()
                    .zip(values.as_chunks::<2>().0)
                    .for_each(|(value, &le)| *value = T::from_count(u16::from_le_bytes(le).into())),
            }
            return Ok(());
        }
        if self.0.f32_exact && may_round::<T>(value_type) {
            check_exact(values, value_type)?;
        }
        // The type is found out once for all values.
        cellring_core::with_element!(value_type, S => {
            let each = data.iter_mut().zip(values.chunks_exact(value_type.size_bytes()));
            match S::VALUE_TYPE == T::VALUE_TYPE {
                true => each.for_each(|(value, bytes)| *value = get(bytes)),
                false => each.for_each(|(value, bytes)| *value = T::from_stored(S::VALUE_TYPE, bytes)),
            }
        });
        Ok(())
    }
}
