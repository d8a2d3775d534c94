//! Some of the rows of a matrix.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring_core::with_element;
use cellring_core::{CsrRows, Element, ValueBuffer, ValueType};

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::row_ranges::RowTotals;
use super::source::{MAX_WINDOW_ROWS, RowSource, reuse};
use crate::container::AbsentChunks;
use crate::error::Result;
use crate::rows::RowSet;

/// Stored entries between two rows that are not worth leaving out: about those of a chunk, which is decoded whole anyway.
const GAP_NNZ: u64 = 1 << 15;

/// The rows of a set.
#[derive(Debug)]
pub(super) struct Picked {
    inner: Arc<dyn RowSource>,
    rows: RowSet,
}

impl Picked {
    pub(super) fn new(inner: Arc<dyn RowSource>, rows: &RowSet) -> Self {
        assert_eq!(rows.n_rows(), inner.n_obs(), "rows of the set");
        let rows = rows.clone();
        Self { inner, rows }
    }

    /// Runs of rows of the matrix that are read at once for the rows `places`, while they have at most `max_nnz` entries:
    /// the runs, and how many of the rows they hold.
    fn runs(&self, places: &Range<u64>, max_nnz: u64) -> (Vec<Range<u64>>, u64) {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let (mut nnz, mut n_rows) = (0, 0);
        let n_wanted = (places.end - places.start).min(MAX_WINDOW_ROWS);
        for row in self.rows.iter_from(places.start).take(n_wanted as usize) {
            let end = runs.last().map(|run| run.end);
            let mut gap = 0;
            let is_near = end.is_some_and(|end| {
                (end..row).all(|row| {
                    gap += self.inner.stored_in(row).max(1);
                    gap <= GAP_NNZ
                })
            });
            let more = self.inner.stored_in(row) + if is_near { gap } else { 0 };
            if n_rows > 0 && nnz + more > max_nnz {
                break;
            }
            match runs.last_mut().filter(|_| is_near) {
                Some(run) => run.end = row + 1,
                None => runs.push(row..row + 1),
            }
            nnz += more;
            n_rows += 1;
        }
        (runs, n_rows)
    }

    /// The windows of the matrix that make up the rows `places`.
    fn pieces(&self, places: &Range<u64>) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        for run in self.runs(places, u64::MAX).0 {
            let mut at = run.start;
            while at < run.end {
                let piece = self.inner.window(at, run.end, usize::MAX);
                at = piece.end;
                pieces.push(piece);
            }
        }
        pieces
    }

    fn has_all(&self, rows: &Range<u64>) -> bool {
        rows.clone().all(|row| self.rows.contains(row))
    }
}

/// Appends the rows of a window that begins at row `first` which are in the set.
fn append<T: Element>(all: &mut CsrRows, window: &mut CsrRows, first: u64, rows: &RowSet) {
    let (Some(from), Some(to)) = (T::vec_mut(&mut window.values), T::vec_mut(&mut all.values)) else {
        unreachable!("rows are of the matrix's element type");
    };
    for (row, bounds) in window.indptr.windows(2).enumerate() {
        if rows.contains(first + row as u64) {
            let entries = bounds[0] as usize..bounds[1] as usize;
            all.indices.extend_from_slice(&window.indices[entries.clone()]);
            to.extend_from_slice(&from[entries]);
            all.indptr.push(all.indices.len() as u64);
        }
    }
}

impl RowSource for Picked {
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
        self.rows.len()
    }

    fn n_vars(&self) -> u64 {
        self.inner.n_vars()
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
        self.inner.stored_in(self.rows.nth(row))
    }

    fn has_bounds_only(&self) -> bool {
        self.inner.has_bounds_only()
    }

    fn pool(&self) -> &rayon::ThreadPool {
        self.inner.pool()
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.inner.working_bytes(memory_bytes) + self.rows.memory_bytes()
    }

    fn row_totals(&self) -> Option<RowTotals> {
        self.inner.row_totals()
    }

    fn changed_before(&self) -> Canonicalised {
        self.inner.changed_before()
    }

    fn prepare(&self) -> Result<()> {
        self.inner.prepare()
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        // Half of it, since what is read and what is taken of it are there together.
        let (_, n_rows) = self.runs(&(start..end), max_nnz as u64 / 2);
        start..start + n_rows
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let pieces = self.pieces(rows);
        if let [one] = pieces.as_slice()
            && self.has_all(one)
        {
            return self.inner.read(one, spent);
        }
        let mut report = Canonicalised::default();
        let mut all = reuse(spent, self.value_type());
        all.values = ValueBuffer::with_capacity(self.value_type(), 0);
        all.indptr.push(0);
        let mut piece_spent = None;
        for piece in pieces {
            let (mut window, changed) = self.inner.read(&piece, piece_spent.take())?;
            report += changed;
            with_element!(self.value_type(), T => append::<T>(&mut all, &mut window, piece.start, &self.rows));
            piece_spent = Some(window);
        }
        Ok((all, report))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        indices.clear();
        let (mut columns, mut spent) = (Vec::new(), None);
        for piece in self.pieces(rows) {
            if self.has_all(&piece) {
                self.inner.read_columns(&piece, &mut columns)?;
                indices.extend_from_slice(&columns);
                continue;
            }
            // Where rows begin among columns as they are stored is not known to all forms.
            let (window, _) = self.inner.read(&piece, spent.take())?;
            for (row, bounds) in (piece.start..).zip(window.indptr.windows(2)) {
                if self.rows.contains(row) {
                    indices.extend_from_slice(&window.indices[bounds[0] as usize..bounds[1] as usize]);
                }
            }
            spent = Some(window);
        }
        Ok(())
    }
}
