//! The rows of a matrix in another order, by way of a temporary file.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cellring_core::ValueType;

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::row_sorted::{Entries, EntrySource, entries_bytes, read_ahead};
use super::source::{RowSource, windows};
use crate::container::AbsentChunks;
use crate::error::Result;

/// Entries of a window while rows are put into order.
const WINDOW_NNZ: usize = 1 << 19;

/// A matrix whose rows go elsewhere.
#[derive(Debug)]
pub(super) struct Permuted {
    inner: Arc<dyn RowSource>,
    /// For each row of the matrix the row that it becomes.
    place_of_row: Vec<u32>,
    report: Mutex<Canonicalised>,
}

impl Permuted {
    /// `order` names for each new row the row of `inner` that it is.
    pub(super) fn new(inner: Arc<dyn RowSource>, order: &[u32]) -> Self {
        let mut place_of_row = vec![0; order.len()];
        for (place, &row) in order.iter().enumerate() {
            place_of_row[row as usize] = place as u32;
        }
        Self {
            inner,
            place_of_row,
            report: Mutex::default(),
        }
    }
}

/// Memory while the rows of `inner` are put into another order.
pub(super) fn working_bytes(inner: &dyn RowSource, memory_bytes: u64) -> u64 {
    let window = entries_bytes(WINDOW_NNZ as u64, inner.value_type());
    inner.working_bytes(memory_bytes) + 4 * inner.n_obs() + window
}

impl EntrySource for Permuted {
    fn place(&self) -> (&Path, &str) {
        self.inner.place()
    }

    fn is_stored_by_rows(&self) -> bool {
        self.inner.is_stored_by_rows()
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.inner.absent_chunks()
    }

    fn form(&self) -> &'static str {
        self.inner.form()
    }

    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        self.inner.frame_columns()
    }

    fn n_obs(&self) -> u64 {
        self.inner.n_obs()
    }

    fn n_vars(&self) -> u64 {
        self.inner.n_vars()
    }

    fn value_type(&self) -> ValueType {
        self.inner.value_type()
    }

    fn indices_type(&self) -> String {
        self.inner.indices_type()
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        working_bytes(&*self.inner, memory_bytes)
    }

    fn changed_before(&self) -> Canonicalised {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stored entries, which are few more than those of the canonical rows. Where they are not known, all is read for that.
    fn count(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.place_of_row.len()];
        if !self.inner.has_bounds_only() {
            for (row, &place) in (0..).zip(&self.place_of_row) {
                counts[place as usize] = self.inner.stored_in(row);
            }
            return Ok(counts);
        }
        self.inner.prepare()?;
        for rows in windows(&*self.inner, 0..self.inner.n_obs(), WINDOW_NNZ) {
            let (window, _) = self.inner.read(&rows, None)?;
            for (row, pair) in (rows.start as usize..).zip(window.indptr.windows(2)) {
                counts[self.place_of_row[row] as usize] = pair[1] - pair[0];
            }
        }
        Ok(counts)
    }

    fn counts_exactly(&self) -> bool {
        self.inner.has_bounds_only()
    }

    fn column_counts(&self) -> Option<Vec<u64>> {
        self.inner.column_counts()
    }

    fn in_any_order(&self) -> Option<Arc<dyn RowSource>> {
        Some(
            self.inner
                .in_any_order()
                .unwrap_or_else(|| Arc::clone(&self.inner)),
        )
    }

    fn read(&self, take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send)) -> Result<()> {
        self.inner.prepare()?;
        let lock = || self.report.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = Canonicalised::default();
        let read = |rows: Range<u64>, entries: &mut Entries| {
            let (window, changed) = self.inner.read(&rows, Some(entries.take_window()))?;
            *lock() += changed;
            entries.set_rows(window, |row| self.place_of_row[rows.start as usize + row]);
            Ok(())
        };
        let windows = windows(&*self.inner, 0..self.inner.n_obs(), WINDOW_NNZ);
        read_ahead(self.value_type(), windows, read, take)
    }
}
