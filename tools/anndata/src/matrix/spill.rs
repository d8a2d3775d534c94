//! Brings entries that arrive in any order into rows, with bounded memory.
//!
//! The rows are cut into ranges of so few entries that one range fits into memory. Entries wait until there are some of a range, and are
//! then appended to its place in a temporary file as a piece, narrow. A range is read back whole and sorted by row, stably, by counting.
//! How many entries a row has, at the most, is known beforehand, so every range has its place in one file: as long as it can get; what it
//! does not use stays a hole. Where all fits into memory, there is no file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use cellring_core::{CsrRows, Element};
use rayon::prelude::*;

use super::pieces::{MAX_HEADER_BYTES, Scratch, append_piece, pieces};
use super::value::Value;
use crate::workspace::Workspace;

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

/// About the most ranges: each takes memory for what waits, and a file of its own would have as many writes.
const MAX_RANGES: u64 = 1 << 16;

/// The least that an entry takes in the file: a column and a value of one byte each.
const LEAST_ENTRY_BYTES: u64 = 2;

/// How rows are cut into ranges.
#[derive(Clone, Debug)]
pub(super) struct RowRanges {
    /// First row of each range, then the number of rows.
    starts: Vec<u64>,
    /// Entries before each row, then of all rows: bounds, unless `is_exact`.
    pub(super) indptr: Vec<u64>,
    /// Whether each row has as many entries as its bound says.
    is_exact: bool,
    /// First byte of the place of each range, then the end of the last.
    places: Vec<u64>,
    entry_bytes: u64,
    /// Entries that wait of a range.
    waiting: usize,
    /// Entries of the largest range.
    max_range_nnz: u64,
    in_memory: bool,
}

impl RowRanges {
    /// A plan for rows with these offsets, of values of `value_bytes`.
    pub(super) fn new(indptr: Vec<u64>, is_exact: bool, value_bytes: usize, memory_bytes: u64) -> Self {
        let entry_bytes = KEY_BYTES + value_bytes as u64;
        let nnz = indptr.last().copied().unwrap_or(0);
        let n_rows = indptr.len() as u64 - 1;
        let may_wait = memory_bytes / WAITING_SHARE / entry_bytes;
        let most_ranges = (may_wait / MIN_WAITING).clamp(1, MAX_RANGES);
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
            max_range_nnz,
            in_memory: end <= memory_bytes / MEMORY_SHARE,
            indptr,
        }
    }

    fn n_ranges(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of entries, at the most.
    pub(super) fn nnz(&self) -> u64 {
        self.indptr.last().copied().unwrap_or(0)
    }

    /// Entries of a range, at the most.
    fn nnz_of(&self, range: usize) -> u64 {
        let rows = self.rows_of(range);
        self.indptr[rows.end as usize] - self.indptr[rows.start as usize]
    }

    fn places_bytes(&self) -> u64 {
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
        let waiting = self.n_ranges() as u64 * self.waiting as u64 * self.entry_bytes;
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

/// Why entries could not be brought into rows.
#[derive(Debug)]
pub(super) enum SpillError {
    Io(io::Error),
    /// There are more, or fewer, entries than were counted: the source is not what it was.
    Changed,
}

impl From<io::Error> for SpillError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is written, anywhere and by several threads.
#[derive(Debug)]
enum Records {
    Memory(Mutex<Vec<u8>>),
    File(File),
}

impl Records {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::Memory(all) => {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Self::File(file) => file.write_all_at(bytes, at),
        }
    }
}

/// Takes the entries.
#[derive(Debug)]
pub(super) struct SpillWriter<T> {
    plan: RowRanges,
    records: Records,
    range_of_row: Vec<u32>,
    /// Ranges that follow each other, for one thread each.
    parts: Vec<Part<T>>,
}

/// The part of a [`SpillWriter`] that some ranges take.
#[derive(Debug)]
struct Part<T> {
    ranges: Range<usize>,
    /// Their rows.
    of_rows: Range<u32>,
    /// What waits: `waiting` entries of each range. In one piece each, which goes back to the system as one: as many small ones would
    /// stay with the allocator.
    rows: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<T>,
    /// How many wait of each range.
    n_waiting: Vec<usize>,
    /// How many each range has in its place.
    n_placed: Vec<u64>,
    /// Where the next piece of each range goes.
    ends: Vec<u64>,
    codes: Vec<u32>,
    piece: Vec<u8>,
}

impl<T: Value + Element> SpillWriter<T> {
    pub(super) fn new(plan: RowRanges, workspace: &Workspace) -> io::Result<Self> {
        let records = if plan.in_memory {
            Records::Memory(Mutex::new(vec![0; plan.places_bytes() as usize]))
        } else {
            // Without a name: it is gone with the process, however that ends.
            Records::File(tempfile::tempfile_in(&workspace.directory)?)
        };
        let n_ranges = plan.n_ranges();
        let mut range_of_row = Vec::with_capacity(plan.indptr.len());
        for range in 0..n_ranges {
            range_of_row.resize(plan.starts[range + 1] as usize, range as u32);
        }
        let n_parts = rayon::current_num_threads().clamp(1, n_ranges.max(1));
        let bounds = |part: usize| part * n_ranges / n_parts;
        let parts = (0..n_parts).map(|part| Part::new(&plan, bounds(part)..bounds(part + 1)));
        Ok(Self {
            parts: parts.collect(),
            records,
            range_of_row,
            plan,
        })
    }

    /// Appends entries, on the current thread pool. The rows are known to exist.
    pub(super) fn extend(&mut self, rows: &[u32], columns: &[u32], values: &[T]) -> Result<(), SpillError> {
        let (plan, records, range_of_row) = (&self.plan, &self.records, &self.range_of_row);
        debug_assert!(
            rows.iter().all(|&row| (row as usize) < range_of_row.len()),
            "a row that does not exist"
        );
        self.parts.par_iter_mut().try_for_each(|part| {
            let mut at = 0;
            while at < rows.len() {
                let row = rows[at];
                // Of a matrix that is stored by rows whole rows come.
                let n = rows[at..].iter().take_while(|&&next| next == row).count();
                if part.of_rows.contains(&row) {
                    let range = range_of_row[row as usize] as usize;
                    let entries = at..at + n;
                    part.append(
                        plan,
                        records,
                        (range, row),
                        &columns[entries.clone()],
                        &values[entries],
                    )?;
                }
                at += n;
            }
            Ok(())
        })
    }

    /// Ends writing; every entry that was counted must have come.
    pub(super) fn finish(mut self) -> Result<Spill, SpillError> {
        let mut ends = Vec::with_capacity(self.plan.n_ranges());
        for part in &mut self.parts {
            for range in part.ranges.clone() {
                part.flush(&self.plan, &self.records, range)?;
                let n_placed = part.n_placed[range - part.ranges.start];
                if self.plan.is_exact && n_placed != self.plan.nnz_of(range) {
                    return Err(SpillError::Changed);
                }
            }
            ends.append(&mut part.ends);
        }
        Ok(Spill {
            plan: self.plan,
            records: match self.records {
                Records::Memory(bytes) => {
                    Written::Memory(bytes.into_inner().unwrap_or_else(PoisonError::into_inner))
                }
                Records::File(file) => Written::File(file),
            },
            ends,
        })
    }
}

impl<T: Value + Element> Part<T> {
    fn new(plan: &RowRanges, ranges: Range<usize>) -> Self {
        let n = ranges.len();
        Self {
            of_rows: plan.starts[ranges.start] as u32..plan.starts[ranges.end] as u32,
            rows: vec![0; n * plan.waiting],
            columns: vec![0; n * plan.waiting],
            values: vec![T::default(); n * plan.waiting],
            n_waiting: vec![0; n],
            n_placed: vec![0; n],
            ends: plan.places[ranges.clone()].to_vec(),
            codes: Vec::new(),
            piece: Vec::new(),
            ranges,
        }
    }

    /// Appends entries of one row, which is of this range.
    #[inline]
    fn append(
        &mut self,
        plan: &RowRanges,
        records: &Records,
        (range, row): (usize, u32),
        mut columns: &[u32],
        mut values: &[T],
    ) -> Result<(), SpillError> {
        let in_range = row - plan.starts[range] as u32;
        let (own, most) = (range - self.ranges.start, plan.waiting);
        while !columns.is_empty() {
            let n_waiting = self.n_waiting[own];
            let at = own * most + n_waiting;
            let now = columns.len().min(most - n_waiting);
            if now == 1 {
                (self.rows[at], self.columns[at], self.values[at]) = (in_range, columns[0], values[0]);
            } else {
                self.rows[at..at + now].fill(in_range);
                self.columns[at..at + now].copy_from_slice(&columns[..now]);
                self.values[at..at + now].copy_from_slice(&values[..now]);
            }
            self.n_waiting[own] += now;
            if n_waiting + now == most {
                self.flush(plan, records, range)?;
            }
            (columns, values) = (&columns[now..], &values[now..]);
        }
        Ok(())
    }

    fn flush(&mut self, plan: &RowRanges, records: &Records, range: usize) -> Result<(), SpillError> {
        let own = range - self.ranges.start;
        let n = std::mem::take(&mut self.n_waiting[own]);
        if n == 0 {
            return Ok(());
        }
        self.n_placed[own] += n as u64;
        if self.n_placed[own] > plan.nnz_of(range) {
            return Err(SpillError::Changed);
        }
        let waiting = own * plan.waiting..own * plan.waiting + n;
        self.piece.clear();
        append_piece(
            &self.rows[waiting.clone()],
            &self.columns[waiting.clone()],
            &self.values[waiting],
            &mut self.codes,
            &mut self.piece,
        );
        let at = self.ends[own];
        let end = at + self.piece.len() as u64;
        assert!(end <= plan.places[range + 1], "a range outgrows its place");
        records.write_at(&self.piece, at)?;
        self.ends[own] = end;
        Ok(())
    }
}

/// What was written.
#[derive(Debug)]
enum Written {
    Memory(Vec<u8>),
    File(File),
}

/// All entries, range by range.
#[derive(Debug)]
pub(super) struct Spill {
    plan: RowRanges,
    records: Written,
    /// Where the last piece of each range ends.
    ends: Vec<u64>,
}

impl Spill {
    pub(super) fn plan(&self) -> &RowRanges {
        &self.plan
    }

    /// Appends the rows of one range, each row's entries in the order in which they came.
    pub(super) fn append_to<T: Value + Element>(
        &self,
        range: usize,
        rows: &mut CsrRows,
    ) -> Result<(), SpillError> {
        let place = self.plan.places[range]..self.ends[range];
        let mut read = Vec::new();
        let bytes = match &self.records {
            Written::Memory(bytes) => &bytes[place.start as usize..place.end as usize],
            Written::File(file) => {
                read.resize((place.end - place.start) as usize, 0);
                file.read_exact_at(&mut read, place.start)?;
                &read
            }
        };
        let of_range = self.plan.rows_of(range);
        let mut counts = vec![0u64; (of_range.end - of_range.start) as usize];
        for piece in pieces::<T>(bytes) {
            piece.for_each_run(|row, n| counts[row as usize] += u64::from(n));
        }
        // More entries of a row than were counted, or fewer, are those of a source that has changed.
        let bounds = self.plan.indptr[of_range.start as usize..=of_range.end as usize].windows(2);
        if self.plan.is_exact && !counts.iter().copied().eq(bounds.map(|pair| pair[1] - pair[0])) {
            return Err(SpillError::Changed);
        }
        if rows.indptr.is_empty() {
            rows.indptr.push(0);
        }
        let mut end = rows.indices.len();
        let mut next = Vec::with_capacity(counts.len());
        for n in counts {
            next.push(end);
            end += n as usize;
            rows.indptr.push(end as u64);
        }
        rows.indices.resize(end, 0);
        let Some(values) = T::vec_mut(&mut rows.values) else {
            unreachable!("rows are of the matrix's element type");
        };
        values.resize(end, T::default());
        let mut scratch = Scratch::default();
        for piece in pieces::<T>(bytes) {
            piece.scatter(&mut scratch, &mut next, &mut rows.indices, values);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cellring_core::ValueBuffer;

    use super::*;

    /// Entries of rows that come by columns, and again by rows in another order, with values of every width.
    #[test]
    fn rows_have_the_entries_that_came_in_their_order() {
        let n_rows = 3_000u32;
        let n_of = |row: u32| u64::from(row * 7919 % 61);
        let entries_of = |row: u32| {
            (0..n_of(row) as u32).map(move |k| {
                let column = (row * 31 + k * 977) % 70_000;
                let value = match row % 4 {
                    0 => (k + 1) as f32,
                    1 => (k * 1000 + 1) as f32,
                    2 => -0.5 * k as f32,
                    _ => f32::from_bits(k * 12_345_678),
                };
                (row, column, value)
            })
        };
        let mut by_rows: Vec<_> = (0..n_rows)
            .rev()
            .flat_map(|row| entries_of(row * 17 % n_rows))
            .collect();
        let mut indptr = vec![0];
        for row in 0..n_rows {
            indptr.push(indptr[row as usize] + n_of(row));
        }
        for is_exact in [true, false] {
            for memory_bytes in [1 << 20, 64 << 20] {
                let bounds = match is_exact {
                    true => indptr.clone(),
                    false => (0..).zip(&indptr).map(|(row, &at)| at + 3 * row).collect(),
                };
                let plan = RowRanges::new(bounds, is_exact, 4, memory_bytes);
                assert_eq!(plan.in_memory, memory_bytes == 64 << 20);
                let mut writer = SpillWriter::<f32>::new(plan, &Workspace::default()).unwrap();
                for some in by_rows.chunks(1000) {
                    let rows: Vec<u32> = some.iter().map(|entry| entry.0).collect();
                    let columns: Vec<u32> = some.iter().map(|entry| entry.1).collect();
                    let values: Vec<f32> = some.iter().map(|entry| entry.2).collect();
                    writer.extend(&rows, &columns, &values).unwrap();
                }
                let spill = writer.finish().unwrap();
                let n_ranges = spill.plan().n_ranges();
                assert!(n_ranges > 1 || memory_bytes > 1 << 20);
                let mut rows = CsrRows {
                    indptr: Vec::new(),
                    indices: Vec::new(),
                    values: ValueBuffer::F32(Vec::new()),
                };
                for range in 0..n_ranges {
                    spill.append_to::<f32>(range, &mut rows).unwrap();
                }
                let ValueBuffer::F32(values) = rows.values else {
                    panic!("other values")
                };
                for row in 0..n_rows {
                    let of_row = rows.indptr[row as usize] as usize..rows.indptr[row as usize + 1] as usize;
                    let mut expected: Vec<_> = by_rows.iter().filter(|entry| entry.0 == row).collect();
                    expected.truncate(of_row.len() + 1);
                    let found = rows.indices[of_row.clone()].iter().zip(&values[of_row]);
                    assert!(
                        found
                            .map(|(&c, v)| (c, v.to_bits()))
                            .eq(expected.iter().map(|e| (e.1, e.2.to_bits()))),
                        "row {row}"
                    );
                }
            }
            // By columns: rows alternate.
            by_rows.sort_by_key(|entry| (entry.1, entry.0));
        }
    }

    /// One entry more than was counted, or one less, or one in another row.
    #[test]
    fn a_source_that_changed_is_found() {
        let plan = || RowRanges::new(vec![0, 1, 3], true, 4, 1 << 20);
        let spilled = |rows: &[u32]| {
            let mut writer = SpillWriter::<f32>::new(plan(), &Workspace::default()).unwrap();
            writer.extend(rows, &vec![0; rows.len()], &vec![1.0; rows.len()])?;
            let mut found = CsrRows {
                indptr: Vec::new(),
                indices: Vec::new(),
                values: ValueBuffer::F32(Vec::new()),
            };
            writer.finish()?.append_to::<f32>(0, &mut found)
        };
        assert!(spilled(&[1, 0, 1]).is_ok());
        for rows in [&[0, 1][..], &[0, 1, 1, 1], &[0, 0, 1]] {
            assert!(matches!(spilled(rows), Err(SpillError::Changed)), "{rows:?}");
        }
    }
}
