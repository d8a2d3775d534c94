//! Loops for AVX-512 with VBMI: 16 entries at a time.
#![allow(unsafe_code, reason = "vector loads and stores go through pointers")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_loadu_si512, _mm512_mask_permutexvar_epi32,
    _mm512_or_si512, _mm512_permutexvar_epi8, _mm512_permutexvar_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_srlv_epi32, _mm512_storeu_si512, _mm512_test_epi32_mask,
};

use super::{MAX_SIMD_WIDTH, SAFE_GAP, plain};
use crate::format::constants::GROUP_LEN;
use crate::format::packed::Group;

pub(in crate::format::packed) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
}

/// Bytes that a load may reach beyond the packed entries.
const OVER_READ: usize = 64;

/// For each width: where the 4 bytes that hold each of 16 entries lie in a load, and by how much to shift them.
struct Tables {
    permute: [[u8; 64]; MAX_SIMD_WIDTH + 1],
    shift: [[u32; 16]; MAX_SIMD_WIDTH + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        permute: [[0; 64]; MAX_SIMD_WIDTH + 1],
        shift: [[0; 16]; MAX_SIMD_WIDTH + 1],
    };
    let mut width = 0;
    while width <= MAX_SIMD_WIDTH {
        let mut entry = 0;
        while entry < 16 {
            let bit = entry * width;
            tables.shift[width][entry] = (bit % 8) as u32;
            let mut byte = 0;
            while byte < 4 {
                tables.permute[width][entry * 4 + byte] = (bit / 8 + byte) as u8;
                byte += 1;
            }
            entry += 1;
        }
        width += 1;
    }
    tables
}

/// For step `s` of the prefix sum: lane `i` takes lane `i - 2^s`, where there is one.
const STEPS: [([u32; 16], u16); 4] = steps();

const fn steps() -> [([u32; 16], u16); 4] {
    let mut steps = [([0; 16], 0); 4];
    let mut s = 0;
    while s < 4 {
        let by = 1 << s;
        let mut lane = by;
        while lane < 16 {
            steps[s].0[lane] = (lane - by) as u32;
            steps[s].1 |= 1 << lane;
            lane += 1;
        }
        s += 1;
    }
    steps
}

/// As [`plain::unpack`]; writes up to the next multiple of 16 entries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(in crate::format::packed) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let width = width as usize;
    if width > MAX_SIMD_WIDTH {
        return plain::unpack(bytes, width as u32, m, out);
    }
    let rounded = m.next_multiple_of(16);
    assert!(rounded <= GROUP_LEN);
    let needed = rounded * width / 8 + OVER_READ;
    if bytes.len() < needed {
        return unpack_near_the_end(bytes, width, m, out);
    }
    let tables = &TABLES;
    let mask = _mm512_set1_epi32(((1u32 << width) - 1) as i32);
    // SAFETY: both tables have entries for every width up to MAX_SIMD_WIDTH, of 64 bytes each.
    let (permute, shift) = unsafe {
        (
            _mm512_loadu_si512(tables.permute[width].as_ptr().cast::<__m512i>()),
            _mm512_loadu_si512(tables.shift[width].as_ptr().cast::<__m512i>()),
        )
    };
    let mut k = 0;
    while k < rounded {
        let at = k / 8 * width;
        // SAFETY: 16 entries take `2 * width` bytes, so `at + 64` is at most `rounded * width / 8 + 64`, which is
        // `needed`, and `bytes` has as many; `k + 16 <= rounded <= GROUP_LEN`, the length of `out`.
        unsafe {
            let loaded = _mm512_loadu_si512(bytes.as_ptr().add(at).cast::<__m512i>());
            let words = _mm512_permutexvar_epi8(permute, loaded);
            let entries = _mm512_and_si512(_mm512_srlv_epi32(words, shift), mask);
            _mm512_storeu_si512(out.as_mut_ptr().add(k).cast::<__m512i>(), entries);
        }
        k += 16;
    }
}

/// Unpacks from a copy with room behind it: where a frame ends, loads must not go beyond it.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn unpack_near_the_end(bytes: &[u8], width: usize, m: usize, out: &mut Group) {
    let mut padded = [0; GROUP_LEN * MAX_SIMD_WIDTH / 8 + OVER_READ];
    padded[..bytes.len()].copy_from_slice(bytes);
    unpack(&padded, width as u32, m, out);
}

/// As [`plain::sum_gaps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(in crate::format::packed) fn sum_gaps(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    let Ok(whole) = <&mut [i32; GROUP_LEN]>::try_from(&mut *indices) else {
        return plain::sum_gaps_cold(gaps, next, indices);
    };
    let one = _mm512_set1_epi32(1);
    let zero = _mm512_setzero_si512();
    let last_lane = _mm512_set1_epi32(15);
    let mut before = _mm512_set1_epi32(next.wrapping_sub(1) as i32);
    let mut seen = zero;
    for k in (0..GROUP_LEN).step_by(16) {
        // SAFETY: `k + 16 <= GROUP_LEN`, the length of `gaps`.
        let gap = unsafe { _mm512_loadu_si512(gaps.as_ptr().add(k).cast::<__m512i>()) };
        seen = _mm512_or_si512(seen, gap);
        let mut sum = _mm512_add_epi32(gap, one);
        for (lanes, present) in &STEPS {
            // SAFETY: 16 lanes of 4 bytes.
            let lanes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast::<__m512i>()) };
            sum = _mm512_add_epi32(sum, _mm512_mask_permutexvar_epi32(zero, *present, lanes, sum));
        }
        let columns = _mm512_add_epi32(sum, before);
        // SAFETY: `k + 16 <= GROUP_LEN`, the length of `whole`.
        unsafe { _mm512_storeu_si512(whole.as_mut_ptr().add(k).cast::<__m512i>(), columns) };
        before = _mm512_permutexvar_epi32(last_lane, columns);
    }
    if _mm512_test_epi32_mask(seen, _mm512_set1_epi32(!(SAFE_GAP - 1) as i32)) != 0 {
        return plain::sum_gaps_cold(gaps, next, indices);
    }
    u64::from(std::arch::x86_64::_mm512_cvtsi512_si32(before) as u32) + 1
}
