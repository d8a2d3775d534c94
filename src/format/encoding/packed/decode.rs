//! Decodes frames.
#![allow(
    unsafe_code,
    reason = "code for an instruction set is called after the processor was asked for it"
)]

use super::arch::{self, Kernel};
use super::checksum::check_crc;
use super::encode::Mode;
use super::group::{Descriptor, Group, Packed, Stream};
use super::patch::patch;
use crate::format::constants::{DESCRIPTOR_BYTES, GROUP_LEN};
use crate::format::encoding::bytes::Padded;
use crate::format::encoding::error::FrameError;
use crate::format::encoding::values::{check_bools, check_counts, check_exact, may_round, safe_codes};
use cellring_core::Element;
use cellring_core::ValueType;

/// Decodes frames of one store.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    n_vars: u32,
    value_type: ValueType,
    f32_exact: bool,
    kernel: Kernel,
}

/// A frame whose checksum holds, taken apart as far as its groups.
struct Frame<'a> {
    /// The frame and what may be loaded after it.
    readable: &'a [u8],
    /// The frame without its checksum.
    body: &'a [u8],
    /// Start of the groups in it.
    groups_at: usize,
    mode: Mode,
    dictionary: &'a [u8],
}

impl FrameDecoder {
    /// The decoder for a matrix of `n_vars` columns whose values are stored as `value_type`, with the fastest loops that
    /// this processor can run.
    pub fn new(n_vars: u32, value_type: ValueType) -> Self {
        Self {
            n_vars,
            value_type,
            f32_exact: false,
            kernel: Kernel::detect(),
        }
    }

    /// The same, for a matrix that is said to have no value that an `f32` rounds: one that does is refused.
    pub fn with_f32_exact(self, f32_exact: bool) -> Self {
        Self { f32_exact, ..self }
    }

    /// The same with other loops.
    ///
    /// # Panics
    /// If this processor cannot run them.
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        assert!(kernel.is_available(), "this processor cannot run {kernel:?}");
        Self { kernel, ..self }
    }

    /// Decodes the frame of an obs: columns into `indices`, values into `data`.
    ///
    /// `data` is `f32` (any stored type, rounded to the nearest) or the store's own value type (exact). Both outputs
    /// have the length that the index gives for the obs, which is not 0. They hold unspecified values after an error.
    ///
    /// # Errors
    /// [`FrameError`] where the bytes are not a whole and valid frame of this obs.
    ///
    /// # Panics
    /// If the outputs differ in length, or the type of `data` is neither `f32` nor the stored one.
    #[inline]
    pub fn decode<T: Element>(
        &self,
        frame: Padded<'_>,
        obs: u64,
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        assert_eq!(indices.len(), data.len(), "one value per index");
        assert!(
            u32::try_from(frame.readable.len()).is_ok(),
            "a block is shorter than 4 GiB"
        );
        let body = check_crc(frame.bytes(), obs, indices.len() as u32)?;
        let frame = Frame::parse(frame.readable, body, self.value_type)?;
        match self.kernel {
            Kernel::Plain => groups_plain(&frame, self, indices, data),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` and `with_kernel` only set a kernel that this processor can run.
            Kernel::Avx2 => unsafe { groups_avx2(&frame, self, indices, data) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Avx512 => unsafe { groups_avx512(&frame, self, indices, data) },
        }
    }
}

impl<'a> Frame<'a> {
    fn parse(readable: &'a [u8], body: &'a [u8], value_type: ValueType) -> Result<Self, FrameError> {
        let short = |part| FrameError::Short {
            bytes: body.len(),
            part,
        };
        let &mode = body.first().ok_or(short("mode"))?;
        let mode = Mode::from_byte(mode).ok_or(FrameError::Mode(mode))?;
        if mode != Mode::Dictionary {
            return Ok(Self {
                readable,
                body,
                groups_at: 1,
                mode,
                dictionary: &[],
            });
        }
        let length = body.get(1..3).ok_or(short("dictionary length"))?;
        let entries = usize::from(u16::from_le_bytes([length[0], length[1]])) + 1;
        let groups_at = 3 + entries * value_type.size_bytes();
        let dictionary = body.get(3..groups_at).ok_or(short("dictionary"))?;
        check_bools(dictionary, value_type)?;
        Ok(Self {
            readable,
            body,
            groups_at,
            mode,
            dictionary,
        })
    }
}

/// A group taken apart.
#[derive(Clone, Copy, Default)]
struct Part {
    gap: Packed,
    code: Packed,
    /// Whether the fast loops can have them.
    gap_is_ready: bool,
    code_is_ready: bool,
}

/// Takes the group of `m` entries at `at` apart: its gaps, its codes, and where it ends.
#[inline(always)]
fn split_group(body: &[u8], at: usize, m: usize) -> Result<(Packed, Packed, usize), FrameError> {
    let short = FrameError::Short {
        bytes: body.len(),
        part: "group",
    };
    let Some(head) = body
        .get(at..)
        .and_then(|rest| rest.first_chunk::<DESCRIPTOR_BYTES>())
    else {
        return Err(short);
    };
    let descriptor = Descriptor::from_bytes(*head);
    let gaps_at = at + DESCRIPTOR_BYTES;
    let codes_at = gaps_at + descriptor.gap.packed_bytes(m);
    let gap_exceptions_at = codes_at + descriptor.code.packed_bytes(m);
    let code_exceptions_at = gap_exceptions_at + descriptor.gap.exception_bytes();
    let end = code_exceptions_at + descriptor.code.exception_bytes();
    if end > body.len() {
        return Err(short);
    }
    if m < GROUP_LEN {
        // Whole groups end on a byte.
        check_tail(&body[gaps_at..codes_at], m, descriptor.gap)?;
        check_tail(&body[codes_at..gap_exceptions_at], m, descriptor.code)?;
    }
    let packed = |stream, at: usize, exceptions_at: usize| Packed {
        stream,
        m: m as u32,
        at: at as u32,
        exceptions_at: exceptions_at as u32,
    };
    let gap = packed(descriptor.gap, gaps_at, gap_exceptions_at);
    let code = packed(descriptor.code, codes_at, code_exceptions_at);
    Ok((gap, code, end))
}

/// Groups that are taken apart before the first of them is decoded.
const AHEAD: usize = 8;

/// The loops over the groups, with the inner loops of one instruction set. A macro, since a generic function cannot be
/// compiled once per instruction set.
macro_rules! decode_groups {
    ($name:ident, $prepare:ident, $arch:ident $(, #[$attribute:meta])?) => {
        /// Takes groups of `left` entries in all apart, from `at` on, as many as there is room for; gives where they end.
        ///
        /// Not generic, so that there is one place that calls [`arch`]'s functions, which are then taken in.
        $(#[$attribute])?
        fn $prepare(
            frame: &Frame,
            mut at: usize,
            mut left: usize,
            parts: &mut [Part; AHEAD],
            highs: &mut [[arch::$arch::Highs; 2]; AHEAD],
        ) -> Result<usize, FrameError> {
            for (part, [gap_highs, code_highs]) in parts.iter_mut().zip(highs) {
                if left == 0 {
                    break;
                }
                let m = left.min(GROUP_LEN);
                (part.gap, part.code, at) = split_group(frame.body, at, m)?;
                part.gap_is_ready = arch::$arch::ready::<0>(frame.readable, frame.body, part.gap, gap_highs);
                part.code_is_ready = arch::$arch::ready::<1>(frame.readable, frame.body, part.code, code_highs);
                left -= m;
            }
            Ok(at)
        }

        $(#[$attribute])?
        fn $name<T: Element>(
            frame: &Frame,
            decoder: &FrameDecoder,
            indices: &mut [i32],
            data: &mut [T],
        ) -> Result<(), FrameError> {
            let &Frame { readable, body, groups_at, mode, dictionary } = frame;
            let width = decoder.value_type.size_bytes();
            let must_be_exact = decoder.f32_exact && may_round::<T>(decoder.value_type);
            let safe_codes = match must_be_exact {
                true => safe_codes(decoder.value_type).min(safe_codes(ValueType::F32)),
                false => safe_codes(decoder.value_type),
            };
            let dictionary =
                (mode == Mode::Dictionary).then(|| Dictionary::<T>::new(dictionary, decoder.value_type, must_be_exact));
            let (mut gaps, mut codes): (Group, Group) = ([0; GROUP_LEN], [0; GROUP_LEN]);
            // Taking a group apart and bringing its exceptions in place is little work that takes long: each step waits for
            // the one before. So it is done for some groups at a time, and the processor for all of them at once.
            let mut parts = [Part::default(); AHEAD];
            let mut highs = [[arch::$arch::no_highs(); 2]; AHEAD];
            let mut at = groups_at;
            let mut next = 0;
            for (indices, data) in indices.chunks_mut(AHEAD * GROUP_LEN).zip(data.chunks_mut(AHEAD * GROUP_LEN)) {
                at = $prepare(frame, at, indices.len(), &mut parts, &mut highs)?;
                let groups = indices.chunks_mut(GROUP_LEN).zip(data.chunks_mut(GROUP_LEN));
                for ((indices, data), (part, highs)) in groups.zip(parts.iter().zip(&highs)) {
                let m = indices.len();
                let Part { gap, code, .. } = part;
                // What is not ready goes through the general loops, which also find what is wrong with it.
                let fast_behind = part
                    .gap_is_ready
                    .then(|| arch::$arch::columns(readable, gap, &highs[0], next, indices));
                let fast_counts = mode == Mode::Counts
                    && part.code_is_ready
                    && T::as_f32s(data)
                        .is_some_and(|data| arch::$arch::counts(readable, code, &highs[1], safe_codes, data));
                // Both streams are unpacked before either is patched, and patched before either is used: a vector load
                // of what a narrow store has just written has to wait for that store.
                let slow_codes = !fast_counts && mode != Mode::Plain;
                if fast_behind.is_none() {
                    arch::$arch::unpack(&readable[gap.at as usize..], gap.stream.width, m, &mut gaps);
                }
                if slow_codes {
                    arch::$arch::unpack(&readable[code.at as usize..], code.stream.width, m, &mut codes);
                }
                if fast_behind.is_none() {
                    patch(&mut gaps, m, gap.stream, gap.exceptions(body))?;
                }
                let patched = match slow_codes {
                    true => patch(&mut codes, m, code.stream, code.exceptions(body)),
                    false => Ok(()),
                };
                let behind = match fast_behind {
                    Some(behind) => behind,
                    None => arch::$arch::sum_gaps(&gaps, next, indices),
                };
                // Columns only ascend, so the last one tells for all.
                if behind > u64::from(decoder.n_vars) {
                    return Err(FrameError::Column { column: behind - 1, n_vars: decoder.n_vars });
                }
                next = behind as u32;
                patched?;
                let codes = &codes[..m];
                match mode {
                    Mode::Counts if fast_counts => {}
                    Mode::Counts => {
                        check_counts(codes, decoder.value_type, safe_codes, must_be_exact)?;
                        T::fill_counts(codes, data);
                    }
                    Mode::Dictionary => {
                        if let Some(dictionary) = &dictionary {
                            dictionary.look_up(codes, data)?;
                        }
                    }
                    Mode::Plain if code.stream != Stream::default() => {
                        return Err(FrameError::Code { code: 1, limit: 1 });
                    }
                    Mode::Plain => {}
                }
                }
            }
            if mode == Mode::Plain {
                let values = body.get(at..at + data.len() * width);
                let values = values.ok_or(FrameError::Short { bytes: body.len(), part: "values" })?;
                check_bools(values, decoder.value_type)?;
                if must_be_exact {
                    check_exact(values, decoder.value_type)?;
                }
                for (d, bytes) in data.iter_mut().zip(values.chunks_exact(width)) {
                    *d = T::from_stored(decoder.value_type, bytes);
                }
                at += values.len();
            }
            match body.len() - at {
                0 => Ok(()),
                bytes => Err(FrameError::LeftOver { bytes }),
            }
        }
    };
}

decode_groups!(groups_plain, prepare_plain, plain);
#[cfg(target_arch = "x86_64")]
decode_groups!(groups_avx2, prepare_avx2, avx2, #[target_feature(enable = "avx2")]);
#[cfg(target_arch = "x86_64")]
decode_groups!(groups_avx512, prepare_avx512, avx512, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]);

/// A dictionary, converted to the output type where it is as small as they nearly always are.
struct Dictionary<'a, T> {
    bytes: &'a [u8],
    value_type: ValueType,
    len: usize,
    /// Whether it has a value that the output would round, and must not.
    rounds: bool,
    table: [T; TABLE_LEN],
}

/// Entries that are converted once per frame rather than once per value.
const TABLE_LEN: usize = 256;

impl<'a, T: Element> Dictionary<'a, T> {
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

/// Checks the bits after the last of `m` entries.
fn check_tail(bytes: &[u8], m: usize, stream: Stream) -> Result<(), FrameError> {
    let used = m * stream.width as usize % 8;
    match bytes.last() {
        Some(&last) if used > 0 && last >> used != 0 => Err(FrameError::Tail),
        _ => Ok(()),
    }
}
