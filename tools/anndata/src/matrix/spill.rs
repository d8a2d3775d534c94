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
use std::sync::{PoisonError, RwLock};

use cellring_core::{CsrRows, Element};
use rayon::prelude::*;

use super::pieces::{Scratch, append_piece, pieces};
use super::row_ranges::RowRanges;
use super::value::Value;
use crate::workspace::Workspace;

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

/// Where the pieces are; several threads write and read there.
#[derive(Debug)]
enum Records {
    Memory(RwLock<Vec<u8>>),
    File(File),
}

impl Records {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::Memory(all) => {
                let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
                all[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Self::File(file) => file.write_all_at(bytes, at),
        }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Memory(all) => {
                let all = all.read().unwrap_or_else(PoisonError::into_inner);
                bytes.copy_from_slice(&all[at as usize..at as usize + bytes.len()]);
                Ok(())
            }
            Self::File(file) => file.read_exact_at(bytes, at),
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
    /// What waits: row, column and value of `waiting` entries of each range. In one piece, which goes back to the system as one: as many
    /// small ones would stay with the allocator. Each entry in one place: in three there would be three times as many pages to look up.
    entries: Vec<(u32, u32, T)>,
    /// How many wait of each range.
    n_waiting: Vec<usize>,
    /// How many each range has in its place.
    n_placed: Vec<u64>,
    /// Where the next piece of each range goes.
    ends: Vec<u64>,
    /// Memory for a piece, its rows, columns, values and their codes.
    rows: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<T>,
    codes: Vec<u32>,
    piece: Vec<u8>,
}

impl<T: Value + Element> SpillWriter<T> {
    pub(super) fn new(plan: RowRanges, workspace: &Workspace) -> io::Result<Self> {
        let records = if plan.in_memory {
            Records::Memory(RwLock::new(vec![0; plan.places_bytes() as usize]))
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
            while let Some(next) = rows[at..].iter().position(|row| part.of_rows.contains(row)) {
                at += next;
                let range = range_of_row[rows[at] as usize] as usize;
                let of_range = plan.starts[range] as u32..plan.starts[range + 1] as u32;
                // Of a matrix that is stored by rows whole rows come, of one that is stored by columns what a column has in a range.
                let n = { rows[at..].iter() }
                    .take_while(|&row| of_range.contains(row))
                    .count();
                let entries = at..at + n;
                part.append(
                    plan,
                    records,
                    range,
                    &rows[entries.clone()],
                    &columns[entries.clone()],
                    &values[entries],
                )?;
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
            records: self.records,
            ends,
        })
    }
}

impl<T: Value + Element> Part<T> {
    fn new(plan: &RowRanges, ranges: Range<usize>) -> Self {
        let n = ranges.len();
        Self {
            of_rows: plan.starts[ranges.start] as u32..plan.starts[ranges.end] as u32,
            entries: vec![(0, 0, T::default()); n * plan.waiting],
            rows: Vec::new(),
            columns: Vec::new(),
            values: Vec::new(),
            n_waiting: vec![0; n],
            n_placed: vec![0; n],
            ends: plan.places[ranges.clone()].to_vec(),
            codes: Vec::new(),
            piece: Vec::new(),
            ranges,
        }
    }

    /// Appends entries whose rows are of this range.
    fn append(
        &mut self,
        plan: &RowRanges,
        records: &Records,
        range: usize,
        mut rows: &[u32],
        mut columns: &[u32],
        mut values: &[T],
    ) -> Result<(), SpillError> {
        let first_row = plan.starts[range] as u32;
        let (own, most) = (range - self.ranges.start, plan.waiting);
        while !columns.is_empty() {
            let n_waiting = self.n_waiting[own];
            let now = columns.len().min(most - n_waiting);
            let place = own * most + n_waiting..own * most + n_waiting + now;
            let entries = rows.iter().zip(columns).zip(values);
            for (waiting, ((row, &column), &value)) in self.entries[place].iter_mut().zip(entries) {
                *waiting = (row - first_row, column, value);
            }
            self.n_waiting[own] += now;
            if n_waiting + now == most {
                self.flush(plan, records, range)?;
            }
            (rows, columns, values) = (&rows[now..], &columns[now..], &values[now..]);
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
        let waiting = &self.entries[waiting];
        self.rows.clear();
        self.rows.extend(waiting.iter().map(|entry| entry.0));
        self.columns.clear();
        self.columns.extend(waiting.iter().map(|entry| entry.1));
        self.values.clear();
        self.values.extend(waiting.iter().map(|entry| entry.2));
        self.piece.clear();
        append_piece(
            &self.rows,
            &self.columns,
            &self.values,
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

/// All entries, range by range.
#[derive(Debug)]
pub(super) struct Spill {
    plan: RowRanges,
    records: Records,
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
        let mut bytes = vec![0; (place.end - place.start) as usize];
        self.records.read_at(&mut bytes, place.start)?;
        let of_range = self.plan.rows_of(range);
        let mut next = vec![0; (of_range.end - of_range.start) as usize];
        for piece in pieces::<T>(&bytes) {
            piece.for_each_run(|row, n| next[row as usize] += n as usize);
        }
        // More entries of a row than were counted, or fewer, are those of a source that has changed.
        let bounds = self.plan.indptr[of_range.start as usize..=of_range.end as usize].windows(2);
        let mut counted = bounds.map(|pair| (pair[1] - pair[0]) as usize);
        if self.plan.is_exact && !next.iter().all(|&n| counted.next() == Some(n)) {
            return Err(SpillError::Changed);
        }
        if rows.indptr.is_empty() {
            rows.indptr.push(0);
        }
        // From numbers of entries to the places of the first ones.
        let mut end = rows.indices.len();
        for first in &mut next {
            end += std::mem::replace(first, end);
            rows.indptr.push(end as u64);
        }
        rows.indices.resize(end, 0);
        let Some(values) = T::vec_mut(&mut rows.values) else {
            unreachable!("rows are of the matrix's element type");
        };
        values.resize(end, T::default());
        let mut scratch = Scratch::default();
        for piece in pieces::<T>(&bytes) {
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
