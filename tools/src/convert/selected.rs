//! A matrix that is converted.

use std::path::Path;

use cellring_anndata::{MatrixSource, Selection, TableSource};

use super::error::ConvertError;

/// One matrix, its rows in the order of the store, and the table of its columns.
pub(crate) struct SelectedMatrix {
    pub(crate) selection: Selection,
    pub(crate) matrix: MatrixSource,
    pub(crate) var: TableSource,
}

impl SelectedMatrix {
    /// Compares the shape of the matrix with the tables.
    pub(crate) fn check(&self, input: &Path, obs: &TableSource) -> Result<(), ConvertError> {
        let (matrix, var) = (&self.matrix, &self.var);
        let sides = [
            ("rows", matrix.n_obs(), "obs", obs.n_rows()),
            ("columns", matrix.n_vars(), "var", var.n_rows()),
        ];
        for (axis, expected, table, found) in sides {
            if expected != found {
                return Err(ConvertError::Shape {
                    file: input.to_path_buf(),
                    matrix: self.selection.path(),
                    axis,
                    expected,
                    table,
                    found,
                });
            }
        }
        Ok(())
    }
}
