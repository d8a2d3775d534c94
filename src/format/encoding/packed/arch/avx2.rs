//! Loops for AVX2: 8 entries at a time.
#![allow(unsafe_code, reason = "vector loads and stores go through pointers")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_blend_epi32,
    _mm256_castsi128_si256, _mm256_extract_epi32, _mm256_inserti128_si256, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_permutevar8x32_epi32, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_slli_si256, _mm256_srlv_epi32,
    _mm256_storeu_si256,
};

use super::limits::{MAX_SIMD_WIDTH, SAFE_GAP};
use super::plain;
pub(in crate::format::encoding::packed) use super::plain::{Highs, columns, counts, no_highs, ready};
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::packed::group::Group;

pub(in crate::format::encoding::packed) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Bytes that a load may reach beyond the packed entries.
const OVER_READ: usize = 16;

/// For each width: where the 4 bytes that hold each of 8 entries lie in the two loads, and by how much to shift them.
struct Tables {
    shuffle: [[u8; 32]; MAX_SIMD_WIDTH + 1],
    shift: [[u32; 8]; MAX_SIMD_WIDTH + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        shuffle: [[0; 32]; MAX_SIMD_WIDTH + 1],
        shift: [[0; 8]; MAX_SIMD_WIDTH + 1],
    };
    let mut width = 0;
    while width <= MAX_SIMD_WIDTH {
        let mut entry = 0;
        while entry < 8 {
            // The second load begins at the byte that entry 4 begins in.
            let first_bit = if entry < 4 {
                entry * width
            } else {
                entry * width - 4 * width / 8 * 8
            };
            tables.shift[width][entry] = (first_bit % 8) as u32;
            let mut byte = 0;
            while byte < 4 {
                tables.shuffle[width][entry * 4 + byte] = (first_bit / 8 + byte) as u8;
                byte += 1;
            }
            entry += 1;
        }
        width += 1;
    }
    tables
}

/// As [`plain::unpack`]; writes up to the next multiple of 8 entries.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::format::encoding::packed) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let width = width as usize;
    if width > MAX_SIMD_WIDTH {
        return plain::unpack(bytes, width as u32, m, out);
    }
    let rounded = m.next_multiple_of(8);
    assert!(rounded <= GROUP_LEN);
    let needed = rounded * width / 8 + OVER_READ;
    if bytes.len() < needed {
        return unpack_near_the_end(bytes, width, m, out);
    }
    let tables = &TABLES;
    let mask = _mm256_set1_epi32(((1u32 << width) - 1) as i32);
    let half = width / 2;
    // SAFETY: both tables have entries for every width up to MAX_SIMD_WIDTH, of 32 bytes each.
    let (shuffle, shift) = unsafe {
        (
            _mm256_loadu_si256(tables.shuffle[width].as_ptr().cast::<__m256i>()),
            _mm256_loadu_si256(tables.shift[width].as_ptr().cast::<__m256i>()),
        )
    };
    let mut k = 0;
    while k < rounded {
        let at = k / 8 * width;
        // SAFETY: 8 entries take `width` bytes, so `at + half + 16` is at most `rounded * width / 8 + 16`, which is
        // `needed`, and `bytes` has as many; `k + 8 <= rounded <= GROUP_LEN`, the length of `out`.
        unsafe {
            let low = _mm_loadu_si128(bytes.as_ptr().add(at).cast::<__m128i>());
            let high = _mm_loadu_si128(bytes.as_ptr().add(at + half).cast::<__m128i>());
            let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
            let words = _mm256_shuffle_epi8(both, shuffle);
            let entries = _mm256_and_si256(_mm256_srlv_epi32(words, shift), mask);
            _mm256_storeu_si256(out.as_mut_ptr().add(k).cast::<__m256i>(), entries);
        }
        k += 8;
    }
}

/// Unpacks from a copy with room after it: where a frame ends, loads must not go beyond it.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2")]
fn unpack_near_the_end(bytes: &[u8], width: usize, m: usize, out: &mut Group) {
    let mut padded = [0; GROUP_LEN * MAX_SIMD_WIDTH / 8 + OVER_READ];
    padded[..bytes.len()].copy_from_slice(bytes);
    unpack(&padded, width as u32, m, out);
}

/// As [`plain::sum_gaps`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::format::encoding::packed) fn sum_gaps(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    let Ok(whole) = <&mut [i32; GROUP_LEN]>::try_from(&mut *indices) else {
        return plain::sum_gaps_cold(gaps, next, indices);
    };
    let one = _mm256_set1_epi32(1);
    // The column of the entry before, in all lanes: the entry behind it is that plus its gap plus 1.
    let mut before = _mm256_set1_epi32(next.wrapping_sub(1) as i32);
    let mut seen = _mm256_setzero_si256();
    let last_lane = _mm256_set1_epi32(7);
    for k in (0..GROUP_LEN).step_by(8) {
        // SAFETY: `k + 8 <= GROUP_LEN`, the length of `gaps`.
        let gap = unsafe { _mm256_loadu_si256(gaps.as_ptr().add(k).cast::<__m256i>()) };
        seen = _mm256_or_si256(seen, gap);
        // Sums within each half, then the lower half's total onto the upper half.
        let sum = _mm256_add_epi32(gap, one);
        let sum = _mm256_add_epi32(sum, _mm256_slli_si256::<4>(sum));
        let sum = _mm256_add_epi32(sum, _mm256_slli_si256::<8>(sum));
        let totals = _mm256_shuffle_epi32::<0xFF>(sum);
        let lower_total = _mm256_permute2x128_si256::<0x08>(totals, totals);
        let sum = _mm256_add_epi32(
            sum,
            _mm256_blend_epi32::<0xF0>(_mm256_setzero_si256(), lower_total),
        );
        let columns = _mm256_add_epi32(sum, before);
        // SAFETY: `k + 8 <= GROUP_LEN`, the length of `whole`.
        unsafe { _mm256_storeu_si256(whole.as_mut_ptr().add(k).cast::<__m256i>(), columns) };
        before = _mm256_permutevar8x32_epi32(columns, last_lane);
    }
    if any_at_least(seen, SAFE_GAP) {
        return plain::sum_gaps_cold(gaps, next, indices);
    }
    u64::from(_mm256_extract_epi32::<0>(before) as u32) + 1
}

/// Whether some lane has a bit at or above that of `limit`, a power of two.
#[inline]
#[target_feature(enable = "avx2")]
fn any_at_least(lanes: __m256i, limit: u32) -> bool {
    use std::arch::x86_64::_mm256_testz_si256;
    _mm256_testz_si256(lanes, _mm256_set1_epi32(!(limit - 1) as i32)) == 0
}
