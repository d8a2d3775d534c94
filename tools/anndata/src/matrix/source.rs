//! What every stored form of a matrix gives: rows.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring_core::{CsrRows, ValueBuffer, ValueType};

use super::canonical::{Canonicalised, Fault};
use super::frame_column::FrameColumn;
use super::row_ranges::RowTotals;
use super::stored::{NotStored, StoredRows};
use crate::container::AbsentChunks;
use crate::error::{ReadError, Result};

/// The most stored entries of one row. A row is held whole, so a file must not choose how much that is.
pub(super) const MAX_ROW_NNZ: u64 = 1 << 28;

/// The most rows of one window, so that empty rows are bounded too.
pub const MAX_WINDOW_ROWS: u64 = 1 << 20;

/// A matrix in some stored form, readable by rows.
pub trait RowSource: Debug + Send + Sync {
    /// Path of the input, and that of the matrix in it.
    fn place(&self) -> (&Path, &str);
    /// How the matrix is stored, as AnnData names it: `csr_matrix`, `csc_matrix`, `array`, ...
    fn form(&self) -> &'static str;
    /// Where the entries of each of the inputs lie, row after row.
    ///
    /// # Errors
    /// Why they cannot be read there.
    fn stored(&self) -> std::result::Result<Vec<StoredRows>, NotStored> {
        let reason = match self.is_stored_by_rows() {
            true => "only some of it is taken, or in another order".to_owned(),
            false => format!("it is stored as {}, and not by rows", self.form()),
        };
        Err(self.not_stored(reason))
    }
    /// Whether the entries of a row are beside each other in the input.
    fn is_stored_by_rows(&self) -> bool {
        false
    }
    /// What is said where [`stored`](Self::stored) has such a reason.
    fn not_stored(&self, reason: String) -> NotStored {
        let file = self.place().0.to_path_buf();
        NotStored { file, reason }
    }
    /// Chunks of its arrays that are not there, and are read as the fill value.
    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        Vec::new()
    }
    /// The columns of a data frame.
    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        None
    }
    /// Number of rows.
    fn n_obs(&self) -> u64;
    /// Number of columns.
    fn n_vars(&self) -> u64;
    /// Stored entries, or a bound for them; elements of a dense matrix.
    fn nnz(&self) -> u64;
    /// Element type of the values.
    fn value_type(&self) -> ValueType;
    /// numpy name of the type of the column indices; `int32` where there are none.
    fn indices_type(&self) -> String;
    /// Stored entries of a row, or a bound for them.
    fn stored_in(&self, row: u64) -> u64;
    /// Whether [`stored_in`](Self::stored_in) gives bounds that may be far from what a row has: those of dense matrices.
    fn has_bounds_only(&self) -> bool {
        false
    }
    /// Decodes windows. Its own pool, so that a consumer that waits inside a rayon pool cannot starve it.
    fn pool(&self) -> &rayon::ThreadPool;
    /// Memory besides that of windows, had it been opened in a workspace of `memory_bytes`, at the most. Of two workspaces the larger one
    /// needs more by less than their difference.
    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        0
    }
    /// What the memory depends on that its rows are put together in, if they are.
    fn row_totals(&self) -> Option<RowTotals> {
        None
    }
    /// What was changed in all rows before any of them is read here.
    fn changed_before(&self) -> Canonicalised {
        Canonicalised::default()
    }
    /// Stored entries of each column, where they are known without reading any.
    fn column_counts(&self) -> Option<Vec<u64>> {
        None
    }
    /// The same rows in another order, if they take less work there.
    fn in_any_order(&self) -> Option<Arc<dyn RowSource>> {
        None
    }
    /// Does what must be done once before rows can be read.
    ///
    /// # Errors
    /// As reading the input.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// The longest run of rows from `start`, ending at or before `end`, of at most `max_nnz` entries; at least one row.
    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64>;
    /// Decodes the rows of a window and makes them canonical, reusing the memory of `spent`.
    ///
    /// # Errors
    /// As reading the input.
    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)>;
    /// Decodes only the columns of a window, in range, but perhaps as they are stored.
    ///
    /// # Errors
    /// As reading the input.
    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()>;
}

/// As many threads as the pool that the caller runs in has, so that who limits those limits these.
///
/// # Errors
/// If the system gives no thread.
pub fn decoding_pool(file: &Path) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(|number| format!("cellring-source-{number}"))
        .build()
        .map_err(|error| no_thread(file, error))
}

/// The error of a system that gives no thread.
pub(super) fn no_thread(file: &Path, error: impl std::fmt::Display) -> ReadError {
    let detail = format!(
        "a thread to decode it could not be started ({error}); raise the limit on processes (ulimit -u)"
    );
    ReadError::Io {
        file: file.to_owned(),
        source: std::io::Error::other(detail),
    }
}

/// The vectors of a window that is no longer needed, or new ones.
pub(super) fn reuse(spent: Option<CsrRows>, value_type: ValueType) -> CsrRows {
    match spent {
        Some(mut spent) if spent.values.value_type() == value_type => {
            spent.indptr.clear();
            spent.indices.clear();
            spent
        }
        _ => CsrRows {
            indptr: Vec::new(),
            indices: Vec::new(),
            values: ValueBuffer::with_capacity(value_type, 0),
        },
    }
}

/// The longest run of rows by `indptr`; see [`RowSource::window`].
pub(super) fn window_of(indptr: &[u64], start: u64, end: u64, max_nnz: usize) -> Range<u64> {
    let first = start as usize;
    let last = end.min(start + MAX_WINDOW_ROWS) as usize;
    let limit = indptr[first].saturating_add(max_nnz as u64);
    let n_rows = indptr[first + 1..=last].partition_point(|&until| until <= limit);
    start..start + n_rows.max(1) as u64
}

/// The windows that make up rows `range`, one after the other.
pub(super) fn windows(
    source: &dyn RowSource,
    range: Range<u64>,
    max_nnz: usize,
) -> impl Iterator<Item = Range<u64>> + Send {
    let mut at = range.start;
    std::iter::from_fn(move || {
        (at < range.end).then(|| {
            let window = source.window(at, range.end, max_nnz);
            at = window.end;
            window
        })
    })
}

/// Refuses a row that is longer than what is read at once.
pub(super) fn check_row_nnz(source: &dyn RowSource, row: u64, nnz: u64) -> Result<()> {
    if nnz <= MAX_ROW_NNZ {
        return Ok(());
    }
    let (file, object) = source.place();
    Err(ReadError::RowTooLong {
        file: file.to_owned(),
        object: object.to_owned(),
        row,
        nnz,
        limit: MAX_ROW_NNZ,
    })
}

/// Names the place of duplicates whose sum does not fit. Indices are known to be in range here.
pub(super) fn blame_overflow(source: &dyn RowSource, fault: Fault, first_row: u64) -> ReadError {
    let (file, object) = source.place();
    match fault {
        Fault::Overflow { row, column } => ReadError::DuplicateOverflow {
            file: file.to_owned(),
            object: object.to_owned(),
            row: first_row + row as u64,
            column,
            value_type: source.value_type().numpy_name(),
        },
        Fault::Index { row, .. } => ReadError::Damaged {
            file: file.to_owned(),
            object: object.to_owned(),
            detail: format!("row {} changed while it was read", first_row + row as u64),
        },
    }
}
