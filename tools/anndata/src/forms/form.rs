//! What an input is to the rest of the crate, whatever its form, and how a form is recognised.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::container::SourceFile;
use crate::error::Result;
use crate::left_out::Parts;
use crate::matrix::{Looks, MatrixSource, Selection};
use crate::open::OpenOptions;
use crate::table::TableSource;
use crate::workspace::Workspace;

/// One open input.
pub(crate) trait InputForm: fmt::Debug + Send + Sync {
    /// Opens one of its matrices.
    fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource>;

    /// Opens the table of the rows.
    fn obs(&self) -> Result<TableSource>;

    /// Opens the table of the columns of the selected matrix.
    fn var(&self, selection: &Selection) -> Result<TableSource>;

    /// Adds what it holds besides obs, and the matrices that are taken with their var.
    fn add_parts(&self, taken: &[&Selection], parts: &mut Parts) -> Result<()>;

    /// What the first values of a matrix look like; `None` if it does not exist. The default is for forms that have X alone, and whose
    /// programs write counts alone.
    fn looks(&self, selection: &Selection) -> Result<Option<Looks>> {
        Ok((*selection == Selection::X).then_some(Looks::COUNTS))
    }
}

/// A form of inputs beside AnnData, and how it is recognised.
pub(crate) trait FormKind: Sync {
    /// Takes a path, if it leads to files that are neither HDF5 nor zarr and of this form.
    fn open_path(&self, _path: &Path, _options: &OpenOptions) -> Result<Option<Arc<dyn InputForm>>> {
        Ok(None)
    }

    /// Takes an HDF5 file or a zarr hierarchy, or the group of one that was chosen, if it is of this form.
    fn open_file(
        &self,
        _file: &Arc<SourceFile>,
        _options: &OpenOptions,
    ) -> Result<Option<Arc<dyn InputForm>>> {
        Ok(None)
    }

    /// All files of the input at this path, if it is of this form and several files beside each other. None of a directory: all in it
    /// belongs to the input.
    fn files(&self, _path: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What it looks for in a directory, for a message.
    fn looked_for(&self) -> Option<String> {
        None
    }
}
