//! Reads AnnData files (`.h5ad`): a matrix as rows of canonical CSR in storage order, `obs` and `var` as Arrow tables.
//!
//! Memory is bounded whatever the file claims: bulk data passes in windows, and only `indptr` (8 bytes per obs) and the
//! category labels are held whole. No input panics; what is not read is refused with one sentence that names it.

mod error;
mod container;
mod matrix;
mod table;
pub mod write;

use std::path::Path;
use std::sync::Arc;

pub use error::{Result, SourceError};
pub use matrix::{Canonicalised, CountMode, MatrixSource, Rows, Selection, Workspace};
pub use table::TableSource;

use container::SourceFile;

/// An open `.h5ad` file.
#[derive(Clone, Debug)]
pub struct AnnData {
    file: Arc<SourceFile>,
}

impl AnnData {
    /// Opens a file and checks that it is HDF5 and whole.
    ///
    /// # Errors
    /// The file is missing, unreadable, not HDF5, or shorter than its header says.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            file: Arc::new(SourceFile::open(path)?),
        })
    }

    /// Opens one of the matrices, with [`Workspace::default`].
    ///
    /// # Errors
    /// The matrix does not exist, is of a form that is not read, or its parts contradict each other.
    pub fn matrix(&self, selection: &Selection) -> Result<MatrixSource> {
        self.matrix_in(selection, &Workspace::default())
    }

    /// Opens one of the matrices; one that is not stored by rows is rewritten in the workspace when it is first read.
    ///
    /// # Errors
    /// As for [`Self::matrix`].
    pub fn matrix_in(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        matrix::open(&self.file, selection, workspace)
    }

    /// Opens the table of the rows.
    ///
    /// # Errors
    /// The table does not exist, has an encoding other than 0.2.0, or is damaged.
    pub fn obs(&self) -> Result<TableSource> {
        table::open(&self.file, "obs")
    }

    /// Opens the table of the columns of the selected matrix: `raw/var` for `raw`, else `var`.
    ///
    /// # Errors
    /// As for [`Self::obs`].
    pub fn var(&self, selection: &Selection) -> Result<TableSource> {
        let group = match selection {
            Selection::Raw => "raw/var",
            Selection::X | Selection::Layer(_) => "var",
        };
        table::open(&self.file, group)
    }
}
