//! Where a matrix that is stored by rows is in its file.

use std::path::PathBuf;

use crate::container::StoredArray;

/// Where the entries of a matrix lie that is stored by rows: of each row the columns, ascending or not, and the values, row after row.
#[derive(Clone, Debug)]
pub struct StoredRows {
    /// The file.
    pub file: PathBuf,
    /// The columns of the entries.
    pub indices: StoredArray,
    /// Their values.
    pub data: StoredArray,
}
