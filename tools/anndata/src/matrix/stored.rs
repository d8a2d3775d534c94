//! Where a matrix that is stored by rows is in its files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::container::{StoredArray, Watched};

/// Where the entries of an input are that is stored by rows: of each row the columns, ascending or not, and the values, row after row.
#[derive(Clone, Debug)]
pub struct StoredRows {
    /// Number of its rows.
    pub n_obs: u64,
    /// For each of its columns the one of the matrix that it becomes, `u32::MAX` if it is left out. `None`: they are those of the matrix.
    pub column_map: Option<Arc<[u32]>>,
    /// The columns of the entries. `None`: every row has an entry in every column, as in a dense matrix.
    pub indices: Option<StoredArray>,
    /// Their values.
    pub data: StoredArray,
    /// The bytes that say where in these arrays each row begins.
    pub row_starts: Vec<Watched>,
}

/// Why the entries of a matrix cannot be read where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStored {
    /// The input.
    pub file: PathBuf,
    /// In one clause: it is not stored by rows, say, or only some of it is taken.
    pub reason: String,
}
