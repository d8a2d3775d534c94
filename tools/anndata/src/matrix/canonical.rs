//! Makes rows canonical: columns ascending and in range, each at most once, no explicit zeros.

use std::ops::AddAssign;

use rayon::prelude::*;

use super::value::Value;

/// Entries that one worker looks at in one go.
const GROUP_NNZ: usize = 1 << 16;

/// Rows that one worker looks at in one go, for matrices of mostly empty rows.
const GROUP_ROWS: usize = 1 << 14;

/// What had to be changed to make rows canonical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Canonicalised {
    /// Rows whose columns did not ascend.
    pub rows_sorted: u64,
    /// Entries that were added to another one of the same row and column.
    pub duplicates_summed: u64,
    /// Entries (after summing) that were exactly +0. Negative zeros and NaNs are kept.
    pub explicit_zeros_dropped: u64,
}

impl AddAssign for Canonicalised {
    fn add_assign(&mut self, other: Self) {
        self.rows_sorted += other.rows_sorted;
        self.duplicates_summed += other.duplicates_summed;
        self.explicit_zeros_dropped += other.explicit_zeros_dropped;
    }
}

/// An entry that cannot be made canonical. Rows and positions count from the first row given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A column that is not below `n_vars`.
    Index { row: usize, position: usize },
    /// Duplicates whose sum does not fit.
    Overflow { row: usize, column: u32 },
}

/// Consecutive rows that one worker makes canonical in place.
struct Group<'a, T> {
    first_row: usize,
    first_position: usize,
    /// Entries of each row: before and, afterwards, after.
    row_nnz: &'a mut [u64],
    indices: &'a mut [u32],
    values: &'a mut [T],
}

/// Makes rows canonical in place, shrinking all three vectors as entries disappear. `indptr` starts at 0.
pub(super) fn canonicalise<T: Value>(
    indptr: &mut [u64],
    indices: &mut Vec<u32>,
    values: &mut Vec<T>,
    n_vars: u64,
) -> Result<Canonicalised, Fault> {
    let mut row_nnz: Vec<u64> = indptr.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let groups = cut(&mut row_nnz, indices, values);
    let tasks = groups.into_iter().map(|mut group| -> Task<'_> {
        Box::new(move || {
            let (kept, report) = group.canonicalise(n_vars)?;
            Ok((group.first_position, group.indices.len(), kept, report))
        })
    });
    let done = run(tasks.collect())?;

    let mut report = Canonicalised::default();
    let mut end = 0;
    let mut has_shrunk = false;
    for (first, before, kept, group_report) in done {
        report += group_report;
        if end != first {
            indices.copy_within(first..first + kept, end);
            values.copy_within(first..first + kept, end);
        }
        end += kept;
        has_shrunk |= kept != before;
    }
    if has_shrunk {
        indices.truncate(end);
        values.truncate(end);
        let mut at = 0;
        for (end, nnz) in indptr[1..].iter_mut().zip(&row_nnz) {
            at += nnz;
            *end = at;
        }
    }
    Ok(report)
}

/// What makes a group canonical: gives its first position, its entries before and after, and what was done.
type Task<'a> = Box<dyn FnOnce() -> Result<(usize, usize, usize, Canonicalised), Fault> + Send + 'a>;

/// Runs the tasks on the current thread pool. They are boxed so that this is compiled once, and not for each type of values.
fn run(tasks: Vec<Task<'_>>) -> Result<Vec<(usize, usize, usize, Canonicalised)>, Fault> {
    tasks.into_par_iter().map(|task| task()).collect()
}

fn cut<'a, T>(row_nnz: &'a mut [u64], indices: &'a mut [u32], values: &'a mut [T]) -> Vec<Group<'a, T>> {
    let mut groups = Vec::with_capacity(indices.len() / GROUP_NNZ + row_nnz.len() / GROUP_ROWS + 1);
    let (mut rows, mut indices, mut values) = (row_nnz, indices, values);
    let (mut first_row, mut first_position) = (0, 0);
    while !rows.is_empty() {
        let mut n_rows = 0;
        let mut nnz = 0;
        while n_rows < rows.len() && n_rows < GROUP_ROWS && nnz < GROUP_NNZ {
            nnz += rows[n_rows] as usize;
            n_rows += 1;
        }
        let (group_rows, rest) = rows.split_at_mut(n_rows);
        rows = rest;
        let (group_indices, rest) = indices.split_at_mut(nnz);
        indices = rest;
        let (group_values, rest) = values.split_at_mut(nnz);
        values = rest;
        groups.push(Group {
            first_row,
            first_position,
            row_nnz: group_rows,
            indices: group_indices,
            values: group_values,
        });
        first_row += n_rows;
        first_position += nnz;
    }
    groups
}

impl<T: Value> Group<'_, T> {
    /// Compacts the rows towards the front of the group; the number of entries kept, and what was done.
    fn canonicalise(&mut self, n_vars: u64) -> Result<(usize, Canonicalised), Fault> {
        let mut report = Canonicalised::default();
        let mut scratch = Vec::new();
        let mut start = 0;
        let mut kept = 0;
        for (row, nnz) in self.row_nnz.iter_mut().enumerate() {
            let end = start + *nnz as usize;
            let indices = &self.indices[start..end];
            let is_ascending = indices.windows(2).fold(true, |is, pair| is & (pair[0] < pair[1]));
            let largest = if is_ascending {
                indices.last()
            } else {
                indices.iter().max()
            };
            if largest.is_some_and(|&largest| u64::from(largest) >= n_vars) {
                let in_row = indices
                    .iter()
                    .position(|&column| u64::from(column) >= n_vars)
                    .unwrap_or(0);
                return Err(Fault::Index {
                    row: self.first_row + row,
                    position: self.first_position + start + in_row,
                });
            }
            let n_zeros = self.values[start..end]
                .iter()
                .map(|value| usize::from(value.is_plus_zero()))
                .sum::<usize>();
            let row_start = kept;
            if is_ascending && n_zeros == 0 {
                if kept != start {
                    self.indices.copy_within(start..end, kept);
                    self.values.copy_within(start..end, kept);
                }
                kept += end - start;
            } else {
                scratch.clear();
                scratch.extend(
                    indices
                        .iter()
                        .copied()
                        .zip(self.values[start..end].iter().copied()),
                );
                if !is_ascending {
                    if !scratch.is_sorted_by_key(|entry| entry.0) {
                        report.rows_sorted += 1;
                        // Stable: duplicates are summed in the order in which they are stored.
                        scratch.sort_by_key(|entry| entry.0);
                    }
                    let before = scratch.len();
                    if let Err(column) = merge_duplicates(&mut scratch) {
                        return Err(Fault::Overflow {
                            row: self.first_row + row,
                            column,
                        });
                    }
                    report.duplicates_summed += (before - scratch.len()) as u64;
                }
                for &(column, value) in &scratch {
                    if value.is_plus_zero() {
                        report.explicit_zeros_dropped += 1;
                        continue;
                    }
                    self.indices[kept] = column;
                    self.values[kept] = value;
                    kept += 1;
                }
            }
            *nnz = (kept - row_start) as u64;
            start = end;
        }
        Ok((kept, report))
    }
}

/// Sums neighbours of equal column; the column whose sum overflows on failure.
fn merge_duplicates<T: Value>(entries: &mut Vec<(u32, T)>) -> Result<(), u32> {
    let mut kept = 0;
    for position in 1..entries.len() {
        let (column, value) = entries[position];
        if entries[kept].0 == column {
            entries[kept].1 = entries[kept].1.sum(value).ok_or(column)?;
        } else {
            kept += 1;
            entries[kept] = (column, value);
        }
    }
    entries.truncate(kept + 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn canonical_rows_stay_as_they_are() {
        let mut indptr = vec![0, 2, 2, 5];
        let (mut indices, mut values) = (vec![0, 9, 1, 2, 3], vec![1.5f32, -0.0, f32::NAN, 2.0, 1e-45]);
        let (indices_before, bits) = (
            indices.clone(),
            values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        );
        let report = canonicalise(&mut indptr, &mut indices, &mut values, 10).unwrap();
        assert_eq!(report, Canonicalised::default());
        assert_eq!(indptr, [0, 2, 2, 5]);
        assert_eq!(indices, indices_before);
        assert_eq!(values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
    }

    #[test]
    fn rows_are_sorted_duplicates_summed_and_zeros_dropped() {
        let mut indptr = vec![0, 4, 4, 7, 8];
        let mut indices = vec![3, 1, 3, 0, 5, 5, 6, 2];
        let mut values = vec![1i32, 2, 10, 0, 4, -4, 7, 9];
        let report = canonicalise(&mut indptr, &mut indices, &mut values, 7).unwrap();
        assert_eq!(indptr, [0, 2, 2, 3, 4]);
        assert_eq!(indices, [1, 3, 6, 2]);
        assert_eq!(values, [2, 11, 7, 9]);
        assert_eq!(
            report,
            Canonicalised {
                rows_sorted: 1,
                duplicates_summed: 2,
                explicit_zeros_dropped: 2
            }
        );
    }

    #[test]
    fn faults_name_the_place() {
        let mut indptr = vec![0, 1, 3];
        let fault = canonicalise(&mut indptr, &mut vec![0, 1, 4], &mut vec![1u8, 1, 1], 4).unwrap_err();
        assert_eq!(fault, Fault::Index { row: 1, position: 2 });
        let fault = canonicalise(&mut indptr, &mut vec![0, 3, 3], &mut vec![1u8, 200, 100], 4).unwrap_err();
        assert_eq!(fault, Fault::Overflow { row: 1, column: 3 });
        let fault = canonicalise(
            &mut indptr,
            &mut vec![0, 3, 3],
            &mut vec![1.0, f32::MAX, f32::MAX],
            4,
        )
        .unwrap_err();
        assert_eq!(fault, Fault::Overflow { row: 1, column: 3 });
        let mut infinite = vec![1.0, f32::INFINITY, 1.0];
        canonicalise(&mut indptr, &mut vec![0, 3, 3], &mut infinite, 4).unwrap();
        assert_eq!(infinite, [1.0, f32::INFINITY]);
    }

    /// Large enough for several groups, against a map per row.
    #[test]
    fn many_groups_equal_a_map_per_row() {
        let n_vars = 5000u64;
        let mut state = 12345u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state >> 33
        };
        let (mut indptr, mut indices, mut values) = (vec![0u64], Vec::new(), Vec::new());
        let mut expected = Vec::new();
        for row in 0..40_000u64 {
            let mut map = BTreeMap::new();
            let n = if row % 3 == 0 { 0 } else { random() % 20 };
            let is_canonical = row % 5 == 0;
            let mut column = 0;
            for _ in 0..n {
                column = if is_canonical {
                    column + 1 + random() % 50
                } else {
                    random() % 300
                };
                let value = if is_canonical {
                    1
                } else {
                    (random() % 5) as i64 - 2
                };
                indices.push(column as u32);
                values.push(value);
                *map.entry(column as u32).or_insert(0i64) += value;
            }
            indptr.push(indices.len() as u64);
            expected.push(
                map.into_iter()
                    .filter(|&(_, value)| value != 0)
                    .collect::<Vec<_>>(),
            );
        }
        assert!(indices.len() > 2 * GROUP_NNZ, "{} entries", indices.len());
        canonicalise(&mut indptr, &mut indices, &mut values, n_vars).unwrap();
        for (row, expected) in expected.iter().enumerate() {
            let range = indptr[row] as usize..indptr[row + 1] as usize;
            let found: Vec<_> = indices[range.clone()]
                .iter()
                .copied()
                .zip(values[range].iter().copied())
                .collect();
            assert_eq!(&found, expected, "row {row}");
        }
        assert_eq!(indptr.last().copied(), Some(indices.len() as u64));
        assert_eq!(indices.len(), values.len());
    }
}
