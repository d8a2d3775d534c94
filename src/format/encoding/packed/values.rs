//! The values of a frame: what its codes mean.

use super::frame::Frame;
use super::group::{Group, Mode, Stream};
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::error::FrameError;
use crate::format::encoding::values::{check_bools, check_counts, check_exact, may_round, safe_codes};
use cellring_core::{Element, ValueType};

/// The matrix that frames are of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    /// Number of columns.
    pub(super) n_vars: u32,
    /// The type in which values are stored.
    pub(super) value_type: ValueType,
    /// Whether a value that an `f32` rounds is refused.
    pub(super) f32_exact: bool,
}

impl Matrix {
    /// Whether a value that `T` would round is refused.
    #[inline(always)]
    fn must_be_exact<T: Element>(self) -> bool {
        self.f32_exact && may_round::<T>(self.value_type)
    }

    /// The column after the last one of a group, if that is a column. Columns only ascend, so the last one tells for all.
    #[inline(always)]
    pub(super) fn check_column(self, next: u64) -> Result<u32, FrameError> {
        match next > u64::from(self.n_vars) {
            true => Err(FrameError::Column {
                column: next - 1,
                n_vars: self.n_vars,
            }),
            false => Ok(next as u32),
        }
    }
}

/// How the codes of a frame become values of type `T`.
pub(super) struct Values<'a, T> {
    mode: Mode,
    value_type: ValueType,
    /// Whether a value that `T` would round is refused.
    must_be_exact: bool,
    /// Codes of counts below this need no check. A power of two.
    safe_codes: u32,
    dictionary: Option<&'a Dictionary<'a, T>>,
}

/// What the fast loops, which write `f32`, can do with the codes of a frame.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) enum FastCodes {
    /// Nothing: the general loops have them.
    Never,
    /// Values are the codes plus one; codes below `safe` need no check.
    Counts {
        /// A power of two.
        safe: u32,
    },
    /// Values are the first `len` of the [table](Values::table).
    Dictionary {
        /// At most [`TABLE_LEN`].
        len: usize,
    },
}

impl<'a, T: Element> Values<'a, T> {
    /// The values of a frame with this dictionary.
    #[inline(always)]
    pub(super) fn new(frame: &Frame, matrix: Matrix, dictionary: &'a Option<Dictionary<'a, T>>) -> Self {
        let value_type = matrix.value_type;
        let must_be_exact = matrix.must_be_exact::<T>();
        let safe_codes = match must_be_exact {
            true => safe_codes(value_type).min(safe_codes(ValueType::F32)),
            false => safe_codes(value_type),
        };
        Self {
            mode: frame.mode,
            value_type,
            must_be_exact,
            safe_codes,
            dictionary: dictionary.as_ref(),
        }
    }

    /// What the fast loops can do.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn fast_codes(&self) -> FastCodes {
        match (self.dictionary, self.mode) {
            _ if T::VALUE_TYPE != ValueType::F32 => FastCodes::Never,
            (None, Mode::Counts) => FastCodes::Counts {
                safe: self.safe_codes,
            },
            (Some(dictionary), _) if dictionary.len <= TABLE_LEN && !dictionary.rounds => {
                FastCodes::Dictionary { len: dictionary.len }
            }
            _ => FastCodes::Never,
        }
    }

    /// The first values of the dictionary, and unspecified ones if it has fewer.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn table(&self) -> Option<&[T; TABLE_LEN]> {
        self.dictionary.map(|dictionary| &dictionary.table)
    }

    /// Decodes the codes of a group in any mode; `unpack` gives them, exceptions included.
    #[inline(always)]
    pub(super) fn decode(
        &self,
        stream: Stream,
        unpack: impl FnOnce(&mut Group) -> Result<(), FrameError>,
        data: &mut [T],
    ) -> Result<(), FrameError> {
        if self.mode == Mode::Plain {
            // The values are after the groups.
            return match stream == Stream::default() {
                true => Ok(()),
                false => Err(FrameError::Code { code: 1, limit: 1 }),
            };
        }
        let mut codes = [0; GROUP_LEN];
        unpack(&mut codes)?;
        let codes = &codes[..data.len()];
        match self.dictionary {
            Some(dictionary) => dictionary.look_up(codes, data),
            None => {
                check_counts(codes, self.value_type, self.safe_codes, self.must_be_exact)?;
                T::fill_counts(codes, data);
                Ok(())
            }
        }
    }

    /// Reads what follows the groups, which end at `at`: values that are stored as they are, and no byte else.
    #[inline(always)]
    pub(super) fn finish(&self, body: &[u8], mut at: usize, data: &mut [T]) -> Result<(), FrameError> {
        if self.mode == Mode::Plain {
            let width = self.value_type.size_bytes();
            let values = body.get(at..at + data.len() * width).ok_or(FrameError::Short {
                bytes: body.len(),
                part: "values",
            })?;
            check_bools(values, self.value_type)?;
            if self.must_be_exact {
                check_exact(values, self.value_type)?;
            }
            for (d, bytes) in data.iter_mut().zip(values.chunks_exact(width)) {
                *d = T::from_stored(self.value_type, bytes);
            }
            at += values.len();
        }
        match body.len() - at {
            0 => Ok(()),
            bytes => Err(FrameError::LeftOver { bytes }),
        }
    }
}

/// A dictionary, converted to the output type where it is as small as they nearly always are.
pub(super) struct Dictionary<'a, T> {
    bytes: &'a [u8],
    value_type: ValueType,
    len: usize,
    /// Whether it has a value that the output would round, and must not.
    rounds: bool,
    table: [T; TABLE_LEN],
}

/// Entries that are converted once per frame rather than once per value.
pub(super) const TABLE_LEN: usize = 256;

impl<'a, T: Element> Dictionary<'a, T> {
    /// The dictionary of a frame, if it has one.
    #[inline(always)]
    pub(super) fn from_frame(frame: &Frame<'a>, matrix: Matrix) -> Option<Self> {
        let must_be_exact = matrix.must_be_exact::<T>();
        (frame.mode == Mode::Dictionary)
            .then(|| Self::new(frame.dictionary, matrix.value_type, must_be_exact))
    }

    #[inline(always)]
    fn new(bytes: &'a [u8], value_type: ValueType, must_be_exact: bool) -> Self {
        let width = value_type.size_bytes();
        let mut table = [T::from_bits(0); TABLE_LEN];
        for (entry, bytes) in table.iter_mut().zip(bytes.chunks_exact(width)) {
            *entry = T::from_stored(value_type, bytes);
        }
        Self {
            bytes,
            value_type,
            len: bytes.len() / width,
            rounds: must_be_exact && check_exact(bytes, value_type).is_err(),
            table,
        }
    }

    #[inline(always)]
    fn look_up(&self, codes: &[u32], data: &mut [T]) -> Result<(), FrameError> {
        let largest = codes.iter().fold(0, |largest, &code| largest.max(code));
        if largest as usize >= self.len {
            return Err(FrameError::Code {
                code: largest,
                limit: self.len,
            });
        }
        if self.rounds {
            self.check_used(codes)?;
        }
        if self.len <= TABLE_LEN {
            data.iter_mut()
                .zip(codes)
                .for_each(|(d, &code)| *d = self.table[code as usize % TABLE_LEN]);
        } else {
            let width = self.value_type.size_bytes();
            data.iter_mut().zip(codes).for_each(|(d, &code)| {
                *d = T::from_stored(self.value_type, &self.bytes[code as usize * width..]);
            });
        }
        Ok(())
    }
}

impl<T> Dictionary<'_, T> {
    /// Only values that occur count.
    #[cold]
    fn check_used(&self, codes: &[u32]) -> Result<(), FrameError> {
        let width = self.value_type.size_bytes();
        codes
            .iter()
            .try_for_each(|&code| check_exact(&self.bytes[code as usize * width..][..width], self.value_type))
    }
}
