//! Matrices that are read by rows, whatever they are stored as.

use std::sync::Arc;

use cellring_core::ValueType;

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::permuted::{self, Permuted};
use super::picked::Picked;
use super::row_ranges::RowTotals;
use super::row_sorted::RowSorted;
use super::selected::Selected;
use super::source::RowSource;
use super::stored::{NotStored, StoredRows};
use super::transposed::Transposed;
use crate::container::AbsentChunks;
use crate::error::Result;
use crate::rows::RowSet;
use crate::workspace::Workspace;

/// A matrix of `n_obs` rows and `n_vars` columns, readable as canonical CSR in storage order, as often as wanted.
#[derive(Clone, Debug)]
pub struct MatrixSource {
    pub(super) source: Arc<dyn RowSource>,
}

impl MatrixSource {
    /// A matrix whose rows come from elsewhere than a file.
    #[doc(hidden)]
    pub fn from_rows(source: impl RowSource + 'static) -> Self {
        Self::new(source)
    }

    pub(crate) fn new(source: impl RowSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
        }
    }

    /// Number of rows.
    pub fn n_obs(&self) -> u64 {
        self.source.n_obs()
    }

    /// Number of columns.
    pub fn n_vars(&self) -> u64 {
        self.source.n_vars()
    }

    /// Stored entries, before duplicates are summed and explicit zeros dropped, or a bound for them; all elements of a dense matrix.
    pub fn nnz(&self) -> u64 {
        self.source.nnz()
    }

    /// Element type of the values.
    pub fn value_type(&self) -> ValueType {
        self.source.value_type()
    }

    /// How the matrix is stored, as AnnData names it: `csr_matrix`, `csc_matrix`, `array`, `dataframe`.
    pub fn form(&self) -> &'static str {
        self.source.form()
    }

    /// Where the entries of each row lie in the file, for who reads them there: columns perhaps in any order, or several times. Of inputs
    /// that were joined one after the other.
    ///
    /// # Errors
    /// If there is no such place: a matrix is not stored by rows, or only some of it is taken.
    pub fn stored(&self) -> std::result::Result<Vec<StoredRows>, NotStored> {
        self.source.stored()
    }

    /// Chunks of its arrays that are not there, and are read as the fill value.
    pub fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.source.absent_chunks()
    }

    /// The columns of a data frame; nothing if the matrix is none.
    pub fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        self.source.frame_columns()
    }

    /// numpy name of the element type of `indices` in the file (`int32`, `int64`, ...); `int32` where there are none.
    pub fn indices_type(&self) -> String {
        self.source.indices_type()
    }

    /// Stored entries of a row (before canonicalising); a bound where they are not known.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn stored_in_row(&self, row: u64) -> u64 {
        self.source.stored_in(row)
    }

    /// Whether it is not known how many entries rows have, but only how many at the most.
    pub fn has_bounds_only(&self) -> bool {
        self.source.has_bounds_only()
    }

    /// Stored entries of each of the rows `range`, in order (before canonicalising); a bound where they are not known.
    ///
    /// # Panics
    /// If `range` does not lie within the rows.
    pub fn stored_per_row(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = u64> + '_ {
        range.map(|row| self.source.stored_in(row))
    }

    /// The first `n_obs` rows (all where there are fewer), and of the columns those in `columns`, which ascend.
    pub fn select(&self, n_obs: u64, columns: Option<&[u32]>) -> Self {
        Self::new(Selected::new(Arc::clone(&self.source), n_obs, columns))
    }

    /// The rows of a set. Of chunks without any of them little is read.
    ///
    /// # Panics
    /// If the set is not one of as many rows.
    #[must_use]
    pub fn pick(&self, rows: &RowSet) -> Self {
        Self::new(Picked::new(Arc::clone(&self.source), rows))
    }

    /// The rows in another order: `order` names for each new row the row that it was. They are put there by way of a
    /// temporary file in the workspace when they are first read; where it is not known how many values a row has, this reads all to count
    /// them.
    ///
    /// # Errors
    /// As reading the rows.
    ///
    /// # Panics
    /// If `order` is not as long as there are rows.
    pub fn reordered(&self, order: &[u32], workspace: &Workspace) -> Result<Self> {
        assert_eq!(order.len() as u64, self.n_obs(), "rows of the order");
        let permuted = Permuted::new(Arc::clone(&self.source), order);
        Ok(Self::new(RowSorted::new(permuted, workspace)?))
    }

    /// The columns as rows, of the rows `rows`: `place_of_row` and `place_of_column` name for each row (from the first one on) and
    /// column its new place, where that is another one. They are put there by way of a temporary file in the workspace when they are
    /// first read; this counts them.
    ///
    /// # Errors
    /// As reading the rows.
    ///
    /// # Panics
    /// If `rows` do not lie within the rows, or the places are not as many as there are rows and columns.
    pub fn transposed(
        &self,
        rows: std::ops::Range<u64>,
        place_of_row: Option<Vec<u32>>,
        place_of_column: Option<Vec<u32>>,
        workspace: &Workspace,
    ) -> Result<Self> {
        assert!(
            rows.start <= rows.end && rows.end <= self.n_obs(),
            "rows {rows:?}"
        );
        let n_places = |places: &Option<Vec<u32>>, n: u64| places.as_ref().map_or(n, |p| p.len() as u64);
        assert_eq!(
            n_places(&place_of_row, rows.end - rows.start),
            rows.end - rows.start
        );
        assert_eq!(n_places(&place_of_column, self.n_vars()), self.n_vars());
        let transposed = Transposed {
            inner: Arc::clone(&self.source),
            rows,
            place_of_row,
            place_of_column,
        };
        Ok(Self::new(RowSorted::new(transposed, workspace)?))
    }

    /// Stored entries of each column (before canonicalising), where the file says so and none has to be read: of a matrix that is stored
    /// by columns.
    pub fn stored_per_column(&self) -> Option<Vec<u64>> {
        self.source.column_counts()
    }

    /// The same rows in whatever order takes least work: the matrix itself, or what it was [`reordered`](Self::reordered) from.
    #[must_use]
    pub fn in_any_order(&self) -> Self {
        match self.source.in_any_order() {
            Some(source) => Self { source },
            None => self.clone(),
        }
    }

    /// What was changed in the matrix while its rows were put into another order: not seen by those who read them then.
    pub fn changed_before(&self) -> Canonicalised {
        self.source.changed_before()
    }

    /// The most memory that reading needs besides windows, in bytes, had the matrix been opened in a workspace of `memory_bytes`: what is
    /// kept and sorted grows with that, but by less.
    pub fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.source.working_bytes(memory_bytes)
    }

    /// [`working_bytes`](Self::working_bytes) of the matrix had its rows been [`reordered`](Self::reordered) in a workspace of so many bytes.
    /// Nothing is read for it.
    pub fn working_bytes_reordered(&self) -> impl Fn(u64) -> u64 + '_ {
        let rows = self.stored_per_row(0..self.n_obs());
        let totals = RowTotals::count(rows, self.value_type().size_bytes());
        move |memory_bytes| {
            totals.working_bytes(memory_bytes) + permuted::working_bytes(&*self.source, memory_bytes)
        }
    }
}
