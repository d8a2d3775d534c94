//! What is done to all values of a row, several at a time: once per instruction set. `plain` needs none and is the twin that tests
//! compare the others with, bit for bit.
#![allow(unsafe_code, reason = "calls code for an instruction set")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

use half::bf16;

use super::rank::Ranked;
use crate::format::encoding::packed::Kernel;

/// Logarithms of the counts below this are looked up.
pub(super) const TABLE_LEN: usize = 256;

/// Counts from 1 to below this are most of all, and have an entry.
pub(super) const N_SMALL: usize = 16;

/// The instruction set that rows are worked on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes(Kernel);

impl Default for Lanes {
    fn default() -> Self {
        Self(Kernel::detect())
    }
}

/// Calls the function of this name for the instruction set.
macro_rules! dispatch {
    ($lanes:ident.$name:ident($($argument:expr),*)) => {
        match $lanes.0 {
            // SAFETY: there are `Lanes` only of kernels that this processor can run: see `Default` and `available`.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { avx512::$name($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { avx2::$name($($argument),*) },
            _ => plain::$name($($argument),*),
        }
    };
}

impl Lanes {
    #[cfg(test)]
    pub(super) fn available() -> impl Iterator<Item = Self> {
        Kernel::available().into_iter().map(Self)
    }

    /// The sum of a row. Exact for integers as long as it is below 2^53, and otherwise the same with every instruction set: value `i`
    /// is added to sum `i % 8`, what is left over to one of its own, and these sums in turn.
    pub(super) fn sum(self, values: &[f32]) -> f64 {
        dispatch!(self.sum(values))
    }

    /// Whether any value has a sign, -0 included.
    pub(super) fn any_sign(self, values: &[f32]) -> bool {
        dispatch!(self.any_sign(values))
    }

    /// Whether any value is finite and as far from 0 as `limit`, or farther.
    pub(super) fn any_beyond(self, values: &[f32], limit: f32) -> bool {
        dispatch!(self.any_beyond(values, limit))
    }

    /// Divides each value.
    pub(super) fn divide(self, values: &mut [f32], divisor: f32) {
        dispatch!(self.divide(values, divisor));
    }

    /// Rounds each value to the nearest `bf16`, of two the even one, into memory of the same length.
    pub(super) fn round_to_bf16(self, values: &[f32], rounded: &mut [bf16]) {
        dispatch!(self.round_to_bf16(values, rounded));
    }

    /// Puts the places in `columns` of those whose bit is set at the front of `places`, in order, and says how many they are. Bit
    /// `c % 64` of `kept[c / 64]` is that of column `c`.
    ///
    /// # Panics
    /// If a column has no bit.
    pub(super) fn kept_places(self, kept: &[u64], columns: &[i32], places: &mut Vec<u32>) -> usize {
        // Whole vectors are written.
        let least = columns.len() + 16;
        if places.len() < least {
            places.resize(least, 0);
        }
        dispatch!(self.kept_places(kept, columns, places))
    }

    /// Puts a row into the order of its columns, in memory of the same length. All columns differ; bit `c % 64` of `present[c / 64]` is that of
    /// column `c`, and none is set. `before` is memory, and as long.
    ///
    /// # Panics
    /// If a column has no bit.
    pub(super) fn order<T: Copy>(
        self,
        present: &mut [u64],
        before: &mut [u32],
        (columns, values): (&[i32], &[T]),
        (to_columns, to_values): (&mut [i32], &mut [T]),
    ) {
        dispatch!(self.order(present, before, (columns, values), (to_columns, to_values)));
    }

    /// The keys of the values above 0: all, or some among which the `k` highest are. Says whether their columns ascend.
    ///
    /// In a long row most values are not above the `k` highest of those before them, and whole chunks are passed over. That takes columns
    /// that ascend: then of equal values the earlier ranks higher.
    pub(super) fn candidates<W: Ranked>(
        self,
        columns: &[i32],
        values: &[W],
        k: usize,
        is_ascending: bool,
        keys: &mut Vec<W::Key>,
    ) -> bool {
        dispatch!(self.candidates(columns, values, k, is_ascending, keys))
    }

    /// Puts entry `x` of the table in the place of each value that is the integer `x`, from the front on until a value has none: it is not
    /// an integer, below 1, or its entry is NaN. Those from 1 to below [`N_SMALL`] are not. Up to 15 values before that may be left as well.
    /// Says how many were replaced.
    pub(super) fn look_up(self, table: &[f32; TABLE_LEN], values: &mut [f32]) -> usize {
        debug_assert!(table[1..N_SMALL].iter().all(|entry| !entry.is_nan()));
        dispatch!(self.look_up(table, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minibatch::rank::rank;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            20 => (0u32..12).prop_map(|count| count as f32),
            4 => (0u32..300).prop_map(|count| count as f32),
            1 => any::<u32>().prop_map(f32::from_bits),
            1 => prop::sample::select(vec![0.0, -0.0, -1.0, 0.5, 255.0, 256.0, 1e10, -1e10, f32::NAN, f32::INFINITY]),
        ]
    }

    proptest! {
        #[test]
        fn sums_and_signs_are_those_of_the_plain_loop(values in prop::collection::vec(value(), 0..200)) {
            for lanes in Lanes::available() {
                let (sum, expected) = (lanes.sum(&values), plain::sum(&values));
                prop_assert!(sum.to_bits() == expected.to_bits() || (sum.is_nan() && expected.is_nan()), "{lanes:?}: {sum} {expected}");
                prop_assert_eq!(lanes.any_sign(&values), values.iter().any(|value| value.is_sign_negative()));
            }
        }

        #[test]
        fn values_are_divided_rounded_and_compared_as_one_by_one(
            values in prop::collection::vec(value(), 0..200), divisor in value(), limit in value(),
        ) {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let quotients: Vec<f32> = values.iter().map(|value| value / divisor).collect();
            for lanes in Lanes::available() {
                let mut found = values.clone();
                lanes.divide(&mut found, divisor);
                prop_assert!(found.iter().zip(&quotients).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())));
                let mut rounded = vec![bf16::ZERO; values.len()];
                lanes.round_to_bf16(&values, &mut rounded);
                let expected: Vec<f32> = values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect();
                prop_assert_eq!(bits(&rounded.iter().map(|value| value.to_f32()).collect::<Vec<_>>()), bits(&expected), "{:?}", lanes);
                let is_beyond = values.iter().any(|value| value.is_finite() && value.abs() >= limit);
                prop_assert_eq!(lanes.any_beyond(&values, limit), is_beyond);
            }
        }

        #[test]
        fn kept_places_are_those_whose_bit_is_set(
            kept in prop::collection::vec(any::<u64>(), 1..40), columns in prop::collection::vec(any::<u32>(), 0..200),
        ) {
            let n_columns = 64 * kept.len() as u32;
            let columns: Vec<i32> = columns.into_iter().map(|column| (column % n_columns) as i32).collect();
            let is_kept = |&k: &u32| {
                let column = columns[k as usize];
                kept[column as usize / 64] >> (column % 64) & 1 == 1
            };
            let expected: Vec<u32> = (0..columns.len() as u32).filter(is_kept).collect();
            for lanes in Lanes::available() {
                let mut places = vec![7; 3];
                let n = lanes.kept_places(&kept, &columns, &mut places);
                prop_assert_eq!(&places[..n], &expected[..], "{:?}", lanes);
            }
        }

        /// Ties, and values that are never among the highest, in rows of which most is passed over.
        #[test]
        fn the_highest_are_those_of_a_sort(
            values in prop::collection::vec(
                prop::sample::select(vec![1.0f32, 2.0, 3.0, 1.0, 4e9, f32::NAN, f32::INFINITY, -1.0, 0.0, -0.0]), 0..3_000,
            ),
            k in prop::sample::select(vec![1usize, 64, 127, 128, 129, 300]),
            is_ascending in any::<bool>(),
        ) {
            let n = values.len() as i32;
            // In no order, all different.
            let columns: Vec<i32> = (0..n).map(|k| if is_ascending { 2 * k } else { (k * 7_919) % 100_003 }).collect();
            let mut expected: Vec<u64> = columns
                .iter()
                .zip(&values)
                .filter(|&(_, &value)| value > 0.0)
                .map(|(&column, &value)| value.key(column))
                .collect();
            expected.sort_unstable();
            expected.truncate(k);
            for lanes in Lanes::available() {
                let (mut keys, mut spare) = (vec![7], vec![]);
                let in_order = lanes.candidates(&columns, &values, k, is_ascending, &mut keys);
                rank(&mut keys, &mut spare, k, in_order);
                prop_assert_eq!(&keys, &expected, "{:?}", lanes);
            }
        }

        #[test]
        fn looked_up_are_counts_that_have_an_entry(
            values in prop::collection::vec(value(), 0..200), present in prop::collection::vec(prop::bool::weighted(0.9), TABLE_LEN),
        ) {
            let table: [f32; TABLE_LEN] =
                std::array::from_fn(|count| if present[count] || (1..N_SMALL).contains(&count) { 1000.0 + count as f32 } else { f32::NAN });
            let mut expected = values.clone();
            let n_expected = plain::look_up(&table, &mut expected);
            for lanes in Lanes::available() {
                let mut found = values.clone();
                let n = lanes.look_up(&table, &mut found);
                prop_assert!(n <= n_expected && n + 16 > n_expected, "{lanes:?}: {n} of {n_expected}");
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found[..n]), bits(&expected[..n]), "{:?}", lanes);
                prop_assert_eq!(bits(&found[n..]), bits(&values[n..]), "{:?}", lanes);
            }
        }
    }

    #[test]
    fn a_column_without_a_bit_panics() {
        for lanes in Lanes::available() {
            assert_eq!(lanes.kept_places(&[], &[], &mut vec![]), 0);
            for column in [64, 1000, -1] {
                for place in [0, 5, 16, 17] {
                    let mut columns = [3; 20];
                    columns[place] = column;
                    let result = std::panic::catch_unwind(|| lanes.kept_places(&[1], &columns, &mut vec![]));
                    assert!(result.is_err(), "{lanes:?}: {column} at {place}");
                    let result = std::panic::catch_unwind(|| {
                        let (mut to, mut values) = ([0; 20], [0; 20]);
                        lanes.order(&mut [0], &mut [0], (&columns, &[0; 20]), (&mut to, &mut values));
                    });
                    assert!(result.is_err(), "{lanes:?}: {column} at {place}");
                }
            }
        }
    }
}
