//! Vectors of AVX-512 with VBMI and VBMI2: 32 words, 16 integers.
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
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

compile!(
    __m512i,
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2"
);

/// For each width, how a block of packed entries is unpacked.
struct Tables {
    /// Which bytes 4 words come from: 64 bits hold them, if the first begins at bit 0 or 4 of a byte.
    word_bytes: [[u8; 64]; MAX_WORD_WIDTH + 1],
    /// For each byte of a word, its first bit among those 64.
    word_bits: [[u8; 64]; MAX_WORD_WIDTH + 1],
    /// Which 4 bytes hold an integer.
    integer_bytes: [[u8; 64]; MAX_INTEGER_WIDTH + 1],
    /// Its first bit in those.
    integer_bits: [[u32; 16]; MAX_INTEGER_WIDTH + 1],
    /// For the first byte of each integer, its first bit among the 64 that hold 16 entries.
    table_bits: [[u8; 64]; MAX_TABLE_WIDTH + 1],
    /// The lanes from which a table repeats.
    table_lanes: [[u32; 16]; MAX_TABLE_WIDTH + 1],
}

const MAX_WORD_WIDTH: usize = 10;
const MAX_TABLE_WIDTH: usize = 4;

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        word_bytes: [[0; 64]; MAX_WORD_WIDTH + 1],
        word_bits: [[0; 64]; MAX_WORD_WIDTH + 1],
        integer_bytes: [[0; 64]; MAX_INTEGER_WIDTH + 1],
        integer_bits: [[0; 16]; MAX_INTEGER_WIDTH + 1],
        table_bits: [[0; 64]; MAX_TABLE_WIDTH + 1],
        table_lanes: [[0; 16]; MAX_TABLE_WIDTH + 1],
    };
    let mut width = 0;
    while width <= MAX_INTEGER_WIDTH {
        let mut byte = 0;
        while byte < 64 {
            let (four, word) = (byte / 8, byte % 8 / 2);
            let first_bit = 4 * four * width;
            if width <= MAX_WORD_WIDTH {
                tables.word_bytes[width][byte] = (first_bit / 8 + byte % 8) as u8;
                tables.word_bits[width][byte] = (first_bit % 8 + word * width + byte % 2 * 8) as u8;
            }
            let lane = byte / 4;
            let bit = lane * width;
            tables.integer_bytes[width][byte] = (bit / 8 + byte % 4) as u8;
            tables.integer_bits[width][lane] = (bit % 8) as u32;
            if width <= MAX_TABLE_WIDTH {
                tables.table_bits[width][byte] = (bit % 64) as u8;
                tables.table_lanes[width][lane] = (lane % (1 << width)) as u32;
            }
            byte += 1;
        }
        width += 1;
    }
    tables
}

/// Constants for sums. The compiler must not know what they are: a shuffle that it knows it makes into two or three others.
static SUMS: Sums = Sums {
    lanes: lanes(),
    masks: [u64::MAX << 16, u64::MAX << 32],
};

struct Sums {
    lanes: Lanes,
    /// The bytes that have one quarter before them, and two.
    masks: [u64; 2],
}

struct Lanes {
    /// The last word of the quarter before.
    one_before: [u8; 64],
    /// The last word of the quarter before that.
    two_before: [u8; 64],
    last: [u32; 16],
}

const fn lanes() -> Lanes {
    let mut lanes = Lanes {
        one_before: [0; 64],
        two_before: [0; 64],
        last: [15; 16],
    };
    let mut byte = 16;
    while byte < 64 {
        lanes.one_before[byte] = (byte / 16 * 16 - 2 + byte % 2) as u8;
        if byte >= 32 {
            lanes.two_before[byte] = (byte / 16 * 16 - 18 + byte % 2) as u8;
        }
        byte += 1;
    }
    lanes
}

/// The last word of the lower half of each quarter, in the upper half.
const HALF_BEFORE: [u8; 64] = {
    let mut bytes = [0x80; 64];
    let mut byte = 0;
    while byte < 64 {
        if byte % 16 >= 8 {
            bytes[byte] = (6 + byte % 2) as u8;
        }
        byte += 1;
    }
    bytes
};

/// Loads a constant.
#[inline(always)]
unsafe fn constant<T>(bytes: &T) -> __m512i {
    const { assert!(size_of::<T>() == 64) };
    // SAFETY: 64 bytes, see above; the caller promises the instruction set.
    unsafe { _mm512_loadu_si512(std::ptr::from_ref(bytes).cast()) }
}

// SAFETY of all below: the caller promises the instruction set, and that what is loaded or stored is there.
impl Vector for __m512i {
    const WORDS: usize = 32;
    const MAX_WORD_WIDTH: u32 = MAX_WORD_WIDTH as u32;
    const MAX_TABLE_WIDTH: u32 = MAX_TABLE_WIDTH as u32;

    /// Lanes for one quarter before, for two, and for the last; the two masks.
    type Sums = ([Self; 3], [u64; 2]);

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(to.cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(integer: u32) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(integer as i32) }
    }

    #[inline(always)]
    unsafe fn first(self) -> u32 {
        // SAFETY: see above.
        unsafe { _mm512_cvtsi512_si32(self) as u32 }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_or_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn any(self, bits: u32) -> bool {
        // SAFETY: see above.
        unsafe { _mm512_test_epi32_mask(self, _mm512_set1_epi32(bits as i32)) != 0 }
    }

    #[inline(always)]
    unsafe fn add_words(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_add_epi16(self, other) }
    }

    #[inline(always)]
    unsafe fn add_integers(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn eights(gap: ExceptionsAt, code: ExceptionsAt, into: *mut Eights) -> Option<u32> {
        // SAFETY: see above.
        unsafe { eights(gap, code, into) }
    }

    #[inline(always)]
    unsafe fn sums() -> Self::Sums {
        // SAFETY: see above.
        unsafe {
            let Sums { lanes, masks } = std::hint::black_box(&SUMS);
            let lanes = [
                constant(&lanes.one_before),
                constant(&lanes.two_before),
                constant(&lanes.last),
            ];
            (lanes, *masks)
        }
    }

    #[inline(always)]
    unsafe fn sum_words(self, ([one, two, _], masks): Self::Sums) -> Self {
        // SAFETY: see above.
        unsafe {
            // Two words, four; the eight of a quarter, those of two quarters, of four.
            let sum = _mm512_add_epi16(self, _mm512_slli_epi64::<16>(self));
            let sum = _mm512_add_epi16(sum, _mm512_slli_epi64::<32>(sum));
            let sum = _mm512_add_epi16(sum, _mm512_shuffle_epi8(sum, constant(&HALF_BEFORE)));
            let before = _mm512_maskz_permutexvar_epi8(masks[0], one, sum);
            let sum = _mm512_add_epi16(sum, before);
            let before = _mm512_maskz_permutexvar_epi8(masks[1], two, sum);
            _mm512_add_epi16(sum, before)
        }
    }

    #[inline(always)]
    unsafe fn sum_integers(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let zero = _mm512_setzero_si512();
            let sum = _mm512_add_epi32(self, _mm512_alignr_epi32::<15>(self, zero));
            let sum = _mm512_add_epi32(sum, _mm512_alignr_epi32::<14>(sum, zero));
            let sum = _mm512_add_epi32(sum, _mm512_alignr_epi32::<12>(sum, zero));
            _mm512_add_epi32(sum, _mm512_alignr_epi32::<8>(sum, zero))
        }
    }

    #[inline(always)]
    unsafe fn last(self, ([_, _, last], _): Self::Sums) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_permutexvar_epi32(last, self) }
    }

    #[inline(always)]
    unsafe fn widen(self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            [
                _mm512_cvtepu16_epi32(_mm512_castsi512_si256(self)),
                _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(self)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn to_floats(self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_castps_si512(_mm512_cvtepi32_ps(self)) }
    }

    #[inline(always)]
    unsafe fn word_unpacker(width: usize) -> [Self; 3] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.word_bytes[width]),
                constant(&TABLES.word_bits[width]),
                _mm512_set1_epi16((1 << width) - 1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn unpack_words(from: *const u8, _width: usize, [bytes, bits, mask]: [Self; 3]) -> Self {
        // SAFETY: see above.
        unsafe {
            let fours = _mm512_permutexvar_epi8(bytes, Self::load(from));
            _mm512_and_si512(_mm512_multishift_epi64_epi8(bits, fours), mask)
        }
    }

    #[inline(always)]
    unsafe fn integer_unpacker(width: usize) -> [Self; 3] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.integer_bytes[width]),
                constant(&TABLES.integer_bits[width]),
                _mm512_set1_epi32((1 << width) - 1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn unpack_integers(from: *const u8, _width: usize, [bytes, bits, mask]: [Self; 3]) -> Self {
        // SAFETY: see above.
        unsafe {
            let integers = _mm512_permutexvar_epi8(bytes, Self::load(from));
            _mm512_and_si512(_mm512_srlv_epi32(integers, bits), mask)
        }
    }

    #[inline(always)]
    unsafe fn table(table: Self, width: usize) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            [
                constant(&TABLES.table_bits[width]),
                _mm512_permutexvar_epi32(constant(&TABLES.table_lanes[width]), table),
            ]
        }
    }

    #[inline(always)]
    unsafe fn look_up(from: *const u8, [bits, table]: [Self; 2]) -> Self {
        // SAFETY: see above.
        unsafe {
            // All 16 entries in each 64 bits. Of an index the permutation sees the low four bits, and the table repeats
            // where an entry has fewer: what is above the entry does not matter.
            let entries = _mm512_set1_epi64(from.cast::<i64>().read_unaligned());
            _mm512_permutexvar_epi32(_mm512_multishift_epi64_epi8(bits, entries), table)
        }
    }
}
