//! How rows are cut into ranges of which one fits into memory, and where each has its place in a temporary file.

use std::ops::Range;

use super::pieces::MAX_HEADER_BYTES;

/// Row and column as they wait, before the value.
const KEY_BYTES: u64 = 8;

/// Of the memory limit, the part for a range while it is sorted, and that for what waits to be appended.
const SORT_SHARE: u64 = 8;
const WAITING_SHARE: u64 = 8;
/// Of the memory limit, the part below which all entries are kept in memory.
const MEMORY_SHARE: u64 = 8;

/// Entries of a range, if memory allows: rows that are sorted should stay in a core's cache.
const RANGE_NNZ: u64 = 1 << 19;

/// Entries that wait before they are appended to a range's place.
const MIN_WAITING: u64 = 1 << 11;
const MAX_WAITING: u64 = 1 << 14;

/// The least that an entry takes in the file: a column and a value of one byte each.
const LEAST_ENTRY_BYTES: u64 = 2;

/// How rows are cut into ranges.
#[derive(Clone, Debug)]
pub(super) struct RowRanges {
    /// First row of each range, then the number of rows.
    pub(super) starts: Vec<u64>,
    /// Entries before each row, then of all rows: bounds, unless `is_exact`.
    pub(super) indptr: Vec<u64>,
    /// Whether each row has as many entries as its bound says.
    pub(super) is_exact: bool,
    /// First byte of the place of each range, then the end of the last.
    pub(super) places: Vec<u64>,
    entry_bytes: u64,
    /// Entries that wait of a range.
    pub(super) waiting: usize,
    /// What one takes that waits.
    waiting_bytes: u64,
    /// Entries of the largest range.
    max_range_nnz: u64,
    pub(super) in_memory: bool,
}

impl RowRanges {
    /// A plan for rows with these offsets, of values of `value_bytes`.
    pub(super) fn new(indptr: Vec<u64>, is_exact: bool, value_bytes: usize, memory_bytes: u64) -> Self {
        let entry_bytes = KEY_BYTES + value_bytes as u64;
        let nnz = indptr.last().copied().unwrap_or(0);
        let n_rows = indptr.len() as u64 - 1;
        // In memory with what is left free behind a short value.
        let waiting_bytes = entry_bytes.next_multiple_of(size_of::<u32>() as u64);
        let may_wait = memory_bytes / WAITING_SHARE / waiting_bytes;
        let most_ranges = (may_wait / MIN_WAITING).max(1);
        let fitting = memory_bytes / SORT_SHARE / (3 * entry_bytes);
        let per_range = fitting.min(RANGE_NNZ).max(nnz.div_ceil(most_ranges)).max(1);
        let mut starts = vec![0];
        let mut at = 0;
        let mut max_range_nnz = 0;
        while at < n_rows {
            let first = indptr[at as usize];
            let until = indptr[at as usize + 1..].partition_point(|&end| end - first <= per_range) as u64;
            let next = at + until.max(1);
            max_range_nnz = max_range_nnz.max(indptr[next as usize] - first);
            starts.push(next);
            at = next;
        }
        let n_ranges = (starts.len() as u64 - 1).max(1);
        let waiting = (may_wait / n_ranges).clamp(MIN_WAITING, MAX_WAITING);
        let mut places = vec![0];
        let mut end = 0;
        for bounds in starts.windows(2) {
            let nnz = indptr[bounds[1] as usize] - indptr[bounds[0] as usize];
            let bytes = nnz
                .saturating_mul(entry_bytes)
                .saturating_add((nnz / waiting + 1) * MAX_HEADER_BYTES);
            end = bytes.saturating_add(end);
            places.push(end);
        }
        Self {
            starts,
            is_exact,
            places,
            entry_bytes,
            waiting: waiting as usize,
            waiting_bytes,
            max_range_nnz,
            in_memory: end <= memory_bytes / MEMORY_SHARE,
            indptr,
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

    /// The most memory that is needed at a time, besides windows.
    pub(super) fn working_bytes(&self) -> u64 {
        let rows = 12 * self.indptr.len() as u64;
        let kept = if self.in_memory { self.places_bytes() } else { 0 };
        let waiting = self.n_ranges() as u64 * self.waiting as u64 * self.waiting_bytes;
        let sorting = self.max_range_nnz.saturating_mul(3 * self.entry_bytes);
        rows + kept + waiting.max(sorting)
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
