//! Takes frames apart.

use super::bits::unpack;
use super::{Descriptor, Group, Mode, Stream};
use crate::format::checksum::obs_crc;
use crate::format::constants::{DESCRIPTOR_BYTES, FRAME_CRC_BYTES, GROUP_LEN};
use crate::format::element::Element;
use crate::format::value::ValueType;

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are not those that were written for this obs and this number of values.
    #[error("the checksum is {found:08x} where {expected:08x} is stored")]
    Checksum {
        /// The checksum in the store.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The frame ends before what its parts need.
    #[error("the frame ends after {bytes} bytes, before its {part}")]
    Short {
        /// Length of the frame without its checksum.
        bytes: usize,
        /// The part that is cut off.
        part: &'static str,
    },
    /// Bytes are left over behind the last part.
    #[error("{bytes} bytes are left over at the end of the frame")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// The mode byte has no meaning.
    #[error("the mode is {0}, expected 0, 1 or 2")]
    Mode(u8),
    /// A column is not below `n_vars`.
    #[error("a column is {column}, expected below {n_vars}")]
    Column {
        /// The column found.
        column: u64,
        /// Number of columns of the matrix.
        n_vars: u32,
    },
    /// A code has no entry in the dictionary, or there is a code where none belongs.
    #[error("a value code is {code}, expected below {limit}")]
    Code {
        /// The code found.
        code: u32,
        /// Number of codes that have a meaning.
        limit: usize,
    },
    /// An exception's position is out of order or its high part is zero or does not fit.
    #[error("an exception of a group is not in ascending order or does not fit 31 bits")]
    Exception,
    /// The columns of an obs do not ascend, or the parts of a raw block do not lie where they belong.
    #[error("{0}")]
    Layout(&'static str),
}

/// The part of a frame that is not yet read.
struct Cursor<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, n: usize, part: &'static str) -> Result<&'a [u8], FrameError> {
        let bytes = self.frame.get(self.at..self.at + n).ok_or(FrameError::Short {
            bytes: self.frame.len(),
            part,
        })?;
        self.at += n;
        Ok(bytes)
    }
}

/// Decodes the frame of an obs: columns into `indices`, values into `data`.
///
/// `data` is `f32` (any stored type, rounded to the nearest) or the store's own `value_type` (exact). Both outputs have
/// the length that the index gives for the obs, which is not 0. They hold unspecified values after an error.
///
/// # Errors
/// [`FrameError`] where the bytes are not a whole and valid frame of this obs.
///
/// # Panics
/// Where the outputs differ in length, or the type of `data` is neither `f32` nor `value_type`.
pub fn decode<T: Element>(
    frame: &[u8],
    obs: u64,
    n_vars: u32,
    value_type: ValueType,
    indices: &mut [i32],
    data: &mut [T],
) -> Result<(), FrameError> {
    assert_eq!(indices.len(), data.len(), "one value per index");
    let body = check_crc(frame, obs, indices.len() as u32)?;
    let mut cursor = Cursor { frame: body, at: 0 };
    let mode = cursor.take(1, "mode")?[0];
    let mode = Mode::from_byte(mode).ok_or(FrameError::Mode(mode))?;
    let width = value_type.size_bytes();
    let dictionary = match mode {
        Mode::Dictionary => {
            let n = cursor.take(2, "dictionary length")?;
            let n = usize::from(u16::from_le_bytes([n[0], n[1]])) + 1;
            cursor.take(n * width, "dictionary")?
        }
        _ => &[],
    };
    let (mut gaps, mut codes): (Group, Group) = ([0; GROUP_LEN], [0; GROUP_LEN]);
    let mut next = 0;
    for (indices, data) in indices.chunks_mut(GROUP_LEN).zip(data.chunks_mut(GROUP_LEN)) {
        let m = indices.len();
        let head = cursor.take(DESCRIPTOR_BYTES, "group descriptor")?;
        let descriptor = Descriptor::from_bytes([head[0], head[1], head[2]]);
        let body = cursor.take(descriptor.body_bytes(m), "group")?;
        let (gap_bits, body) = body.split_at(descriptor.gap.packed_bytes(m));
        let (code_bits, body) = body.split_at(descriptor.code.packed_bytes(m));
        let (gap_exceptions, code_exceptions) = body.split_at(descriptor.gap.exception_bytes());
        unpack(gap_bits, descriptor.gap.width, m, &mut gaps);
        patch(&mut gaps[..m], descriptor.gap, gap_exceptions)?;
        next = gaps_to_indices(&gaps[..m], next, n_vars, indices)?;
        unpack(code_bits, descriptor.code.width, m, &mut codes);
        patch(&mut codes[..m], descriptor.code, code_exceptions)?;
        let codes = &codes[..m];
        match mode {
            Mode::Counts => data
                .iter_mut()
                .zip(codes)
                .for_each(|(d, &code)| *d = T::from_count(code + 1)),
            Mode::Dictionary => {
                let limit = dictionary.len() / width;
                for (d, &code) in data.iter_mut().zip(codes) {
                    let at = code as usize * width;
                    let entry = dictionary
                        .get(at..at + width)
                        .ok_or(FrameError::Code { code, limit })?;
                    *d = T::from_stored(value_type, entry);
                }
            }
            Mode::Plain => {
                if descriptor.code != Stream::default() {
                    return Err(FrameError::Code { code: 1, limit: 1 });
                }
            }
        }
    }
    if mode == Mode::Plain {
        let values = cursor.take(data.len() * width, "values")?;
        for (d, bytes) in data.iter_mut().zip(values.chunks_exact(width)) {
            *d = T::from_stored(value_type, bytes);
        }
    }
    match body.len() - cursor.at {
        0 => Ok(()),
        bytes => Err(FrameError::LeftOver { bytes }),
    }
}

/// Compares the checksum at the end of the frame and gives the bytes before it.
fn check_crc(frame: &[u8], obs: u64, nnz: u32) -> Result<&[u8], FrameError> {
    let Some((body, crc)) = frame.split_last_chunk::<FRAME_CRC_BYTES>() else {
        return Err(FrameError::Short {
            bytes: frame.len(),
            part: "checksum",
        });
    };
    let (expected, found) = (u32::from_le_bytes(*crc), obs_crc(obs, nnz, &[body]));
    if expected == found {
        Ok(body)
    } else {
        Err(FrameError::Checksum { expected, found })
    }
}

/// Adds the high parts of the exceptions. `bytes` has exactly the length that the stream says.
#[inline]
fn patch(values: &mut [u32], stream: Stream, bytes: &[u8]) -> Result<(), FrameError> {
    let (positions, highs) = bytes.split_at(stream.exceptions);
    let mut after = 0;
    for (&position, high) in positions.iter().zip(highs.chunks_exact(stream.high_bytes())) {
        let position = usize::from(position);
        let high = match *high {
            [byte] => u32::from(byte),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
        // 31 bits in all: what does not fit would be lost in the shift.
        if position < after
            || position >= values.len()
            || high == 0
            || u64::from(high) << stream.width >> 31 != 0
        {
            return Err(FrameError::Exception);
        }
        values[position] |= high << stream.width;
        after = position + 1;
    }
    Ok(())
}

/// Turns gaps into columns; `next` is the column behind the last one before this group. Gives the new `next`.
#[inline]
fn gaps_to_indices(gaps: &[u32], next: u32, n_vars: u32, indices: &mut [i32]) -> Result<u32, FrameError> {
    let mut next = u64::from(next);
    for (index, &gap) in indices.iter_mut().zip(gaps) {
        let column = next + u64::from(gap);
        *index = column as i32;
        next = column + 1;
    }
    // Columns only ascend, so the last one tells for all; 128 gaps of 31 bits cannot overflow 64.
    if next > u64::from(n_vars) {
        return Err(FrameError::Column {
            column: next - 1,
            n_vars,
        });
    }
    Ok(next as u32)
}
