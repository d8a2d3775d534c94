//! Without special instructions. Inlined into functions for an instruction set, these are compiled for it.

use half::bf16;

use super::TABLE_LEN;
use crate::minibatch::rank::Ranked;

/// How many sums there are: each addition has to wait for the one before it.
const N_SUMS: usize = 8;

/// Values of a row are looked at in chunks of this many.
const CHUNK: usize = 16;
/// Fewer keys are not cut down to those that are wanted.
const LEAST_KEYS: usize = 256;

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
pub(super) fn any_beyond(values: &[f32], limit: f32) -> bool {
    let is_beyond = |value: f32| value.abs() >= limit && value.is_finite();
    values.iter().fold(false, |any, &value| any | is_beyond(value))
}

#[inline(always)]
pub(super) fn divide(values: &mut [f32], divisor: f32) {
    values.iter_mut().for_each(|value| *value /= divisor);
}

#[inline(always)]
pub(super) fn round_to_bf16(values: &[f32], rounded: &mut [bf16]) {
    for (rounded, &value) in rounded.iter_mut().zip(values) {
        *rounded = nearest_bf16(value);
    }
}

#[inline(always)]
pub(super) fn kept_places(kept: &[u64], columns: &[i32], places: &mut [u32]) -> usize {
    let mut n = 0;
    for (k, &column) in columns.iter().enumerate() {
        // Without a branch on what is kept, which nothing could predict: what is not is written over.
        places[n] = k as u32;
        let column = column as u32;
        n += (kept[column as usize / 64] >> (column % 64) & 1) as usize;
    }
    n
}

/// As [`kept_places`], of the end of a row: `first` columns come before.
#[inline(always)]
pub(super) fn kept_places_from(first: usize, kept: &[u64], columns: &[i32], places: &mut [u32]) -> usize {
    let n = kept_places(kept, columns, places);
    places[..n].iter_mut().for_each(|place| *place += first as u32);
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
        let column = column as u32;
        present[column as usize / 64] |= 1 << (column % 64);
    }
    // Each place is counted on its own, rather than found by comparisons that nothing could predict.
    let mut n = 0;
    for (before, word) in before.iter_mut().zip(&*present) {
        *before = n;
        n += word.count_ones();
    }
    let before = &before[..present.len()];
    let to_values = &mut to_values[..to_columns.len()];
    for (&column, &value) in columns.iter().zip(values) {
        let (word, bit) = (column as u32 as usize / 64, column as u32 % 64);
        let lower = present[word] & ((1 << bit) - 1);
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

#[inline(always)]
pub(super) fn candidates<W: Ranked>(
    columns: &[i32],
    values: &[W],
    k: usize,
    is_ascending: bool,
    keys: &mut Vec<W::Key>,
) -> bool {
    keys.clear();
    let most = (2 * k).max(LEAST_KEYS);
    let (mut least, mut in_order) = (W::default(), is_ascending);
    for (columns, values) in columns.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        if !values.iter().fold(false, |any, &value| any | (value > least)) {
            continue;
        }
        let mut n = keys.len();
        // A place is made for each, and without a branch.
        keys.resize(n + columns.len(), Default::default());
        for (&column, &value) in columns.iter().zip(values) {
            keys[n] = value.key(column);
            n += usize::from(value > least);
        }
        keys.truncate(n);
        if is_ascending && n >= most {
            let (_, last, _) = keys.select_nth_unstable(k - 1);
            least = W::of_key(*last).1;
            keys.truncate(k);
            in_order = false;
        }
    }
    in_order
}

/// The nearest `bf16`, of two the even one. As [`bf16::from_f32`], but without a branch, so that many are rounded at once.
#[inline(always)]
fn nearest_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    // The quiet bit keeps a NaN one, whichever of its bits are cut off.
    let bits = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
    bf16::from_bits((bits >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_as_by_its_crate() {
        let mut bits = 0u32;
        for _ in 0..1 << 20 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for bits in [
                bits,
                bits & 0xFFFF_0000 | 0x8000,
                bits & 0xFFFF_0000 | 0x7FFF,
                bits | 0x7F80_0000,
            ] {
                let x = f32::from_bits(bits);
                assert_eq!(
                    nearest_bf16(x).to_bits(),
                    bf16::from_f32(x).to_bits(),
                    "{bits:08x}"
                );
            }
        }
    }
}
