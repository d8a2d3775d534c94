//! With AVX2, BMI and POPCNT.
#![allow(unsafe_code, reason = "vector loads, stores and gathers")]

use std::arch::x86_64::*;

use half::bf16;

use super::{N_SMALL, TABLE_LEN, plain};
use crate::minibatch::rank::Ranked;

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn sum(values: &[f32]) -> f64 {
    plain::sum(values)
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn any_sign(values: &[f32]) -> bool {
    plain::any_sign(values)
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn any_beyond(values: &[f32], limit: f32) -> bool {
    plain::any_beyond(values, limit)
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn divide(values: &mut [f32], divisor: f32) {
    plain::divide(values, divisor);
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn round_to_bf16(values: &[f32], rounded: &mut [bf16]) {
    plain::round_to_bf16(values, rounded);
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn order<T: Copy>(
    present: &mut [u64],
    before: &mut [u32],
    from: (&[i32], &[T]),
    to: (&mut [i32], &mut [T]),
) {
    plain::order(present, before, from, to);
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn candidates<W: Ranked>(
    columns: &[i32],
    values: &[W],
    k: usize,
    is_ascending: bool,
    keys: &mut Vec<W::Key>,
) -> bool {
    plain::candidates(columns, values, k, is_ascending, keys)
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn kept_places(kept: &[u64], columns: &[i32], places: &mut [u32]) -> usize {
    plain::kept_places(kept, columns, places)
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn look_up(table: &[f32; TABLE_LEN], values: &mut [f32]) -> usize {
    // The entries of the small counts are two vectors: looking up in these takes a tenth of a gather.
    const { assert!(N_SMALL == 16) };
    // SAFETY: the table is longer than two vectors.
    let small = unsafe {
        [
            _mm256_loadu_ps(table.as_ptr()),
            _mm256_loadu_ps(table.as_ptr().add(8)),
        ]
    };
    let beyond_small = _mm256_set1_epi32(!(N_SMALL as i32 - 1));
    let (chunks, _) = values.as_chunks_mut::<8>();
    let mut n = 0;
    for chunk in chunks {
        // SAFETY: a chunk is a vector long.
        let found = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
        let counts = _mm256_cvttps_epi32(found);
        let is_integer = _mm256_cmp_ps::<_CMP_EQ_OQ>(_mm256_cvtepi32_ps(counts), found);
        let is_positive = _mm256_cmpgt_epi32(counts, _mm256_setzero_si256());
        let is_count = _mm256_and_ps(is_integer, _mm256_castsi256_ps(is_positive));
        if _mm256_movemask_ps(is_count) != 0xFF {
            break;
        }
        let entries = if _mm256_testz_si256(counts, beyond_small) == 1 {
            // The lowest three bits choose the entry, the fourth the vector.
            let of_each = small.map(|entries| _mm256_permutevar8x32_ps(entries, counts));
            let is_second = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(counts));
            _mm256_blendv_ps(of_each[0], of_each[1], is_second)
        } else {
            let in_table = _mm256_cmpgt_epi32(_mm256_set1_epi32(TABLE_LEN as i32), counts);
            if _mm256_movemask_ps(_mm256_castsi256_ps(in_table)) != 0xFF {
                break;
            }
            // SAFETY: all counts are from 1 to less than the length of the table.
            let entries = unsafe { _mm256_i32gather_ps::<4>(table.as_ptr(), counts) };
            if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(entries, entries)) != 0 {
                break;
            }
            entries
        };
        // SAFETY: a chunk is a vector long.
        unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), entries) };
        n += chunk.len();
    }
    n
}
