//! Brings entries that arrive in any order into rows, with bounded memory.
//!
//! The rows are cut into ranges of so few entries that one range fits into memory. Entries are appended to the place of
//! their range in a temporary file; a range is read back whole and sorted by row, stably, by counting. How many entries a
//! row has is counted beforehand, so every range has its exact place in one file. Where all fits into memory, there is no
//! file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use cellring_core::{CsrRows, Element};

use super::value::Value;
use crate::workspace::Workspace;

/// Row within its range and column, before the value.
const KEY_BYTES: usize = 8;

/// Of the memory limit, the part for a range while it is sorted, and that for what waits to be appended.
const SORT_SHARE: u64 = 8;
const BUFFER_SHARE: u64 = 8;
/// Of the memory limit, the part below which all entries are kept in memory.
const MEMORY_SHARE: u64 = 8;

/// Bytes that wait before they are appended to a range's place.
const MIN_BUFFER_BYTES: u64 = 16 << 10;
const MAX_BUFFER_BYTES: u64 = 1 << 20;

/// Ranges have a 16-bit number.
const MAX_RANGES: u64 = 1 << 16;

/// How rows are cut into ranges.
#[derive(Clone, Debug)]
pub(super) struct RowRanges {
    /// First row of each range, then the number of rows.
    starts: Vec<u64>,
    /// Entries before each row, then of all rows.
    pub(super) indptr: Vec<u64>,
    record_bytes: usize,
    buffer_bytes: usize,
    /// Entries of the largest range.
    max_range_nnz: u64,
    in_memory: bool,
}

impl RowRanges {
    /// A plan for rows with these offsets, of values of `value_bytes`.
    pub(super) fn new(indptr: Vec<u64>, value_bytes: usize, memory_bytes: u64) -> Self {
        let record_bytes = KEY_BYTES + value_bytes;
        let nnz = indptr.last().copied().unwrap_or(0);
        let n_rows = indptr.len() as u64 - 1;
        let entry_bytes = 4 + value_bytes as u64;
        let most_ranges = (memory_bytes / BUFFER_SHARE / MIN_BUFFER_BYTES).clamp(1, MAX_RANGES);
        let fitting = memory_bytes / SORT_SHARE / (record_bytes as u64 + 2 * entry_bytes);
        let per_range = fitting.max(nnz.div_ceil(most_ranges)).max(1);
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
        let buffer_bytes =
            (memory_bytes / BUFFER_SHARE / n_ranges).clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES) as usize;
        Self {
            starts,
            record_bytes,
            buffer_bytes: buffer_bytes / record_bytes * record_bytes,
            max_range_nnz,
            in_memory: nnz * record_bytes as u64 <= memory_bytes / MEMORY_SHARE,
            indptr,
        }
    }

    fn n_ranges(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of entries.
    pub(super) fn nnz(&self) -> u64 {
        self.indptr.last().copied().unwrap_or(0)
    }

    /// Bytes of the temporary file; 0 where there is none.
    pub(super) fn file_bytes(&self) -> u64 {
        if self.in_memory {
            0
        } else {
            self.nnz() * self.record_bytes as u64
        }
    }

    /// The most memory that is needed at a time, besides windows.
    pub(super) fn working_bytes(&self) -> u64 {
        let rows = 10 * self.indptr.len() as u64;
        let kept = if self.in_memory {
            self.nnz() * self.record_bytes as u64
        } else {
            0
        };
        let buffers = (self.n_ranges() * self.buffer_bytes) as u64;
        let entry_bytes = self.record_bytes as u64 - 4;
        let sorting = self.max_range_nnz * (self.record_bytes as u64 + 2 * entry_bytes);
        rows + kept + buffers.max(sorting)
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

#[derive(Debug)]
enum Records {
    Memory(Vec<u8>),
    File(File),
}

/// Takes the entries.
#[derive(Debug)]
pub(super) struct SpillWriter {
    plan: RowRanges,
    records: Records,
    range_of_row: Vec<u16>,
    /// One piece of memory for the buffers of all ranges, which goes back to the system as one: as many small ones would stay with
    /// the allocator.
    buffers: Vec<u8>,
    /// Bytes in the buffer of each range.
    filled: Vec<usize>,
    /// Where the next record of each range goes, in bytes.
    ends: Vec<u64>,
}

impl SpillWriter {
    pub(super) fn new(plan: RowRanges, workspace: &Workspace) -> io::Result<Self> {
        let records = if plan.in_memory {
            Records::Memory(vec![0; plan.nnz() as usize * plan.record_bytes])
        } else {
            // Without a name: it is gone with the process, however that ends.
            Records::File(tempfile::tempfile_in(&workspace.directory)?)
        };
        let mut range_of_row = Vec::with_capacity(plan.indptr.len());
        for range in 0..plan.n_ranges() {
            range_of_row.resize(plan.starts[range + 1] as usize, range as u16);
        }
        let starts = plan.starts[..plan.n_ranges()].iter();
        Ok(Self {
            buffers: vec![0; plan.n_ranges() * plan.buffer_bytes],
            filled: vec![0; plan.n_ranges()],
            ends: starts
                .map(|&row| plan.indptr[row as usize] * plan.record_bytes as u64)
                .collect(),
            records,
            range_of_row,
            plan,
        })
    }

    /// Appends one entry. The row is known to exist.
    pub(super) fn push<T: Element>(&mut self, row: u32, column: u32, value: T) -> Result<(), SpillError> {
        let range = usize::from(self.range_of_row[row as usize]);
        let in_range = row - self.plan.starts[range] as u32;
        let mut record = [0u8; KEY_BYTES + 8];
        record[..4].copy_from_slice(&in_range.to_le_bytes());
        record[4..8].copy_from_slice(&column.to_le_bytes());
        record[8..].copy_from_slice(&value.bits().to_le_bytes());
        let RowRanges {
            record_bytes,
            buffer_bytes,
            ..
        } = self.plan;
        let at = range * buffer_bytes + self.filled[range];
        self.buffers[at..at + record_bytes].copy_from_slice(&record[..record_bytes]);
        self.filled[range] += record_bytes;
        if self.filled[range] == buffer_bytes {
            self.flush(range)?;
        }
        Ok(())
    }

    fn flush(&mut self, range: usize) -> Result<(), SpillError> {
        let start = range * self.plan.buffer_bytes;
        let buffer = &self.buffers[start..start + self.filled[range]];
        let at = self.ends[range];
        let until = self.plan.indptr[self.plan.starts[range + 1] as usize] * self.plan.record_bytes as u64;
        let end = at + buffer.len() as u64;
        if end > until {
            return Err(SpillError::Changed);
        }
        match &mut self.records {
            Records::Memory(bytes) => bytes[at as usize..end as usize].copy_from_slice(buffer),
            Records::File(file) => file.write_all_at(buffer, at)?,
        }
        self.ends[range] = end;
        self.filled[range] = 0;
        Ok(())
    }

    /// Ends writing; every entry that was counted must have come.
    pub(super) fn finish(mut self) -> Result<Spill, SpillError> {
        for range in 0..self.plan.n_ranges() {
            self.flush(range)?;
            let until = self.plan.indptr[self.plan.starts[range + 1] as usize];
            if self.ends[range] != until * self.plan.record_bytes as u64 {
                return Err(SpillError::Changed);
            }
        }
        Ok(Spill {
            plan: self.plan,
            records: self.records,
        })
    }
}

/// All entries, range by range.
#[derive(Debug)]
pub(super) struct Spill {
    plan: RowRanges,
    records: Records,
}

impl Spill {
    pub(super) fn plan(&self) -> &RowRanges {
        &self.plan
    }

    /// The rows of one range, each row's entries in the order in which they came.
    pub(super) fn read<T: Value + Element>(
        &self,
        range: usize,
        rows: &mut CsrRows,
    ) -> Result<(), SpillError> {
        let of_range = self.plan.rows_of(range);
        let bounds = &self.plan.indptr[of_range.start as usize..=of_range.end as usize];
        let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
        let record_bytes = self.plan.record_bytes;
        let place = first as usize * record_bytes..last as usize * record_bytes;
        let mut read = Vec::new();
        let bytes = match &self.records {
            Records::Memory(bytes) => &bytes[place],
            Records::File(file) => {
                read.resize(place.len(), 0);
                file.read_exact_at(&mut read, place.start as u64)?;
                &read
            }
        };
        rows.indptr.clear();
        rows.indptr.extend(bounds.iter().map(|end| end - first));
        let mut next: Vec<usize> = rows.indptr.iter().map(|&start| start as usize).collect();
        let n = (last - first) as usize;
        rows.indices.clear();
        rows.indices.resize(n, 0);
        let Some(values) = T::vec_mut(&mut rows.values) else {
            unreachable!("rows are of the matrix's element type");
        };
        values.clear();
        values.resize(n, T::default());
        for record in bytes.chunks_exact(record_bytes) {
            let word = |at: usize| {
                let mut word = [0; 4];
                word.copy_from_slice(&record[at..at + 4]);
                u32::from_le_bytes(word)
            };
            let row = word(0) as usize;
            let at = next[row];
            // More entries of a row than were counted would overwrite those of the next one.
            if at as u64 >= rows.indptr[row + 1] {
                return Err(SpillError::Changed);
            }
            next[row] += 1;
            let mut bits = [0; 8];
            bits[..record_bytes - KEY_BYTES].copy_from_slice(&record[KEY_BYTES..]);
            rows.indices[at] = word(4);
            values[at] = T::from_bits(u64::from_le_bytes(bits));
        }
        Ok(())
    }
}
