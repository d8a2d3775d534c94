//! How rows are cut into ranges of which one fits into memory, and where each has its place in a temporary file.

use std::ops::Range;
use std::sync::Arc;

use super::pieces::MAX_HEADER_BYTES;

/// Row and column as they wait, before the value.
const KEY_BYTES: u64 = 8;

/// Of the memory limit, the part for a range while it is sorted, and that for what waits to be appended.
const SORT_SHARE: u64 = 8;
const WAITING_SHARE: u64 = 8;
/// Of the memory limit, the part below which all entries are kept in memory.
const MEMORY_SHARE: u64 = 8;

/// An entry of a range that is sorted is there as it was read, as it is put into its row, and in order.
const SORT_COPIES: u64 = 3;

/// Entries of a range, if memory allows: rows that are sorted should stay in a core's cache.
const RANGE_NNZ: u64 = 1 << 19;

/// Entries that wait before they are appended to a range's place.
const MIN_WAITING: u64 = 1 << 11;
const MAX_WAITING: u64 = 1 << 14;

/// The least that an entry takes in the file: a column and a value of one byte each.
const LEAST_ENTRY_BYTES: u64 = 2;

/// What the size of ranges, and the memory that they need, depend on beside the memory limit.
#[derive(Clone, Copy, Debug)]
pub struct RowTotals {
    n_rows: u64,
    /// Entries of all rows, and of the longest, at the most.
    nnz: u64,
    max_row_nnz: u64,
    value_bytes: u64,
}

impl RowTotals {
    /// Of rows with so many entries each.
    pub(crate) fn count(rows: impl Iterator<Item = u64>, value_bytes: usize) -> Self {
        let mut totals = Self {
            n_rows: 0,
            nnz: 0,
            max_row_nnz: 0,
            value_bytes: value_bytes as u64,
        };
        for nnz in rows {
            totals.n_rows += 1;
            totals.nnz = totals.nnz.saturating_add(nnz);
            totals.max_row_nnz = totals.max_row_nnz.max(nnz);
        }
        totals
    }

    fn entry_bytes(&self) -> u64 {
        KEY_BYTES + self.value_bytes
    }

    /// What an entry takes that waits: with what is left free after a short value.
    fn waiting_bytes(&self) -> u64 {
        self.entry_bytes().next_multiple_of(size_of::<u32>() as u64)
    }

    /// Entries that a range should have.
    fn range_nnz(&self, memory_bytes: u64) -> u64 {
        let fitting = memory_bytes / SORT_SHARE / (SORT_COPIES * self.entry_bytes());
        // Shorter ranges would be so many that what waits of them takes more than sorting one.
        let waiting = self.nnz.saturating_mul(MIN_WAITING * self.waiting_bytes());
        let balanced = (waiting / (SORT_COPIES * self.entry_bytes())).isqrt();
        fitting.min(RANGE_NNZ).max(balanced).max(1)
    }

    /// The most memory that is needed at a time within a limit, besides windows. Of two limits the larger one needs more by at most a quarter
    /// of their difference: so if this fits into a limit, with what else is needed, it fits into every larger one.
    pub(super) fn working_bytes(&self, memory_bytes: u64) -> u64 {
        let (range_nnz, entry_bytes) = (self.range_nnz(memory_bytes), self.entry_bytes());
        // A range is only ended by a row that is too long for it, and of two that follow each other both together have more than one should have.
        let at_least = (range_nnz / 2).max(range_nnz.saturating_sub(self.max_row_nnz));
        let n_ranges = self.nnz / at_least.max(1) + 1;
        let headers = (self.nnz / MIN_WAITING).saturating_add(n_ranges) * MAX_HEADER_BYTES;
        let all = self.nnz.saturating_mul(entry_bytes).saturating_add(headers);
        let kept = all.min(memory_bytes / MEMORY_SHARE);
        let waiting_of = |most: u64| n_ranges.saturating_mul(most * self.waiting_bytes());
        let waiting = waiting_of(MIN_WAITING)
            .max(memory_bytes / WAITING_SHARE)
            .min(waiting_of(MAX_WAITING));
        let longest = self.nnz.min(range_nnz.max(self.max_row_nnz));
        let sorting = longest.saturating_mul(SORT_COPIES * entry_bytes);
        // Where each row begins, and in which range it is.
        let rows = 12 * (self.n_rows + 1);
        waiting.max(sorting).saturating_add(kept).saturating_add(rows)
    }
}

/// How rows are cut into ranges.
#[derive(Clone, Debug)]
pub(super) struct RowRanges {
    /// First row of each range, then the number of rows.
    pub(super) starts: Vec<u64>,
    /// Entries before each row, then of all rows: bounds, unless `is_exact`.
    pub(super) indptr: Arc<Vec<u64>>,
    /// Whether each row has as many entries as its bound says.
    pub(super) is_exact: bool,
    /// First byte of the place of each range, then the end of the last.
    pub(super) places: Vec<u64>,
    /// Entries that wait of a range.
    pub(super) waiting: usize,
    pub(super) totals: RowTotals,
    pub(super) in_memory: bool,
}

impl RowRanges {
    /// A plan for rows with these offsets, of values of `value_bytes`.
    pub(super) fn new(indptr: Vec<u64>, is_exact: bool, value_bytes: usize, memory_bytes: u64) -> Self {
        let n_rows = indptr.len() as u64 - 1;
        let totals = RowTotals::count(indptr.windows(2).map(|ends| ends[1] - ends[0]), value_bytes);
        let range_nnz = totals.range_nnz(memory_bytes);
        let mut starts = vec![0];
        let mut at = 0;
        while at < n_rows {
            let first = indptr[at as usize];
            let until = indptr[at as usize + 1..].partition_point(|&end| end - first <= range_nnz) as u64;
            at += until.max(1);
            starts.push(at);
        }
        let n_ranges = (starts.len() as u64 - 1).max(1);
        let may_wait = memory_bytes / WAITING_SHARE / totals.waiting_bytes();
        let waiting = (may_wait / n_ranges).clamp(MIN_WAITING, MAX_WAITING);
        let mut places = vec![0];
        let mut end = 0;
        for bounds in starts.windows(2) {
            let nnz = indptr[bounds[1] as usize] - indptr[bounds[0] as usize];
            let bytes = nnz
                .saturating_mul(totals.entry_bytes())
                .saturating_add((nnz / waiting + 1) * MAX_HEADER_BYTES);
            end = bytes.saturating_add(end);
            places.push(end);
        }
        Self {
            starts,
            is_exact,
            places,
            waiting: waiting as usize,
            totals,
            in_memory: end <= memory_bytes / MEMORY_SHARE,
            indptr: Arc::new(indptr),
        }
    }

    pub(super) fn n_ranges(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of entries, at the most.
    pub(super) fn nnz(&self) -> u64 {
        self.indptr.last().copied().unwrap_or(0)
    }

    /// Entries of a range, at the most.
    pub(super) fn nnz_of(&self, range: usize) -> u64 {
        let rows = self.rows_of(range);
        self.indptr[rows.end as usize] - self.indptr[rows.start as usize]
    }

    pub(super) fn places_bytes(&self) -> u64 {
        self.places.last().copied().unwrap_or(0)
    }

    /// Bytes that the temporary file takes at least.
    pub(super) fn least_file_bytes(&self) -> u64 {
        match self.in_memory {
            true => 0,
            false => self.nnz().saturating_mul(LEAST_ENTRY_BYTES),
        }
    }

    /// The range of a row.
    pub(super) fn range_of(&self, row: u64) -> usize {
        self.starts.partition_point(|&start| start <= row) - 1
    }

    /// The rows of a range.
    pub(super) fn rows_of(&self, range: usize) -> Range<u64> {
        self.starts[range]..self.starts[range + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a plan takes, as it is.
    fn taken(plan: &RowRanges) -> u64 {
        let totals = plan.totals;
        let kept = if plan.in_memory { plan.places_bytes() } else { 0 };
        let waiting = plan.n_ranges() as u64 * plan.waiting as u64 * totals.waiting_bytes();
        let longest = (0..plan.n_ranges()).map(|range| plan.nnz_of(range)).max();
        let sorting = longest.unwrap_or(0) * SORT_COPIES * totals.entry_bytes();
        kept + waiting.max(sorting) + 12 * plan.indptr.len() as u64
    }

    /// Rows of one entry, of many, of none, and one that is longer than all others together.
    fn examples() -> Vec<Vec<u64>> {
        let offsets = |n_rows: u64, nnz_of: fn(u64) -> u64| {
            let mut end = 0;
            let ends = (0..n_rows).map(|row| {
                end += nnz_of(row);
                end
            });
            std::iter::once(0).chain(ends).collect()
        };
        vec![
            offsets(0, |_| 0),
            offsets(100_000, |_| 1),
            offsets(50_000, |row| row * 7919 % 4000),
            offsets(3_000, |row| if row % 2 == 0 { 300_000 } else { 0 }),
            offsets(1_000, |row| if row == 500 { 1 << 26 } else { row }),
            offsets(1_000, |_| 0),
        ]
    }

    #[test]
    fn a_plan_takes_what_its_totals_say_at_most() {
        for indptr in examples() {
            for memory_bytes in (0..14).map(|power| (1 << 20) << power) {
                for value_bytes in [1, 4, 8] {
                    let plan = RowRanges::new(indptr.clone(), true, value_bytes, memory_bytes);
                    let (taken, said) = (taken(&plan), plan.totals.working_bytes(memory_bytes));
                    assert!(
                        taken <= said,
                        "{:?} in {memory_bytes}: {taken} and {said}",
                        plan.totals
                    );
                }
            }
        }
    }

    #[test]
    fn what_fits_into_a_limit_fits_into_larger_ones() {
        for indptr in examples() {
            let totals = RowTotals::count(indptr.windows(2).map(|ends| ends[1] - ends[0]), 4);
            for memory_bytes in (0..2000).map(|step| step * (3 << 20)) {
                let [smaller, larger] =
                    [memory_bytes, memory_bytes + (3 << 20)].map(|limit| totals.working_bytes(limit));
                assert!(larger <= smaller + (1 << 20), "{totals:?} in {memory_bytes}");
            }
        }
    }
}
