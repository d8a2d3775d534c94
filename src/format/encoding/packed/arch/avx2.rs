//! Vectors of AVX2: 16 words, 8 integers.
#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::eights::eights;
use super::generic::{self, Ahead, Compiled, Groups, compile, loops};
use super::vector::{Eights, ExceptionsAt, MAX_INTEGER_WIDTH, Vector};
use crate::format::encoding::error::FrameError;
use crate::format::encoding::packed::frame::Frame;
use crate::format::encoding::packed::group::Group;
use crate::format::encoding::packed::values::{FastCodes, Matrix, TABLE_LEN};
use cellring_core::Element;

pub(in crate::format::encoding::packed) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

compile!(__m256i, "avx2,bmi2");

/// For each width, how a block of packed entries is unpacked. The entries of the upper half of a vector are loaded from
/// the byte in which the first of them begins.
struct Tables {
    /// Which 2 bytes hold a word.
    word_bytes: [[u8; 32]; MAX_WORD_WIDTH + 1],
    /// The power of two that brings the last bit of the entry to the top of its word.
    word_factors: [[u16; 16]; MAX_WORD_WIDTH + 1],
    /// Which 4 bytes hold an integer.
    integer_bytes: [[u8; 32]; MAX_INTEGER_WIDTH + 1],
    /// Its first bit in those.
    integer_bits: [[u32; 8]; MAX_INTEGER_WIDTH + 1],
    /// The first bit of each of 8 entries.
    table_bits: [[u32; 8]; MAX_TABLE_WIDTH + 1],
    /// The lanes from which a table repeats.
    table_lanes: [[u32; 8]; MAX_TABLE_WIDTH + 1],
}

/// Wherever an entry begins within a byte, 2 bytes hold it: 7 + 9 = 16.
const MAX_WORD_WIDTH: usize = 9;
const MAX_TABLE_WIDTH: usize = 3;

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        word_bytes: [[0; 32]; MAX_WORD_WIDTH + 1],
        word_factors: [[0; 16]; MAX_WORD_WIDTH + 1],
        integer_bytes: [[0; 32]; MAX_INTEGER_WIDTH + 1],
        integer_bits: [[0; 8]; MAX_INTEGER_WIDTH + 1],
        table_bits: [[0; 8]; MAX_TABLE_WIDTH + 1],
        table_lanes: [[0; 8]; MAX_TABLE_WIDTH + 1],
    };
    let mut width = 0;
    while width <= MAX_INTEGER_WIDTH {
        let mut byte = 0;
        while byte < 32 {
            // Eight entries end on a byte, four of them do not always.
            let word_bit = byte / 2 % 8 * width;
            if width <= MAX_WORD_WIDTH {
                tables.word_bytes[width][byte] = (word_bit / 8 + byte % 2) as u8;
                tables.word_factors[width][byte / 2] = (1u32 << (16 - width - word_bit % 8)) as u16;
            }
            let lane = byte / 4;
            let bit = if lane < 4 {
                lane * width
            } else {
                lane * width - width / 2 * 8
            };
            tables.integer_bytes[width][byte] = (bit / 8 + byte % 4) as u8;
            tables.integer_bits[width][lane] = (bit % 8) as u32;
            if width <= MAX_TABLE_WIDTH {
                tables.table_bits[width][lane] = (lane * width) as u32;
                tables.table_lanes[width][lane] = (lane % (1 << width)) as u32;
            }
            byte += 1;
        }
        width += 1;
    }
    tables
}

/// The last word of the lower half of each half, in the upper half of it.
const QUARTER_BEFORE: [u8; 32] = {
    let mut bytes = [0x80; 32];
    let mut byte = 0;
    while byte < 32 {
        if byte % 16 >= 8 {
            bytes[byte] = (6 + byte % 2) as u8;
        }
        byte += 1;
    }
    bytes
};

/// The last word of each half, in all words of it.
const LAST_OF_HALF: [u8; 32] = {
    let mut bytes = [14; 32];
    let mut byte = 1;
    while byte < 32 {
        bytes[byte] = 15;
        byte += 2;
    }
    bytes
};

/// Loads a constant.
#[inline(always)]
unsafe fn constant<T>(bytes: &T) -> __m256i {
    const { assert!(size_of::<T>() == 32) };
    // SAFETY: 32 bytes, see above; the caller promises the instruction set.
    unsafe { _mm256_loadu_si256(std::ptr::from_ref(bytes).cast()) }
}

/// Loads the halves of a vector.
#[inline(always)]
unsafe fn halves(lower: *const u8, upper: *const u8) -> __m256i {
    // SAFETY: the caller promises the instruction set, and 16 bytes at both places.
    unsafe {
        let lower = _mm256_castsi128_si256(_mm_loadu_si128(lower.cast()));
        _mm256_inserti128_si256::<1>(lower, _mm_loadu_si128(upper.cast()))
    }
}

// SAFETY of all below: the caller promises the instruction set, and that what is loaded or stored is there.
impl Vector for __m256i {
    const WORDS: usize = 16;
    const MAX_WORD_WIDTH: u32 = MAX_WORD_WIDTH as u32;
    const MAX_TABLE_WIDTH: u32 = MAX_TABLE_WIDTH as u32;

    type Sums = ();

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(integer: u32) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(integer as i32) }
    }

    #[inline(always)]
    unsafe fn first(self) -> u32 {
        // SAFETY: see above.
        unsafe { _mm256_cvtsi256_si32(self) as u32 }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_or_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn any(self, bits: u32) -> bool {
        // SAFETY: see above.
        unsafe { _mm256_testz_si256(self, _mm256_set1_epi32(bits as i32)) == 0 }
    }

    #[inline(always)]
    unsafe fn add_words(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_add_epi16(self, other) }
    }

    #[inline(always)]
    unsafe fn add_integers(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn eights(gap: ExceptionsAt, code: ExceptionsAt, into: *mut Eights) -> Option<u32> {
        // SAFETY: see above.
        unsafe { eights(gap, code, into) }
    }

    #[inline(always)]
    unsafe fn sums() {}

    #[inline(always)]
    unsafe fn sum_words(self, (): Self::Sums) -> Self {
        // SAFETY: see above.
        unsafe {
            // Two words, four, the eight of a half; then the lower half's total onto the upper one.
            let sum = _mm256_add_epi16(self, _mm256_slli_epi64::<16>(self));
            let sum = _mm256_add_epi16(sum, _mm256_slli_epi64::<32>(sum));
            let sum = _mm256_add_epi16(sum, _mm256_shuffle_epi8(sum, constant(&QUARTER_BEFORE)));
            let totals = _mm256_shuffle_epi8(sum, constant(&LAST_OF_HALF));
            _mm256_add_epi16(sum, _mm256_permute2x128_si256::<0x08>(totals, totals))
        }
    }

    #[inline(always)]
    unsafe fn sum_integers(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let sum = _mm256_add_epi32(self, _mm256_slli_si256::<4>(self));
            let sum = _mm256_add_epi32(sum, _mm256_slli_si256::<8>(sum));
            let totals = _mm256_shuffle_epi32::<0xFF>(sum);
            _mm256_add_epi32(sum, _mm256_permute2x128_si256::<0x08>(totals, totals))
        }
    }

    #[inline(always)]
    unsafe fn last(self, (): Self::Sums) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_permutevar8x32_epi32(self, _mm256_set1_epi32(7)) }
    }

    #[inline(always)]
    unsafe fn widen(self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_cvtepu16_epi32(_mm256_castsi256_si128(self)),
                _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(self)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn to_floats(self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_castps_si256(_mm256_cvtepi32_ps(self)) }
    }

    #[inline(always)]
    unsafe fn word_unpacker(width: usize) -> [Self; 3] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.word_bytes[width]),
                constant(&TABLES.word_factors[width]),
                _mm256_set1_epi16(1 << width),
            ]
        }
    }

    #[inline(always)]
    unsafe fn unpack_words(from: *const u8, width: usize, [bytes, factors, back]: [Self; 3]) -> Self {
        // SAFETY: see above; a vector begins at most 32 bytes before what may be read ends.
        unsafe {
            let words = _mm256_shuffle_epi8(halves(from, from.add(width)), bytes);
            // There is no shift by lanes of words. The first product drops the bits above the entry, the second those below.
            _mm256_mulhi_epu16(_mm256_mullo_epi16(words, factors), back)
        }
    }

    #[inline(always)]
    unsafe fn integer_unpacker(width: usize) -> [Self; 3] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.integer_bytes[width]),
                constant(&TABLES.integer_bits[width]),
                _mm256_set1_epi32((1 << width) - 1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn unpack_integers(from: *const u8, width: usize, [bytes, bits, mask]: [Self; 3]) -> Self {
        // SAFETY: see above.
        unsafe {
            let integers = _mm256_shuffle_epi8(halves(from, from.add(width / 2)), bytes);
            _mm256_and_si256(_mm256_srlv_epi32(integers, bits), mask)
        }
    }

    #[inline(always)]
    unsafe fn table(table: Self, width: usize) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.table_bits[width]),
                _mm256_permutevar8x32_epi32(table, constant(&TABLES.table_lanes[width])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn look_up(from: *const u8, [bits, table]: [Self; 2]) -> Self {
        // SAFETY: see above.
        unsafe {
            // All 8 entries in each 32 bits. Of an index the permutation sees the low three bits, and the table repeats
            // where an entry has fewer: what is above the entry does not matter.
            let entries = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
            _mm256_permutevar8x32_epi32(table, _mm256_srlv_epi32(entries, bits))
        }
    }
}
