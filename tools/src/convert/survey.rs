//! The pass over the matrix before it is converted: how often each column occurs, and how large the values are.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use cellring::format::{CsrRows, Element, ValueType};
use cellring::with_values;
use cellring_anndata::{CountMode, MatrixSource, ReadError};
use rayon::prelude::*;

/// Stored entries between two reports of progress.
const REPORT_NNZ: u64 = 32 << 20;

/// Entries that one thread looks at in one go.
const PART_NNZ: usize = 1 << 16;

/// Windows of rows that a sample consists of, and rows in each.
const SAMPLE_WINDOWS: u64 = 64;
const SAMPLE_ROWS: u64 = 512;

/// What is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survey {
    /// How often a column is stored. The values are not read, which halves the time, and of a matrix that is stored by columns nothing; the numbers are those of the
    /// canonical matrix where that turns out to have dropped nothing.
    StoredCounts,
    /// Exact numbers, and the type that the values fit.
    Exact,
    /// Exact numbers of some rows, which depend on nothing but how many there are: all parts of a store find the same, and none
    /// reads the whole matrix.
    Sample,
}

impl Survey {
    /// Number of rows that are looked at.
    pub(super) fn n_rows(self, n_obs: u64) -> u64 {
        match self {
            Self::StoredCounts | Self::Exact => n_obs,
            Self::Sample => sample(n_obs).map(|rows| rows.end - rows.start).sum(),
        }
    }
}

/// The rows of a sample: windows that lie evenly over all rows, or all rows where they are few.
fn sample(n_obs: u64) -> impl Iterator<Item = Range<u64>> {
    let is_small = n_obs <= SAMPLE_WINDOWS * SAMPLE_ROWS;
    let (n_windows, len) = if is_small {
        (1, n_obs)
    } else {
        (SAMPLE_WINDOWS, SAMPLE_ROWS)
    };
    (0..n_windows).map(move |window| {
        let last = u128::from(n_obs - len);
        let start = (last * u128::from(window) / u128::from((n_windows - 1).max(1))) as u64;
        start..start + len
    })
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// In how many rows each column occurs.
    pub(super) counts: Vec<u64>,
    /// The narrowest type for the values; known after [`Survey::Exact`] only.
    pub(super) narrowest: Option<ValueType>,
}

/// Looks at all rows, in windows of at most `window_nnz` entries, on the current thread pool.
pub(super) fn run(
    matrix: &MatrixSource,
    survey: Survey,
    window_nnz: usize,
    progress: &dyn Fn(u64),
) -> Result<Found, ReadError> {
    let mut counts = vec![0u64; matrix.n_vars() as usize];
    match survey {
        Survey::StoredCounts => {
            if let Some(counts) = matrix.stored_per_column() {
                progress(matrix.n_obs());
                return Ok(Found {
                    counts,
                    narrowest: None,
                });
            }
            let matrix = matrix.in_any_order();
            let mut start = 0;
            while start < matrix.n_obs() {
                let mut nnz = 0;
                let n_rows = matrix
                    .stored_per_row(start..matrix.n_obs())
                    .take_while(|&row| {
                        let before = nnz;
                        nnz += row;
                        before < REPORT_NNZ
                    })
                    .count() as u64;
                let part = matrix.detection_counts(start..start + n_rows, CountMode::Stored)?;
                counts.iter_mut().zip(part).for_each(|(count, n)| *count += n);
                start += n_rows;
                progress(start);
            }
            Ok(Found {
                counts,
                narrowest: None,
            })
        }
        Survey::Exact => {
            let (mut range, matrix) = (ValueRange::default(), matrix.in_any_order());
            let mut rows = matrix.rows(0..matrix.n_obs(), window_nnz)?;
            let mut done = 0;
            while let Some(window) = rows.next() {
                let window = window?;
                add(&window, &mut counts, &mut range);
                done += window.n_rows() as u64;
                rows.recycle(window);
                progress(done);
            }
            let narrowest = Some(range.narrowest(matrix.value_type()));
            Ok(Found { counts, narrowest })
        }
        Survey::Sample => {
            let mut done = 0;
            for window in sample(matrix.n_obs()) {
                let mut rows = matrix.rows(window, window_nnz)?;
                while let Some(window) = rows.next() {
                    let window = window?;
                    add(&window, &mut counts, &mut ValueRange::default());
                    done += window.n_rows() as u64;
                    rows.recycle(window);
                    progress(done);
                }
            }
            Ok(Found {
                counts,
                narrowest: None,
            })
        }
    }
}

fn add(window: &CsrRows, counts: &mut [u64], range: &mut ValueRange) {
    let n_parts = rayon::current_num_threads();
    let part_nnz = window.nnz().div_ceil(n_parts).max(PART_NNZ);
    let n_vars = counts.len();
    let (parts, values) = rayon::join(
        || {
            let count = |part: &[u32]| {
                let mut counts = vec![0u32; n_vars];
                part.iter().for_each(|&column| counts[column as usize] += 1);
                counts
            };
            window.indices.par_chunks(part_nnz).map(count).collect::<Vec<_>>()
        },
        || with_values!(&window.values, values => ValueRange::measure(values)),
    );
    for part in parts {
        counts
            .iter_mut()
            .zip(part)
            .for_each(|(count, n)| *count += u64::from(n));
    }
    *range = range.and(values);
}

/// What all values have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ValueRange {
    all_counts: bool,
    largest: u32,
}

impl Default for ValueRange {
    fn default() -> Self {
        Self {
            all_counts: true,
            largest: 0,
        }
    }
}

impl ValueRange {
    fn measure<T: Element>(values: &[T]) -> Self {
        values
            .par_chunks(PART_NNZ)
            .map(|part| {
                let mut range = Self::default();
                for value in part {
                    let count = value.as_count();
                    range.all_counts &= count.is_some();
                    range.largest = range.largest.max(count.unwrap_or(0));
                }
                range
            })
            .reduce(Self::default, Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self {
            all_counts: self.all_counts && other.all_counts,
            largest: self.largest.max(other.largest),
        }
    }

    /// The type that the raw encoding stores the values in. Booleans stay what they are.
    fn narrowest(self, value_type: ValueType) -> ValueType {
        match self.all_counts && value_type != ValueType::Bool {
            true => ValueType::narrowest_for_counts(self.largest),
            false => value_type,
        }
    }
}

/// The columns' order in the store, and for each column of the source its place in it.
#[derive(Clone, Debug)]
pub(crate) struct ColumnOrder {
    pub(super) source_of_column: Vec<u32>,
    pub(super) column_of_source: Arc<[u32]>,
}

impl ColumnOrder {
    /// Columns by the number of rows in which they occur, most frequent first, equal ones in source order.
    pub(super) fn by_detection(counts: &[u64]) -> Self {
        let mut source_of_column: Vec<u32> = (0..counts.len() as u32).collect();
        source_of_column.sort_by_key(|&column| Reverse(counts[column as usize]));
        let mut column_of_source = vec![0; counts.len()];
        for (column, &source) in source_of_column.iter().enumerate() {
            column_of_source[source as usize] = column as u32;
        }
        Self {
            source_of_column,
            column_of_source: column_of_source.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_columns_come_first_and_ties_stay() {
        let order = ColumnOrder::by_detection(&[3, 0, 7, 3, 7]);
        assert_eq!(order.source_of_column, [2, 4, 0, 3, 1]);
        assert_eq!(*order.column_of_source, [2, 4, 0, 3, 1]);
        // A cycle of three, whose inverse is another permutation.
        let order = ColumnOrder::by_detection(&[2, 1, 3]);
        assert_eq!(
            (order.source_of_column.as_slice(), &*order.column_of_source),
            (&[2, 0, 1][..], &[1, 2, 0][..])
        );
    }

    #[test]
    fn samples_lie_evenly_and_within() {
        for n_obs in [0, 1, 511, 32_768] {
            assert!(sample(n_obs).eq(std::iter::once(0..n_obs)));
        }
        for n_obs in [32_769, 100_000, 1 << 47] {
            let windows: Vec<_> = sample(n_obs).collect();
            assert_eq!(windows.len(), 64);
            assert_eq!((windows[0].start, windows[63].end), (0, n_obs));
            assert!(windows.iter().all(|window| window.end - window.start == 512));
            assert!(windows.windows(2).all(|pair| pair[0].end <= pair[1].start));
            assert_eq!(Survey::Sample.n_rows(n_obs), 32_768);
        }
    }

    #[test]
    fn the_narrowest_type_holds_every_value() {
        let narrowest = |range: ValueRange| range.narrowest(ValueType::F32);
        assert_eq!(narrowest(ValueRange::measure::<f32>(&[])), ValueType::U8);
        assert_eq!(narrowest(ValueRange::measure(&[1.0f32, 255.0])), ValueType::U8);
        assert_eq!(narrowest(ValueRange::measure(&[256.0f32, 1.0])), ValueType::U16);
        assert_eq!(narrowest(ValueRange::measure(&[65_536.0f32])), ValueType::U32);
        for odd in [0.5f32, -1.0, -0.0, f32::NAN, 4_294_967_296.0] {
            assert_eq!(
                narrowest(ValueRange::measure(&[1.0, odd])),
                ValueType::F32,
                "{odd}"
            );
        }
        assert_eq!(
            ValueRange::measure(&[true]).narrowest(ValueType::Bool),
            ValueType::Bool
        );
        assert_eq!(
            ValueRange::measure(&[-1i8]).narrowest(ValueType::I8),
            ValueType::I8
        );
    }
}
