//! Where a matrix that is stored by rows lies in its file.

use std::path::PathBuf;

use super::compressed::Compressed;
use super::csr::Csr;
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

impl Csr {
    /// Where it lies.
    ///
    /// # Errors
    /// In one clause, why it cannot be read there.
    pub(super) fn place_in_file(&self) -> Result<StoredRows, String> {
        let Compressed {
            file, indices, data, ..
        } = self.arrays();
        Ok(StoredRows {
            file: file.path().to_owned(),
            indices: indices.stored()?,
            data: data.stored()?,
        })
    }
}
