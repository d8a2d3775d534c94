//! Where a matrix that is stored by rows is in its files.

use crate::container::StoredArray;

/// Where the entries of a matrix are that is stored by rows: of each row the columns, ascending or not, and the values, row after row.
#[derive(Clone, Debug)]
pub struct StoredRows {
    /// The columns of the entries. `None`: every row has an entry in every column, as in a dense matrix.
    pub indices: Option<StoredArray>,
    /// Their values.
    pub data: StoredArray,
}
