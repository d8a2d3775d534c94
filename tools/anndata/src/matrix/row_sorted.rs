//! Matrices that are not stored by rows: their entries are sorted by rows once, then read from there.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use cellring_core::{CsrRows, Element, ValueBuffer, ValueType};
use cellring_core::{with_element, with_values};

use super::canonical::{Canonicalised, canonicalise};
use super::frame_column::FrameColumn;
use super::source::{RowSource, blame_overflow, check_row_nnz, decoding_pool, reuse, window_of};
use super::spill::{RowRanges, Spill, SpillError, SpillWriter};
use crate::error::{ReadError, Result};
use crate::workspace::Workspace;

/// Entries that are read at a time while a matrix is sorted.
pub(super) const SORT_NNZ: u64 = 1 << 20;

/// Entries of a matrix, some at a time.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<u32>,
    pub(super) values: ValueBuffer,
}

impl Entries {
    pub(super) fn new(value_type: ValueType) -> Self {
        Self {
            rows: Vec::new(),
            columns: Vec::new(),
            values: ValueBuffer::with_capacity(value_type, 0),
        }
    }
}

/// A matrix that can be read whole, in an order of its own; equal cells in the order in which they are to be summed.
pub(super) trait EntrySource: Debug + Send + Sync {
    fn place(&self) -> (&Path, &str);
    fn form(&self) -> &'static str;
    /// The columns of a data frame.
    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        None
    }
    fn n_obs(&self) -> u64;
    fn n_vars(&self) -> u64;
    fn value_type(&self) -> ValueType;
    fn indices_type(&self) -> String;
    /// Memory while it is counted and read.
    fn working_bytes(&self) -> u64 {
        SORT_NNZ * (12 + self.value_type().size_bytes() as u64)
    }
    /// What was changed in the entries that are handed out.
    fn changed_before(&self) -> Canonicalised {
        Canonicalised::default()
    }
    /// Entries of each row. Every row and column is known to exist afterwards.
    fn count(&self) -> Result<Vec<u64>>;
    /// Hands out all entries.
    fn read(&self, take: &mut dyn FnMut(&Entries) -> Result<()>) -> Result<()>;
}

/// A matrix whose entries are sorted into rows when these are first wanted.
#[derive(Debug)]
pub(super) struct RowSorted<S> {
    source: S,
    workspace: Workspace,
    ranges: RowRanges,
    spill: OnceLock<Spill>,
    sorting: Mutex<()>,
    /// The range that was read last, where it is larger than a window.
    sorted: Mutex<Option<(usize, CsrRows)>>,
    pool: rayon::ThreadPool,
}

impl<S: EntrySource> RowSorted<S> {
    /// Counts the entries of the rows.
    pub(super) fn new(source: S, workspace: &Workspace) -> Result<Self> {
        let pool = decoding_pool(source.place().0)?;
        let counts = pool.install(|| source.count())?;
        let mut indptr = Vec::with_capacity(counts.len() + 1);
        let mut sum = 0;
        indptr.push(0);
        indptr.extend(counts.iter().map(|n| {
            sum += n;
            sum
        }));
        let value_bytes = source.value_type().size_bytes();
        Ok(Self {
            ranges: RowRanges::new(indptr, value_bytes, workspace.memory_bytes),
            workspace: workspace.clone(),
            spill: OnceLock::new(),
            sorting: Mutex::new(()),
            sorted: Mutex::new(None),
            pool,
            source,
        })
    }

    fn sort(&self) -> Result<Spill> {
        let directory = || self.workspace.directory.clone();
        let needed_bytes = self.ranges.file_bytes();
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
        let mut writer = SpillWriter::new(self.ranges.clone(), &self.workspace)
            .map_err(|error| self.failed(SpillError::Io(error)))?;
        self.source.read(&mut |entries| {
            with_values!(&entries.values, values => {
                for ((&row, &column), &value) in entries.rows.iter().zip(&entries.columns).zip(values) {
                    writer.push(row, column, value).map_err(|error| self.failed(error))?;
                }
            });
            Ok(())
        })?;
        writer.finish().map_err(|error| self.failed(error))
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

    /// Rows as they are stored, but for their order.
    fn rows<T: super::value::Value + Element>(&self, rows: &Range<u64>, window: &mut CsrRows) -> Result<()> {
        let spill = self.spill();
        let range = spill.plan().range_of(rows.start);
        let of_range = spill.plan().rows_of(range);
        check_row_nnz(self, rows.start, {
            let indptr = &spill.plan().indptr;
            indptr[rows.end as usize] - indptr[rows.start as usize]
        })?;
        if of_range == *rows {
            return spill.read::<T>(range, window).map_err(|error| self.failed(error));
        }
        let mut sorted = self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
        if sorted.as_ref().is_none_or(|(number, _)| *number != range) {
            let spent = sorted.take().map(|(_, rows)| rows);
            let mut all = reuse(spent, self.value_type());
            spill
                .read::<T>(range, &mut all)
                .map_err(|error| self.failed(error))?;
            *sorted = Some((range, all));
        }
        if let Some((_, all)) = sorted.as_mut() {
            let from = (rows.start - of_range.start) as usize;
            let to = (rows.end - of_range.start) as usize;
            let bounds = &all.indptr[from..=to];
            let entries = bounds[0] as usize..bounds[bounds.len() - 1] as usize;
            window.indptr.extend(bounds.iter().map(|end| end - bounds[0]));
            window.indices.extend_from_slice(&all.indices[entries.clone()]);
            let Some(from) = T::vec_mut(&mut all.values) else {
                unreachable!("rows are of the matrix's element type");
            };
            if let Some(values) = T::vec_mut(&mut window.values) {
                values.clear();
                values.extend_from_slice(&from[entries]);
            }
        }
        Ok(())
    }
}

impl<S: EntrySource> RowSource for RowSorted<S> {
    fn place(&self) -> (&Path, &str) {
        self.source.place()
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

    fn working_bytes(&self) -> u64 {
        self.ranges.working_bytes() + self.source.working_bytes()
    }

    fn changed_before(&self) -> Canonicalised {
        self.source.changed_before()
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
        let range = self.ranges.rows_of(self.ranges.range_of(start));
        window_of(&self.ranges.indptr, start, end.min(range.end), max_nnz)
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let mut window = reuse(spent, self.value_type());
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
