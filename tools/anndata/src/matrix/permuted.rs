//! The rows of a matrix in another order, by way of a temporary file.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cellring_core::ValueType;

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::row_sorted::{Entries, EntrySource};
use super::source::RowSource;
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

    fn for_each_window(&self, mut take: impl FnMut(u64, cellring_core::CsrRows) -> Result<()>) -> Result<()> {
        self.inner.prepare()?;
        let mut report = Canonicalised::default();
        let mut at = 0;
        while at < self.inner.n_obs() {
            let rows = self.inner.window(at, self.inner.n_obs(), WINDOW_NNZ);
            let (window, changed) = self.inner.read(&rows, None)?;
            report += changed;
            take(at, window)?;
            at = rows.end;
        }
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        Ok(())
    }
}

impl EntrySource for Permuted {
    fn place(&self) -> (&Path, &str) {
        self.inner.place()
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

    fn working_bytes(&self) -> u64 {
        let entry_bytes = 16 + 2 * self.value_type().size_bytes() as u64;
        self.inner.working_bytes() + 4 * self.inner.n_obs() + WINDOW_NNZ as u64 * entry_bytes
    }

    fn changed_before(&self) -> Canonicalised {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.place_of_row.len()];
        self.for_each_window(|first, window| {
            for (row, pair) in window.indptr.windows(2).enumerate() {
                counts[self.place_of_row[first as usize + row] as usize] = pair[1] - pair[0];
            }
            Ok(())
        })?;
        Ok(counts)
    }

    fn read(&self, take: &mut dyn FnMut(&Entries) -> Result<()>) -> Result<()> {
        self.for_each_window(|first, window| {
            let mut entries = Entries {
                rows: Vec::with_capacity(window.indices.len()),
                columns: window.indices,
                values: window.values,
            };
            for (row, pair) in window.indptr.windows(2).enumerate() {
                let place = self.place_of_row[first as usize + row];
                entries.rows.resize(pair[1] as usize, place);
            }
            take(&entries)
        })
    }
}
