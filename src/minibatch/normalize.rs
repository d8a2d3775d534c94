//! Library size and logarithm, row by row.

use super::lanes::{Lanes, N_SMALL, TABLE_LEN};
use super::logarithm::ln_1p;
use cellring_core::setters;

/// Library size and logarithm, as scanpy's `normalize_total` and `log1p` define them for `float32` matrices.
///
/// With `s` the sum of a row's values, a value `x` becomes `x / (f32(s) / f32(target_sum))`, in `f32`; a row whose sum is 0
/// stays as it is. With `log1p` it then becomes `ln(1 + x)`, computed in `f64` and rounded, the same on
/// every machine. The sum itself is taken in `f64`, which makes it exact for counts.
///
/// Both are for values from 0 up. A row that has a value below 0, or one that is not finite, among the genes that count is
/// refused ([`ErrorKind::Values`](crate::ErrorKind::Values)): scaled values are not counts, and their logarithms not
/// numbers. So is a row whose library size `f32` does not hold.
///
/// scanpy takes the median of the cells' sums where it is not given a target; a loader has not seen the other cells, so
/// here the target is given, or the library size left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Normalize {
    /// What each row sums to afterwards; `None` leaves its size as it is.
    pub target_sum: Option<f64>,
    /// Whether the logarithm of one plus the value is taken.
    pub log1p: bool,
    /// Which genes count for a row's sum.
    pub over: LibraryGenes,
}

impl Normalize {
    setters! {
        target_sum: into Option<f64>,
        log1p: as bool,
        over: as LibraryGenes,
    }

    /// Ten thousand counts per cell, and the logarithm: what most models were trained on.
    pub const LOG1P_10K: Self = Self {
        target_sum: Some(1e4),
        log1p: true,
        over: LibraryGenes::All,
    };
}

/// Which genes count for the library size of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LibraryGenes {
    /// All genes of the store, whether or not they are selected: as if it were normalised first. (Of several stores, all genes
    /// of the cell's own store.)
    #[default]
    All,
    /// The selected genes: as if they were selected first.
    Selected,
}

/// Where a count has no entry in the table yet, so many values are taken one by one.
const ONE_BY_ONE: usize = 16;

/// Logarithms of the counts of one row: most of its values are the same few small integers.
#[derive(Debug)]
pub(crate) struct Logarithms(Box<[f32; TABLE_LEN]>);

impl Default for Logarithms {
    fn default() -> Self {
        Self(Box::new([f32::NAN; TABLE_LEN]))
    }
}

/// Why a row cannot be normalised, or delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unfit {
    /// The value at this place of the row is below 0 or not finite.
    Value {
        /// Its place.
        place: usize,
        /// The value.
        value: f32,
    },
    /// The sum of the row is none that `f32` holds as a library size.
    Sum(f64),
    /// The type of the output has only infinity for the value at this place of the row.
    Beyond {
        /// Its place.
        place: usize,
        /// The value.
        value: f32,
        /// The type.
        value_type: &'static str,
    },
}

impl Normalize {
    /// What the values of a row with this sum are divided by.
    #[inline]
    fn divisor(&self, sum: f64) -> f32 {
        self.target_sum.map_or(1.0, |target| sum as f32 / target as f32)
    }

    /// Whether the genes that count are those of the whole row, before any are selected. Where no library size is needed, only
    /// the values that come out matter.
    pub(crate) fn counts_all(&self) -> bool {
        self.target_sum.is_some() && self.over == LibraryGenes::All
    }

    /// Refuses a row, of this sum, with values that are not from 0 up. Where [`Self::apply`] sees `all` of them afterwards and takes
    /// logarithms, values below 0 are left to it: it finds them where it leaves its fast path anyway.
    #[inline]
    pub(super) fn check(&self, lanes: Lanes, sum: f64, values: &[f32], all: bool) -> Result<(), Unfit> {
        let divisor = self.divisor(sum);
        let is_size = divisor.is_finite() && (divisor > 0.0 || sum == 0.0);
        if is_size && sum.is_finite() && ((all && self.log1p) || !lanes.any_sign(values)) {
            return Ok(());
        }
        unfit(sum, is_size, values)
    }

    /// Normalises the values of a row with this sum.
    ///
    /// # Errors
    /// If the logarithm of a value that is not from 0 up is to be taken; the values are no good then.
    #[inline]
    pub(super) fn apply(
        &self,
        lanes: Lanes,
        sum: f64,
        values: &mut [f32],
        logarithms: &mut Logarithms,
    ) -> Result<(), Unfit> {
        let divisor = self.divisor(sum);
        let divisor = if divisor == 0.0 { 1.0 } else { divisor };
        if self.log1p {
            return logarithms.apply(lanes, divisor, values);
        }
        if self.target_sum.is_some() {
            lanes.divide(values, divisor);
        }
        Ok(())
    }
}

/// Finds what is wrong with a row that looks so.
#[cold]
#[inline(never)]
fn unfit(sum: f64, is_size: bool, values: &[f32]) -> Result<(), Unfit> {
    match values.iter().position(|&value| !fits(value)) {
        Some(place) => {
            let value = values[place];
            Err(Unfit::Value { place, value })
        }
        None if is_size => Ok(()),
        None => Err(Unfit::Sum(sum)),
    }
}

fn fits(value: f32) -> bool {
    value >= 0.0 && value.is_finite()
}

impl Logarithms {
    fn apply(&mut self, lanes: Lanes, divisor: f32, values: &mut [f32]) -> Result<(), Unfit> {
        let mut unfit = None;
        let mut compute = |place: usize, value: &mut f32| {
            if !fits(*value) && unfit.is_none() {
                let value = *value;
                unfit = Some(Unfit::Value { place, value });
            }
            *value = logarithm(*value, divisor);
        };
        if values.len() < N_SMALL {
            // Fewer than the table begins with.
            let places = values.iter_mut().enumerate();
            places.for_each(|(place, value)| compute(place, value));
            return unfit.map_or(Ok(()), Err);
        }
        let table = &mut *self.0;
        table.fill(f32::NAN);
        // At once, without a jump for each.
        for (count, entry) in table.iter_mut().enumerate().take(N_SMALL).skip(1) {
            *entry = logarithm(count as f32, divisor);
        }
        let mut done = 0;
        while done < values.len() {
            done += lanes.look_up(table, &mut values[done..]);
            // Until all are found again.
            let some = values.iter_mut().enumerate().skip(done).take(ONE_BY_ONE);
            for (place, value) in some {
                done = place + 1;
                // NaN becomes 0, which is not looked up: it would also stand for -0.
                let count = *value as u32;
                match table.get_mut(count as usize) {
                    Some(entry) if count != 0 && count as f32 == *value => {
                        if entry.is_nan() {
                            *entry = logarithm(*value, divisor);
                        }
                        *value = *entry;
                    }
                    _ => compute(place, value),
                }
            }
        }
        unfit.map_or(Ok(()), Err)
    }
}

fn logarithm(value: f32, divisor: f32) -> f32 {
    ln_1p(value / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(normalize: Normalize, values: &[f32]) -> Vec<u32> {
        let mut out = values.to_vec();
        let lanes = Lanes::default();
        let applied = normalize.apply(lanes, lanes.sum(values), &mut out, &mut Logarithms::default());
        assert_eq!(
            applied.is_ok(),
            !normalize.log1p || values.iter().all(|&value| fits(value))
        );
        out.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn values_are_those_of_the_definition_to_the_bit() {
        let values: Vec<f32> = (0..3000u32)
            .map(|k| match k % 10 {
                0 => k as f32 / 7.0,
                1 => k as f32 * 100.0,
                2 => 0.0,
                3 => 1e-20,
                4 => 255.0 + (k % 3) as f32,
                _ => (k % 9) as f32,
            })
            .collect();
        let total: f64 = values.iter().map(|&x| f64::from(x)).sum();
        for target_sum in [None, Some(1e4), Some(1.0), Some(333.3)] {
            for log1p in [false, true] {
                let normalize = Normalize {
                    target_sum,
                    log1p,
                    over: LibraryGenes::All,
                };
                let plain: Vec<u32> = values
                    .iter()
                    .map(|&x| target_sum.map_or(x, |target| x / (total as f32 / target as f32)))
                    .map(|x| if log1p { ln_1p(x) } else { x })
                    .map(f32::to_bits)
                    .collect();
                assert_eq!(normalized(normalize, &values), plain, "{normalize:?}");
            }
        }
    }

    #[test]
    fn odd_values_come_out_as_one_by_one() {
        let odd = [-0.0, f32::NAN, f32::INFINITY, 3e9, 1e38, 256.0, 0.0];
        let normalize = Normalize {
            target_sum: None,
            log1p: true,
            over: LibraryGenes::All,
        };
        let plain: Vec<u32> = odd.iter().map(|&x| ln_1p(x).to_bits()).collect();
        assert_eq!(normalized(normalize, &odd), plain);
        // A sum of 0: the row stays as it is.
        let zeros = [0.0, 2.0, -2.0];
        let plain: Vec<u32> = zeros.iter().map(|x: &f32| x.to_bits()).collect();
        let normalize = Normalize {
            log1p: false,
            target_sum: Some(5.0),
            ..normalize
        };
        assert_eq!(normalized(normalize, &zeros), plain);
    }

    #[test]
    fn sums_of_counts_are_exact() {
        let counts: Vec<f32> = (1..4004).map(|k| (k * k) as f32).collect();
        let exact: u64 = counts.iter().map(|&x| x as u64).sum();
        for lanes in Lanes::available() {
            assert_eq!(lanes.sum(&counts), exact as f64);
            assert_eq!(lanes.sum(&[]), 0.0);
        }
    }

    #[test]
    fn rows_with_values_that_are_no_counts_are_refused() {
        let check = |target_sum, values: &[f32]| {
            let normalize = Normalize {
                target_sum,
                ..Normalize::LOG1P_10K
            };
            let lanes = Lanes::default();
            let sum = lanes.sum(values);
            let found = normalize.check(lanes, sum, values, false);
            // Found later, where that is soon enough.
            let later = normalize
                .check(lanes, sum, values, true)
                .and_then(|()| normalize.apply(lanes, sum, &mut values.to_vec(), &mut Logarithms::default()));
            assert_eq!(format!("{found:?}"), format!("{later:?}"), "{values:?}");
            found
        };
        for target in [None, Some(1e4)] {
            for values in [
                &[][..],
                &[0.0, -0.0],
                &[1.0, 2.5, -0.0],
                &[1e-30, 1e30],
                &[3.0; 100],
            ] {
                assert_eq!(check(target, values), Ok(()), "{values:?}");
            }
            // At every place of a row, beside the end of the lanes too.
            for len in 1..40 {
                for place in 0..len {
                    for value in [-1.0, -1e-40, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let mut values = vec![7.0; len];
                        values[place] = value;
                        match check(target, &values) {
                            Err(Unfit::Value {
                                place: at,
                                value: found,
                            }) => {
                                assert_eq!((at, found.to_bits()), (place, value.to_bits()));
                            }
                            other => panic!("{value} at {place} of {len}: {other:?}"),
                        }
                    }
                }
            }
        }
        // Finite values whose sum is not.
        let large = [3e38; 10];
        assert_eq!(check(None, &large), Ok(()));
        assert!(matches!(check(Some(1e4), &large), Err(Unfit::Sum(sum)) if sum > 2e39));
        assert!(matches!(check(Some(1e4), &[1e-44]), Err(Unfit::Sum(_))));
    }
}
