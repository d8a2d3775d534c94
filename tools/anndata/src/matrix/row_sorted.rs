//! Matrices that are not stored by rows: their entries are sorted by rows once, then read from there.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cellring_core::{CsrRows, Element, ValueBuffer, ValueType};
use cellring_core::{with_element, with_values};

use super::canonical::{Canonicalised, canonicalise};
use super::frame_column::FrameColumn;
use super::row_ranges::{RowRanges, RowTotals};
use super::source::{RowSource, blame_overflow, check_row_nnz, decoding_pool, reuse, window_of};
use super::spill::{Spill, SpillError, SpillWriter};
use super::value::Value;
use crate::container::AbsentChunks;
use crate::error::{ReadError, Result};
use crate::workspace::Workspace;

/// Entries that are read at a time while a matrix is sorted.
pub(super) const SORT_NNZ: u64 = 1 << 19;

/// Entries of a matrix, some at a time.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<u32>,
    pub(super) values: ValueBuffer,
}

impl Entries {
    /// Takes the rows of a window in place of what was here; `row` gives each its number.
    pub(super) fn set_rows(&mut self, window: CsrRows, row: impl Fn(usize) -> u32) {
        self.rows.clear();
        for (number, pair) in window.indptr.windows(2).enumerate() {
            self.rows.resize(pair[1] as usize, row(number));
        }
        (self.columns, self.values) = (window.indices, window.values);
    }

    /// The memory, for a window.
    pub(super) fn take_window(&mut self) -> CsrRows {
        let values = ValueBuffer::with_capacity(self.values.value_type(), 0);
        CsrRows {
            indptr: Vec::new(),
            indices: std::mem::take(&mut self.columns),
            values: std::mem::replace(&mut self.values, values),
        }
    }

    pub(super) fn new(value_type: ValueType) -> Self {
        Self {
            rows: Vec::new(),
            columns: Vec::new(),
            values: ValueBuffer::with_capacity(value_type, 0),
        }
    }
}

/// Memory while so many entries are read, and as many taken.
pub(super) fn entries_bytes(nnz: u64, value_type: ValueType) -> u64 {
    2 * nnz * (8 + value_type.size_bytes() as u64)
}

/// Reads some entries after the other, and has each taken while the next ones are read.
///
/// # Errors
/// The first error of reading or taking.
pub(super) fn read_ahead<P: Send>(
    value_type: ValueType,
    pieces: impl IntoIterator<Item = P, IntoIter: Send>,
    read: impl Fn(P, &mut Entries) -> Result<()> + Sync,
    take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send),
) -> Result<()> {
    let mut pieces = pieces.into_iter();
    let (mut ready, mut next) = (Entries::new(value_type), Entries::new(value_type));
    let Some(first) = pieces.next() else { return Ok(()) };
    read(first, &mut ready)?;
    loop {
        let read_next = || pieces.next().map(|piece| read(piece, &mut next)).transpose();
        let (taken, is_read) = rayon::join(|| take(&mut ready), read_next);
        taken?;
        if is_read?.is_none() {
            return Ok(());
        }
        std::mem::swap(&mut ready, &mut next);
    }
}

/// A matrix that can be read whole, in an order of its own; equal cells in the order in which they are to be summed.
pub(crate) trait EntrySource: Debug + Send + Sync {
    fn place(&self) -> (&Path, &str);
    fn form(&self) -> &'static str;
    /// As that of [`RowSource`].
    fn is_stored_by_rows(&self) -> bool {
        false
    }
    /// Chunks of its arrays that are not there, and are read as the fill value.
    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        Vec::new()
    }
    /// The columns of a data frame.
    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        None
    }
    fn n_obs(&self) -> u64;
    fn n_vars(&self) -> u64;
    fn value_type(&self) -> ValueType;
    fn indices_type(&self) -> String;
    /// Memory while it is counted and read, as of [`RowSource`].
    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        entries_bytes(SORT_NNZ, self.value_type())
    }
    /// What was changed in the entries that are handed out.
    fn changed_before(&self) -> Canonicalised {
        Canonicalised::default()
    }
    /// Entries of each row, or bounds that are not far from them. Rows and columns that do not exist are an error here, or when they are
    /// read.
    fn count(&self) -> Result<Vec<u64>>;
    /// Whether [`count`](Self::count) gives the exact numbers, and not bounds.
    fn counts_exactly(&self) -> bool {
        true
    }
    /// Stored entries of each column, where they are known without reading any.
    fn column_counts(&self) -> Option<Vec<u64>> {
        None
    }
    /// The same rows in another order, if that costs less.
    fn in_any_order(&self) -> Option<Arc<dyn RowSource>> {
        None
    }
    /// Hands out all entries.
    fn read(&self, take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send)) -> Result<()>;
}

/// A matrix whose entries are sorted into rows when these are first wanted.
#[derive(Debug)]
pub(crate) struct RowSorted {
    source: Box<dyn EntrySource>,
    workspace: Workspace,
    ranges: RowRanges,
    spill: OnceLock<Spill>,
    sorting: Mutex<()>,
    /// The range that was read last, where it is larger than a window.
    sorted: Mutex<Option<(usize, CsrRows)>>,
    pool: rayon::ThreadPool,
}

impl RowSorted {
    /// Counts the entries of the rows.
    pub(crate) fn new(source: impl EntrySource + 'static, workspace: &Workspace) -> Result<Self> {
        let pool = decoding_pool(source.place().0)?;
        let value_bytes = source.value_type().size_bytes();
        let counts = pool.install(|| source.count())?;
        let mut sum = 0;
        let ends = counts.into_iter().map(|n| {
            sum += n;
            sum
        });
        let indptr = std::iter::once(0).chain(ends).collect();
        Ok(Self {
            ranges: RowRanges::new(
                indptr,
                source.counts_exactly(),
                value_bytes,
                workspace.memory_bytes,
            ),
            workspace: workspace.clone(),
            spill: OnceLock::new(),
            sorting: Mutex::new(()),
            sorted: Mutex::new(None),
            pool,
            source: Box::new(source),
        })
    }

    fn sort(&self) -> Result<Spill> {
        let directory = || self.workspace.directory.clone();
        let needed_bytes = self.ranges.least_file_bytes();
        if needed_bytes > 0
            && let Ok(room) = rustix::fs::statvfs(&self.workspace.directory)
        {
            let free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
            if free_bytes < needed_bytes {
                return Err(ReadError::NoRoom {
                    directory: directory(),
                    needed_bytes,
                    free_bytes,
                });
            }
        }
        with_element!(self.value_type(), T => self.sort_values::<T>())
    }

    fn sort_values<T: Value + Element>(&self) -> Result<Spill> {
        let failed = |error| self.failed(error);
        let writer = SpillWriter::<T>::new(self.ranges.clone(), &self.workspace);
        let mut writer = writer.map_err(|error| failed(SpillError::Io(error)))?;
        self.source.read(&mut |entries| {
            let Some(values) = T::vec_mut(&mut entries.values) else {
                unreachable!("entries are of the matrix's element type");
            };
            writer
                .extend(&entries.rows, &entries.columns, values)
                .map_err(failed)
        })?;
        writer.finish().map_err(failed)
    }

    fn failed(&self, error: SpillError) -> ReadError {
        let (file, object) = self.source.place();
        match error {
            SpillError::Io(source) => ReadError::Spill {
                directory: self.workspace.directory.clone(),
                source,
            },
            SpillError::Changed => ReadError::Damaged {
                file: file.to_owned(),
                object: object.to_owned(),
                detail: "it changed while it was read".to_owned(),
            },
        }
    }

    fn spill(&self) -> &Spill {
        match self.spill.get() {
            Some(spill) => spill,
            None => unreachable!("a matrix is prepared before it is read"),
        }
    }

    /// Rows as they are stored, but for their order: whole ranges, or rows of one.
    fn rows<T: Value + Element>(&self, rows: &Range<u64>, window: &mut CsrRows) -> Result<()> {
        let spill = self.spill();
        check_row_nnz(self, rows.start, {
            let indptr = &spill.plan().indptr;
            indptr[rows.end as usize] - indptr[rows.start as usize]
        })?;
        window.indptr.push(0);
        window.indices.reserve({
            let indptr = &spill.plan().indptr;
            (indptr[rows.end as usize] - indptr[rows.start as usize]) as usize
        });
        let mut at = rows.start;
        while at < rows.end {
            let range = spill.plan().range_of(at);
            let of_range = spill.plan().rows_of(range);
            let wanted = at..rows.end.min(of_range.end);
            at = wanted.end;
            if wanted == of_range {
                let appended = spill.append_to::<T>(range, window);
                appended.map_err(|error| self.failed(error))?;
            } else {
                self.some_of::<T>(
                    range,
                    wanted.start - of_range.start..wanted.end - of_range.start,
                    window,
                )?;
            }
        }
        Ok(())
    }

    /// Appends some of the rows of a range, which is kept for the next ones.
    fn some_of<T: Value + Element>(
        &self,
        range: usize,
        rows: Range<u64>,
        window: &mut CsrRows,
    ) -> Result<()> {
        let mut sorted = self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
        if sorted.as_ref().is_none_or(|(number, _)| *number != range) {
            let spent = sorted.take().map(|(_, rows)| rows);
            let mut all = reuse(spent, self.value_type());
            with_values!(&mut all.values, values => values.clear());
            let appended = self.spill().append_to::<T>(range, &mut all);
            appended.map_err(|error| self.failed(error))?;
            *sorted = Some((range, all));
        }
        if let Some((_, all)) = sorted.as_mut() {
            let bounds = &all.indptr[rows.start as usize..=rows.end as usize];
            let entries = bounds[0] as usize..bounds[bounds.len() - 1] as usize;
            let before = window.indices.len() as u64;
            window
                .indptr
                .extend(bounds[1..].iter().map(|end| end - bounds[0] + before));
            window.indices.extend_from_slice(&all.indices[entries.clone()]);
            if let (Some(from), Some(to)) = (T::vec_mut(&mut all.values), T::vec_mut(&mut window.values)) {
                to.extend_from_slice(&from[entries]);
            }
        }
        Ok(())
    }
}

impl RowSource for RowSorted {
    fn place(&self) -> (&Path, &str) {
        self.source.place()
    }

    fn is_stored_by_rows(&self) -> bool {
        self.source.is_stored_by_rows()
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.source.absent_chunks()
    }

    fn form(&self) -> &'static str {
        self.source.form()
    }

    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        self.source.frame_columns()
    }

    fn n_obs(&self) -> u64 {
        self.source.n_obs()
    }

    fn n_vars(&self) -> u64 {
        self.source.n_vars()
    }

    fn nnz(&self) -> u64 {
        self.ranges.nnz()
    }

    fn value_type(&self) -> ValueType {
        self.source.value_type()
    }

    fn indices_type(&self) -> String {
        self.source.indices_type()
    }

    fn stored_in(&self, row: u64) -> u64 {
        self.ranges.indptr[row as usize + 1] - self.ranges.indptr[row as usize]
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.ranges.totals.working_bytes(memory_bytes) + self.source.working_bytes(memory_bytes)
    }

    fn row_totals(&self) -> Option<RowTotals> {
        Some(self.ranges.totals)
    }

    fn changed_before(&self) -> Canonicalised {
        self.source.changed_before()
    }

    fn column_counts(&self) -> Option<Vec<u64>> {
        self.source.column_counts()
    }

    fn in_any_order(&self) -> Option<Arc<dyn RowSource>> {
        self.source.in_any_order()
    }

    fn prepare(&self) -> Result<()> {
        let _one_at_a_time = self.sorting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.spill.get().is_none() {
            let spill = self.pool.install(|| self.sort())?;
            let _ = self.spill.set(spill);
        }
        Ok(())
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let window = window_of(&self.ranges.indptr, start, end, max_nnz);
        // Rows of one range, or whole ranges.
        let [first, last] = [start, window.end - 1].map(|row| self.ranges.rows_of(self.ranges.range_of(row)));
        match first.start == start && first.end < window.end {
            true if window.end < last.end => start..last.start,
            true => window,
            false => start..window.end.min(first.end),
        }
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let mut window = reuse(spent, self.value_type());
        with_values!(&mut window.values, values => values.clear());
        with_element!(self.value_type(), T => self.rows::<T>(rows, &mut window)?);
        let (indptr, indices) = (&mut window.indptr, &mut window.indices);
        let report = with_values!(&mut window.values, values => {
            canonicalise(indptr, indices, values, self.n_vars())
        });
        let mut report = report.map_err(|fault| blame_overflow(self, fault, rows.start))?;
        // The order of a matrix that has no rows is nothing that was wrong with it.
        report.rows_sorted = 0;
        Ok((window, report))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        let mut window = reuse(None, self.value_type());
        with_element!(self.value_type(), T => self.rows::<T>(rows, &mut window)?);
        *indices = window.indices;
        Ok(())
    }
}
