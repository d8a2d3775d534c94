//! Without special instructions. Inlined into functions for an instruction set, these are compiled for it.

use super::TABLE_LEN;

/// How many sums there are: each addition has to wait for the one before it.
const N_SUMS: usize = 8;

#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f64 {
    let mut sums = [0.0; N_SUMS];
    let (chunks, rest) = values.as_chunks::<N_SUMS>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

#[inline(always)]
pub(super) fn any_sign(values: &[f32]) -> bool {
    let bits = values.iter().fold(0, |bits, value| bits | value.to_bits());
    bits >> 31 != 0
}

#[inline(always)]
pub(super) fn kept_places(kept: &[u64], columns: &[i32], places: &mut [u32]) -> usize {
    let mut n = 0;
    for (k, &column) in columns.iter().enumerate() {
        // Without a branch on what is kept, which nothing could predict: what is not is written over.
        places[n] = k as u32;
        n += (kept[column as usize / 64] >> (column % 64) & 1) as usize;
    }
    n
}

#[inline(always)]
pub(super) fn order<T: Copy>(
    present: &mut [u64],
    before: &mut [u32],
    (columns, values): (&[i32], &[T]),
    (to_columns, to_values): (&mut [i32], &mut [T]),
) {
    for &column in columns {
        present[column as usize / 64] |= 1 << (column % 64);
    }
    // Each place is counted on its own, rather than found by comparisons that nothing could predict.
    let mut n = 0;
    for (before, word) in before.iter_mut().zip(&*present) {
        *before = n;
        n += word.count_ones();
    }
    for (&column, &value) in columns.iter().zip(values) {
        let word = column as usize / 64;
        let lower = present[word] & ((1 << (column % 64)) - 1);
        let place = (before[word] + lower.count_ones()) as usize;
        (to_columns[place], to_values[place]) = (column, value);
    }
}

#[inline(always)]
pub(super) fn look_up(table: &[f32; TABLE_LEN], values: &mut [f32]) -> usize {
    for (k, value) in values.iter_mut().enumerate() {
        // Added to 2^23, an integer from 0 up is in the lowest bits as it is.
        const SHIFT: f32 = 8_388_608.0;
        let shifted = *value + SHIFT;
        let count = shifted.to_bits().wrapping_sub(SHIFT.to_bits());
        match table.get(count as usize) {
            // Not 0, which would also stand for -0.
            Some(entry) if count != 0 && shifted - SHIFT == *value && !entry.is_nan() => *value = *entry,
            _ => return k,
        }
    }
    values.len()
}
