//! Some of the rows of a table.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array};

use super::source::{TableRows, TableSource};
use crate::error::Result;
use crate::rows::RowSet;

/// Rows of the table that are read at a time.
const WINDOW_ROWS: u64 = 1 << 16;

/// The rows of a set.
#[derive(Debug)]
struct Picked {
    /// The table, of which all columns are asked for.
    inner: TableSource,
    rows: RowSet,
}

impl TableSource {
    /// The rows of a set.
    ///
    /// # Panics
    /// If the set is not one of as many rows.
    #[must_use]
    pub fn pick(self, rows: &RowSet) -> Self {
        assert_eq!(rows.n_rows(), self.n_rows, "rows of the set");
        let picked = Picked {
            inner: self.clone(),
            rows: rows.clone(),
        };
        Self {
            n_rows: rows.len(),
            rows: Arc::new(picked),
            ..self
        }
    }
}

impl TableRows for Picked {
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut wanted = self
            .rows
            .iter_from(range.start)
            .take((range.end - range.start) as usize)
            .peekable();
        let mut pieces: Vec<Vec<ArrayRef>> = columns.iter().map(|_| Vec::new()).collect();
        loop {
            let start = wanted.peek().copied().unwrap_or(0);
            let mut taken = Vec::new();
            while let Some(row) = wanted.next_if(|row| *row - start < WINDOW_ROWS) {
                taken.push((row - start) as u32);
            }
            let n_rows = taken.last().map_or(0, |last| u64::from(last + 1));
            let read = self.inner.rows.read(start..start + n_rows, columns)?;
            let taken = UInt32Array::from(taken);
            for (pieces, array) in pieces.iter_mut().zip(read) {
                let taken = arrow_select::take::take(&array, &taken, None);
                pieces.push(taken.map_err(|error| self.inner.damaged(&error))?);
            }
            if wanted.peek().is_none() {
                break;
            }
        }
        let join = |pieces: Vec<ArrayRef>| match pieces.as_slice() {
            [one] => Ok(Arc::clone(one)),
            pieces => {
                // Pieces of a categorical column share their categories, which joining them leaves as they are.
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                arrow_select::concat::concat(&pieces).map_err(|error| self.inner.damaged(&error))
            }
        };
        pieces.into_iter().map(join).collect()
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.inner.working_bytes(memory_bytes) + self.rows.memory_bytes()
    }
}
