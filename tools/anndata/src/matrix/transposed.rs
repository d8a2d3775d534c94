//! The columns of a matrix as rows, by way of a temporary file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring_core::ValueType;

use super::row_sorted::{Entries, EntrySource, entries_bytes, read_ahead};
use super::source::{RowSource, windows};
use crate::container::AbsentChunks;
use crate::error::Result;

/// Entries of a window while a matrix is turned.
const WINDOW_NNZ: usize = 1 << 19;

/// Some rows of a matrix, turned: its rows are the columns of that.
#[derive(Debug)]
pub(super) struct Transposed {
    pub(super) inner: Arc<dyn RowSource>,
    pub(super) rows: Range<u64>,
    /// For each of the rows its new place, where it is another.
    pub(super) place_of_row: Option<Vec<u32>>,
    /// For each column its new place, where it is another.
    pub(super) place_of_column: Option<Vec<u32>>,
}

impl Transposed {
    /// The row that a column becomes.
    fn place_of(&self, column: u32) -> u32 {
        match &self.place_of_column {
            Some(places) => places[column as usize],
            None => column,
        }
    }
}

impl EntrySource for Transposed {
    fn place(&self) -> (&Path, &str) {
        self.inner.place()
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.inner.absent_chunks()
    }

    fn form(&self) -> &'static str {
        "csc_matrix"
    }

    fn n_obs(&self) -> u64 {
        self.inner.n_vars()
    }

    fn n_vars(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    fn value_type(&self) -> ValueType {
        self.inner.value_type()
    }

    fn indices_type(&self) -> String {
        self.inner.indices_type()
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.inner.working_bytes(memory_bytes) + entries_bytes(WINDOW_NNZ as u64, self.value_type())
    }

    fn count(&self) -> Result<Vec<u64>> {
        self.inner.prepare()?;
        let mut counts = vec![0; self.inner.n_vars() as usize];
        for rows in windows(&*self.inner, self.rows.clone(), WINDOW_NNZ) {
            let (window, _) = self.inner.read(&rows, None)?;
            window
                .indices
                .iter()
                .for_each(|&column| counts[self.place_of(column) as usize] += 1);
        }
        Ok(counts)
    }

    fn read(&self, take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send)) -> Result<()> {
        self.inner.prepare()?;
        let read = |rows: Range<u64>, entries: &mut Entries| {
            let (window, _) = self.inner.read(&rows, Some(entries.take_window()))?;
            let first = rows.start - self.rows.start;
            entries.set_rows(window, |row| match &self.place_of_row {
                Some(places) => places[first as usize + row],
                None => (first + row as u64) as u32,
            });
            // Turned: what was the row is the column.
            std::mem::swap(&mut entries.rows, &mut entries.columns);
            entries
                .rows
                .iter_mut()
                .for_each(|column| *column = self.place_of(*column));
            Ok(())
        };
        let windows = windows(&*self.inner, self.rows.clone(), WINDOW_NNZ);
        read_ahead(self.value_type(), windows, read, take)
    }
}
