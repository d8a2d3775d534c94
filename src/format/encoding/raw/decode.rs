//! Decodes obs of raw blocks.

use super::layout::index_bytes;
use crate::format::checksum::obs_crc;
use crate::format::encoding::bytes::Padded;
use crate::format::encoding::codec::{DecodeObs, StoredMatrix};
use crate::format::encoding::error::FrameError;
use crate::format::encoding::values::{check_bools, check_exact, check_large_count, may_round, safe_codes};
use cellring_core::Element;
use cellring_core::ValueType;

/// Decodes obs of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawDecoder(StoredMatrix);

impl DecodeObs for RawDecoder {
    fn new(matrix: StoredMatrix) -> Self {
        Self(matrix)
    }

    #[inline]
    fn decode<T: Element>(
        &self,
        obs: u64,
        crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        let [index_part, value_part] = parts.map(Padded::bytes);
        check_obs(obs, indices.len() as u32, crc, [index_part, value_part])?;
        let (n_vars, stored) = (self.0.n_vars as u32, self.0.stored);
        let width = index_bytes(u64::from(n_vars));
        if index_part.len() != indices.len() * width || value_part.len() != data.len() * stored.size_bytes() {
            return Err(FrameError::Layout(
                "the parts of an obs do not have the length that its number of values requires",
            ));
        }
        let mut after = 0;
        for (index, bytes) in indices.iter_mut().zip(index_part.chunks_exact(width)) {
            let column = match *bytes {
                [a, b] => u32::from(u16::from_le_bytes([a, b])),
                [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                _ => 0,
            };
            if column >= n_vars {
                return Err(FrameError::Column {
                    column: u64::from(column),
                    n_vars,
                });
            }
            if column < after {
                return Err(FrameError::Layout("the columns of an obs do not ascend"));
            }
            *index = column as i32;
            after = column + 1;
        }
        self.check_values::<T>(value_part)?;
        for (value, bytes) in data.iter_mut().zip(value_part.chunks_exact(stored.size_bytes())) {
            *value = if stored == T::VALUE_TYPE || T::VALUE_TYPE == ValueType::F32 {
                T::from_stored(stored, bytes)
            } else {
                count_from_stored(stored, bytes)?
            };
        }
        Ok(())
    }
}

impl RawDecoder {
    /// Checks values as they are stored: each is a value of the source's type, and one that `T` does not round where it must not.
    #[inline]
    fn check_values<T: Element>(self, values: &[u8]) -> Result<(), FrameError> {
        let StoredMatrix {
            value_type,
            stored,
            f32_exact,
            ..
        } = self.0;
        let must_be_exact = f32_exact && may_round::<T>(value_type);
        if stored == value_type {
            check_bools(values, value_type)?;
            return match must_be_exact {
                true => check_exact(values, value_type),
                false => Ok(()),
            };
        }
        // As for counts of a frame, which are one more than their code.
        let safe = match must_be_exact {
            true => safe_codes(value_type).min(safe_codes(ValueType::F32)),
            false => safe_codes(value_type),
        };
        if stored.size_bytes() < 4 && safe >> (8 * stored.size_bytes()) != 0 {
            return Ok(());
        }
        let counts = || {
            values.chunks_exact(stored.size_bytes()).map(|bytes| {
                let mut le = [0; 4];
                le[..bytes.len()].copy_from_slice(bytes);
                u32::from_le_bytes(le)
            })
        };
        if counts().fold(0, |all, count| all | count) < safe {
            return Ok(());
        }
        // A writer stores no 0 in this way, but one is a value of every type.
        counts()
            .filter(|&count| count > 0)
            .try_for_each(|count| check_large_count(count, value_type, must_be_exact))
    }
}

/// Compares the indices and the values of an obs with the CRC in the index.
pub(super) fn check_obs(obs: u64, nnz: u32, crc: u32, parts: [&[u8]; 2]) -> Result<(), FrameError> {
    let found = obs_crc(obs, nnz, &parts);
    match found == crc {
        true => Ok(()),
        false => Err(FrameError::Checksum { expected: crc, found }),
    }
}

/// Reads a value of a type other than `f32` that is stored as a narrower unsigned integer, and was found to be one.
fn count_from_stored<T: Element>(stored: ValueType, bytes: &[u8]) -> Result<T, FrameError> {
    let mut le = [0u8; 4];
    match stored {
        ValueType::U8 | ValueType::U16 | ValueType::U32 => le[..bytes.len()].copy_from_slice(bytes),
        _ => {
            return Err(FrameError::Layout(
                "values are stored in a type that their own type is not read from",
            ));
        }
    }
    Ok(T::from_count(u32::from_le_bytes(le)))
}
