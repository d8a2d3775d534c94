//! The columns of a matrix as rows, by way of a temporary file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring_core::{CsrRows, ValueType};

use super::row_sorted::{Entries, EntrySource};
use super::source::RowSource;
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
    fn for_each_window(&self, mut take: impl FnMut(u64, CsrRows) -> Result<()>) -> Result<()> {
        self.inner.prepare()?;
        let mut at = self.rows.start;
        while at < self.rows.end {
            let rows = self.inner.window(at, self.rows.end, WINDOW_NNZ);
            let (mut window, _) = self.inner.read(&rows, None)?;
            if let Some(places) = &self.place_of_column {
                window
                    .indices
                    .iter_mut()
                    .for_each(|column| *column = places[*column as usize]);
            }
            take(at - self.rows.start, window)?;
            at = rows.end;
        }
        Ok(())
    }
}

impl EntrySource for Transposed {
    fn place(&self) -> (&Path, &str) {
        self.inner.place()
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

    fn count(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.inner.n_vars() as usize];
        self.for_each_window(|_, window| {
            window
                .indices
                .iter()
                .for_each(|&column| counts[column as usize] += 1);
            Ok(())
        })?;
        Ok(counts)
    }

    fn read(&self, take: &mut dyn FnMut(&Entries) -> Result<()>) -> Result<()> {
        self.for_each_window(|first, window| {
            let mut columns = Vec::with_capacity(window.indices.len());
            for (row, pair) in (first..).zip(window.indptr.windows(2)) {
                let place = match &self.place_of_row {
                    Some(places) => places[row as usize],
                    None => row as u32,
                };
                columns.resize(pair[1] as usize, place);
            }
            take(&Entries {
                rows: window.indices,
                columns,
                values: window.values,
            })
        })
    }
}
