//! Finds out how matrices are stored, and opens them.

use std::path::Path;
use std::sync::Arc;

use super::available::{available, is_null};
use super::compressed::{Compressed, shape_attribute};
use super::csc::Csc;
use super::csr::Csr;
use super::dense::Dense;
use super::frame::{Frame, is_frame};
use super::matrix_source::MatrixSource;
use super::row_sorted::RowSorted;
use super::selection::Selection;
use crate::container::{Grid, Kind, SourceFile};
use crate::error::{ReadError, Result};
use crate::workspace::Workspace;

impl MatrixSource {
    /// Opens the selected matrix of a file, with [`Workspace::default`].
    ///
    /// # Errors
    /// The file is missing, of no known kind or truncated; the matrix does not exist, is of a form that is not read, or its
    /// parts contradict each other.
    pub fn open(path: &Path, selection: &Selection) -> Result<Self> {
        open(
            &Arc::new(SourceFile::open(path)?),
            selection,
            &Workspace::default(),
        )
    }

    /// Opens a dense matrix of cells by genes; one of genes by cells is [`transposed`](Self::transposed) then.
    pub(crate) fn of_dataset(file: &Arc<SourceFile>, object: &str) -> Result<Self> {
        let n_dimensions = file.describe(object)?.shape.len();
        if n_dimensions != 2 {
            let form = format!("a dataset with {n_dimensions} dimensions");
            let remedy = match n_dimensions {
                0 | 1 => "write it again with a row for each cell (h5py reads it where anndata does not)",
                _ => {
                    "reshape it to two dimensions, as array.reshape(n_obs, -1), and write the file again, or leave it out"
                }
            };
            return Err(unsupported(file, object, form, remedy));
        }
        Ok(Self::new(Dense::new(Grid::open(file, object)?)?))
    }
}

/// Finds out how the selected matrix is stored, and opens it.
pub(crate) fn open(
    file: &Arc<SourceFile>,
    selection: &Selection,
    workspace: &Workspace,
) -> Result<MatrixSource> {
    let mut object = selection.path();
    let mut kind = file.kind(&object)?;
    if kind.is_none() && *selection == Selection::Raw {
        // As AnnData before 0.7 wrote it.
        object = "raw.X".to_owned();
        kind = file.kind(&object)?;
    }
    if let Some(found) = kind
        && is_null(file, &object, found)?
    {
        kind = None;
    }
    match kind {
        Some(Kind::Dataset) => MatrixSource::of_dataset(file, &object),
        Some(Kind::Group) if matches!(selection, Selection::Obsm(_)) && is_frame(file, &object)? => {
            Ok(MatrixSource::new(Frame::open(file, &object)?))
        }
        Some(Kind::Group) => open_group(file, &object, workspace),
        None => Err(ReadError::NoMatrix {
            file: file.path().to_owned(),
            wanted: selection.path(),
            available: available(file)?,
        }),
    }
}

/// Names of the columns of the selected matrix, where it is a data frame.
pub(crate) fn frame_names(file: &Arc<SourceFile>, selection: &Selection) -> Result<Option<Vec<String>>> {
    let object = selection.path();
    match is_frame(file, &object)? {
        true => Ok(Some(Frame::open(file, &object)?.names())),
        false => Ok(None),
    }
}

fn unsupported(file: &SourceFile, object: &str, form: String, remedy: &'static str) -> ReadError {
    ReadError::UnsupportedMatrix {
        file: file.path().to_owned(),
        object: object.to_owned(),
        form,
        remedy,
    }
}

fn open_group(file: &Arc<SourceFile>, object: &str, workspace: &Workspace) -> Result<MatrixSource> {
    let encoding = file.text_attribute(object, Kind::Group, "encoding-type")?;
    let version = file.text_attribute(object, Kind::Group, "encoding-version")?;
    let legacy = file.text_attribute(object, Kind::Group, "h5sparse_format")?;
    let (by_rows, shape, form) = match (encoding.as_deref(), version.as_deref(), legacy.as_deref()) {
        (Some("csr_matrix"), None | Some("0.1.0"), _) => (true, "shape", "csr_matrix"),
        (Some("csc_matrix"), None | Some("0.1.0"), _) => (false, "shape", "csc_matrix"),
        (None, _, Some("csr")) => (true, "h5sparse_shape", "h5sparse csr"),
        (None, _, Some("csc")) => (false, "h5sparse_shape", "h5sparse csc"),
        (Some(encoding), version, _) => {
            let version = version.unwrap_or("missing");
            let form = format!("of encoding-type {encoding}, encoding-version {version}");
            return Err(unsupported(file, object, form, MAKE_CSR));
        }
        (None, _, Some(format)) => {
            let form = format!("a legacy h5sparse group of format {format}");
            return Err(unsupported(file, object, form, REWRITE));
        }
        (None, _, None) => {
            let form = "a group without encoding-type".to_owned();
            return Err(unsupported(file, object, form, REWRITE));
        }
    };
    let (n_obs, n_vars) = shape_attribute(file, object, shape)?;
    if by_rows {
        let arrays = Compressed::open(file, object, n_obs, n_vars)?;
        Ok(MatrixSource::new(Csr::new(arrays, form)?))
    } else {
        let arrays = Compressed::open(file, object, n_vars, n_obs)?;
        Ok(MatrixSource::new(RowSorted::new(Csc(arrays), workspace)?))
    }
}

/// Whether a matrix can be opened there, as far as its form tells without reading it.
pub(crate) fn is_matrix(file: &Arc<SourceFile>, object: &str) -> Result<bool> {
    let text = |name| file.text_attribute(object, Kind::Group, name);
    Ok(match file.kind(object)? {
        None => false,
        Some(Kind::Dataset) => file.describe(object)?.shape.len() == 2,
        Some(Kind::Group) => match text("encoding-type")? {
            // One that holds more than numbers is not.
            Some(encoding) if encoding == "dataframe" => {
                object.starts_with("obsm/") && Frame::open(file, object).is_ok()
            }
            Some(encoding) => matches!(encoding.as_str(), "csr_matrix" | "csc_matrix"),
            None => text("h5sparse_format")?.is_some(),
        },
    })
}

const MAKE_CSR: &str = "assign scipy.sparse.csr_matrix(matrix) in anndata and write the file again";
const REWRITE: &str = "open the file with a current anndata and write it again";
