//! With AVX-512 F, BMI and POPCNT.
#![allow(unsafe_code, reason = "vector loads, stores and gathers")]

use std::arch::x86_64::*;

use half::bf16;

use super::{TABLE_LEN, plain};
use crate::minibatch::rank::Ranked;

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn sum(values: &[f32]) -> f64 {
    // Eight sums are a vector: left to the compiler, they are several.
    let mut sums = _mm512_setzero_pd();
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        // SAFETY: a chunk is a vector long.
        let values = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
        sums = _mm512_add_pd(sums, _mm512_cvtps_pd(values));
    }
    let mut all = [0.0; 8];
    // SAFETY: there is room for a vector.
    unsafe { _mm512_storeu_pd(all.as_mut_ptr(), sums) };
    let rest: f64 = rest.iter().map(|&value| f64::from(value)).sum();
    all.iter().sum::<f64>() + rest
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn any_sign(values: &[f32]) -> bool {
    plain::any_sign(values)
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn any_beyond(values: &[f32], limit: f32) -> bool {
    plain::any_beyond(values, limit)
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn divide(values: &mut [f32], divisor: f32) {
    plain::divide(values, divisor);
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn round_to_bf16(values: &[f32], rounded: &mut [bf16]) {
    plain::round_to_bf16(values, rounded);
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn order<T: Copy>(
    present: &mut [u64],
    before: &mut [u32],
    from: (&[i32], &[T]),
    to: (&mut [i32], &mut [T]),
) {
    plain::order(present, before, from, to);
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn candidates<W: Ranked>(
    columns: &[i32],
    values: &[W],
    k: usize,
    is_ascending: bool,
    keys: &mut Vec<W::Key>,
) -> bool {
    plain::candidates(columns, values, k, is_ascending, keys)
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn kept_places(kept: &[u64], columns: &[i32], places: &mut [u32]) -> usize {
    let n_columns = u32::try_from(64 * kept.len()).unwrap_or(u32::MAX);
    let (end, low) = (_mm512_set1_epi32(n_columns as i32), _mm512_set1_epi32(31));
    let mut place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut n = 0;
    let (chunks, rest) = columns.as_chunks::<16>();
    for chunk in chunks {
        // SAFETY: a chunk is a vector long.
        let columns = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        assert_eq!(_mm512_cmplt_epu32_mask(columns, end), 0xFFFF, "columns have bits");
        // SAFETY: all columns have bits, which are in these 32-bit halves of the words: the lower half comes first.
        let words =
            unsafe { _mm512_i32gather_epi32::<4>(_mm512_srli_epi32::<5>(columns), kept.as_ptr().cast()) };
        let bits = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(columns, low));
        let is_kept = _mm512_test_epi32_mask(words, bits);
        let to = &mut places[n..n + 16];
        // SAFETY: there is room for a vector.
        unsafe {
            _mm512_storeu_si512(
                to.as_mut_ptr().cast(),
                _mm512_maskz_compress_epi32(is_kept, place),
            )
        };
        n += is_kept.count_ones() as usize;
        place = _mm512_add_epi32(place, _mm512_set1_epi32(16));
    }
    n + plain::kept_places_from(columns.len() - rest.len(), kept, rest, &mut places[n..])
}

#[target_feature(enable = "avx512f,bmi1,bmi2,popcnt")]
pub(super) fn look_up(table: &[f32; TABLE_LEN], values: &mut [f32]) -> usize {
    let (one, most) = (_mm512_set1_epi32(1), _mm512_set1_epi32(TABLE_LEN as i32 - 1));
    let (chunks, _) = values.as_chunks_mut::<16>();
    let mut n = 0;
    for chunk in chunks {
        // SAFETY: a chunk is a vector long.
        let found = unsafe { _mm512_loadu_ps(chunk.as_ptr()) };
        let counts = _mm512_cvttps_epi32(found);
        let is_integer = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_cvtepi32_ps(counts), found);
        let in_table = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(counts, one), most);
        if is_integer & in_table != 0xFFFF {
            break;
        }
        // SAFETY: all counts are from 1 to less than the length of the table.
        let entries = unsafe { _mm512_i32gather_ps::<4>(counts, table.as_ptr()) };
        if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(entries, entries) != 0 {
            break;
        }
        // SAFETY: a chunk is a vector long.
        unsafe { _mm512_storeu_ps(chunk.as_mut_ptr(), entries) };
        n += chunk.len();
    }
    n
}
