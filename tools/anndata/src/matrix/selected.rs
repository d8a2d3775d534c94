//! Some of the rows and columns of a matrix.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring_core::with_values;
use cellring_core::{CsrRows, ValueType};

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::row_ranges::RowTotals;
use super::source::RowSource;
use crate::container::AbsentChunks;
use crate::error::Result;

/// A column that is left out.
const NOT_KEPT: u32 = u32::MAX;

/// The first rows of a matrix, and of its columns those that are kept, in their order.
#[derive(Debug)]
pub(super) struct Selected {
    inner: Arc<dyn RowSource>,
    n_obs: u64,
    /// For each column of the matrix its place among those kept; `None`: all are.
    place_of_column: Option<Vec<u32>>,
    n_vars: u64,
}

impl Selected {
    /// `columns` ascends.
    pub(super) fn new(inner: Arc<dyn RowSource>, n_obs: u64, columns: Option<&[u32]>) -> Self {
        let place_of_column = columns.map(|columns| {
            let mut places = vec![NOT_KEPT; inner.n_vars() as usize];
            for (place, &column) in columns.iter().enumerate() {
                places[column as usize] = place as u32;
            }
            places
        });
        Self {
            n_obs: n_obs.min(inner.n_obs()),
            n_vars: columns.map_or(inner.n_vars(), |columns| columns.len() as u64),
            place_of_column,
            inner,
        }
    }
}

impl RowSource for Selected {
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
        self.n_obs
    }

    fn n_vars(&self) -> u64 {
        self.n_vars
    }

    fn nnz(&self) -> u64 {
        // Of the whole matrix: a bound.
        self.inner.nnz()
    }

    fn value_type(&self) -> ValueType {
        self.inner.value_type()
    }

    fn indices_type(&self) -> String {
        self.inner.indices_type()
    }

    fn stored_in(&self, row: u64) -> u64 {
        self.inner.stored_in(row)
    }

    fn has_bounds_only(&self) -> bool {
        self.place_of_column.is_some() || self.inner.has_bounds_only()
    }

    fn pool(&self) -> &rayon::ThreadPool {
        self.inner.pool()
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.inner.working_bytes(memory_bytes) + 4 * self.inner.n_vars()
    }

    fn row_totals(&self) -> Option<RowTotals> {
        self.inner.row_totals()
    }

    fn changed_before(&self) -> Canonicalised {
        self.inner.changed_before()
    }

    fn column_counts(&self) -> Option<Vec<u64>> {
        let counts = self
            .inner
            .column_counts()
            .filter(|_| self.n_obs == self.inner.n_obs())?;
        let Some(places) = &self.place_of_column else {
            return Some(counts);
        };
        let kept = counts
            .into_iter()
            .zip(places)
            .filter(|&(_, &place)| place != NOT_KEPT);
        // Columns keep their order.
        Some(kept.map(|(count, _)| count).collect())
    }

    fn prepare(&self) -> Result<()> {
        self.inner.prepare()
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        self.inner.window(start, end, max_nnz)
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let (mut window, report) = self.inner.read(rows, spent)?;
        let Some(places) = &self.place_of_column else {
            return Ok((window, report));
        };
        let (indptr, indices) = (&mut window.indptr, &mut window.indices);
        with_values!(&mut window.values, values => {
            let (mut at, mut kept) = (0, 0);
            for end in &mut indptr[1..] {
                while at < *end as usize {
                    let place = places[indices[at] as usize];
                    if place != NOT_KEPT {
                        indices[kept] = place;
                        values[kept] = values[at];
                        kept += 1;
                    }
                    at += 1;
                }
                *end = kept as u64;
            }
            indices.truncate(kept);
            values.truncate(kept);
        });
        Ok((window, report))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        self.inner.read_columns(rows, indices)?;
        if let Some(places) = &self.place_of_column {
            indices.retain_mut(|column| {
                *column = places[*column as usize];
                *column != NOT_KEPT
            });
        }
        Ok(())
    }
}
