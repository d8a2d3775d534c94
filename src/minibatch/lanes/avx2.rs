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
    let Some(last) = (64 * kept.len()).checked_sub(1) else {
        return plain::kept_places(kept, columns, places);
    };
    let last = _mm256_set1_epi32(u32::try_from(last).unwrap_or(u32::MAX).cast_signed());
    let mut place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mut n = 0;
    let (chunks, rest) = columns.as_chunks::<8>();
    for chunk in chunks {
        // SAFETY: a chunk is a vector long.
        let columns = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
        let have_bits = _mm256_cmpeq_epi32(_mm256_max_epu32(columns, last), last);
        assert_eq!(_mm256_movemask_epi8(have_bits), -1, "columns have bits");
        // SAFETY: all columns have bits, which are in these 32-bit halves of the words: the lower half comes first.
        let words =
            unsafe { _mm256_i32gather_epi32::<4>(kept.as_ptr().cast(), _mm256_srli_epi32::<5>(columns)) };
        // Bit c % 32 becomes the sign. A shift by more than 31 would give 0, so only the lowest five bits of !c are taken.
        let shift = _mm256_andnot_si256(columns, _mm256_set1_epi32(31));
        let are_kept = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(words, shift)));
        let to = &mut places[n..n + 8];
        // SAFETY: there is room for a vector, and an entry of the table is eight bytes long.
        unsafe {
            let order = _mm_loadl_epi64(FRONT[are_kept as usize].as_ptr().cast());
            let kept = _mm256_permutevar8x32_epi32(place, _mm256_cvtepu8_epi32(order));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), kept);
        }
        n += are_kept.count_ones() as usize;
        place = _mm256_add_epi32(place, _mm256_set1_epi32(8));
    }
    n + plain::kept_places_from(columns.len() - rest.len(), kept, rest, &mut places[n..])
}

/// For each set of eight lanes, its lanes in order, and then 0.
static FRONT: [[u8; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut n) = (0, 0);
        while lane < 8 {
            if set >> lane & 1 == 1 {
                all[set][n] = lane as u8;
                n += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    all
};

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) fn look_up(table: &[f32; TABLE_LEN], values: &mut [f32]) -> usize {
    // The entries of the small counts are two vectors: looking up in these needs no gather.
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
