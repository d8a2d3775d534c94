//! Matrices of an AnnData file.

mod canonical;
mod compressed;
mod csc;
mod csr;
mod dense;
mod frame;
mod frame_column;
mod joined;
mod looks;
pub(super) mod market;
mod number;
mod permuted;
mod picked;
mod selected;
mod source;
mod spill;
mod stream;
mod transposed;
mod turned;
mod value;

use std::path::Path;
use std::sync::Arc;

use cellring::format::ValueType;

use super::container::{Grid, Kind, SourceFile};
use super::error::{ReadError, Result};
use super::rows::RowSet;
use super::workspace::Workspace;

pub use canonical::Canonicalised;
pub use frame::type_of_numpy_name;
pub use frame_column::FrameColumn;
pub(super) use joined::JoinedMatrices;
pub use looks::Looks;
pub(super) use looks::of as looks_of;
pub use source::{MAX_WINDOW_ROWS, RowSource, decoding_pool};
pub use stream::{CountMode, Rows};

use compressed::{Compressed, shape_attribute, shape_dataset};
use csc::Csc;
use csr::Csr;
use dense::Dense;
use frame::{Frame, is_frame};
use market::Market;
use permuted::Permuted;
use picked::Picked;
use selected::Selected;
use transposed::Transposed;
use turned::Turned;

/// Which matrix of the file to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The main matrix, `X`.
    #[default]
    X,
    /// `raw/X`, with its own, usually larger, `raw/var`.
    Raw,
    /// `layers/NAME`.
    Layer(String),
    /// `obsm/NAME`: an array with a row for each obs, or a data frame of numbers.
    Obsm(String),
}

impl Selection {
    /// HDF5 path of the matrix.
    pub fn path(&self) -> String {
        match self {
            Self::X => "X".to_owned(),
            Self::Raw => "raw/X".to_owned(),
            Self::Layer(name) => format!("layers/{name}"),
            Self::Obsm(name) => format!("obsm/{name}"),
        }
    }

    /// The option of the command that takes this matrix.
    #[doc(hidden)]
    pub fn option(&self) -> String {
        match self {
            Self::X => "--x".to_owned(),
            Self::Raw => "--raw".to_owned(),
            Self::Layer(name) => format!("--layer {name}"),
            Self::Obsm(name) => format!("--obsm {name}"),
        }
    }
}

/// A matrix of `n_obs` rows and `n_vars` columns, readable as canonical CSR in storage order, as often as wanted.
#[derive(Clone, Debug)]
pub struct MatrixSource {
    source: Arc<dyn RowSource>,
}

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

    /// A matrix whose rows come from elsewhere than a file.
    #[doc(hidden)]
    pub fn from_rows(source: impl RowSource + 'static) -> Self {
        Self::new(source)
    }

    fn new(source: impl RowSource + 'static) -> Self {
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

    /// Stored entries, before duplicates are summed and explicit zeros dropped; all elements of a dense matrix.
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

    /// The columns of a data frame; nothing if the matrix is none.
    pub fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        self.source.frame_columns()
    }

    /// numpy name of the element type of `indices` in the file (`int32`, `int64`, ...); `int32` where there are none.
    pub fn indices_type(&self) -> String {
        self.source.indices_type()
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
    /// Where the set is not one of as many rows.
    #[must_use]
    pub fn pick(&self, rows: &RowSet) -> Self {
        Self::new(Picked::new(Arc::clone(&self.source), rows))
    }

    /// The rows in another order: `order` names for each new row the row that it was. They are put there by way of a
    /// temporary file in the workspace when they are first read; this counts them.
    ///
    /// # Errors
    /// As reading the rows.
    ///
    /// # Panics
    /// If `order` is not as long as there are rows.
    pub fn reordered(&self, order: &[u32], workspace: &Workspace) -> Result<Self> {
        assert_eq!(order.len() as u64, self.n_obs(), "rows of the order");
        let permuted = Permuted::new(Arc::clone(&self.source), order);
        Ok(Self::new(Turned::new(permuted, workspace)?))
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
        Ok(Self::new(Turned::new(transposed, workspace)?))
    }

    /// What was changed in the matrix while its rows were put into another order: not seen by those who read them then.
    pub fn changed_before(&self) -> Canonicalised {
        self.source.changed_before()
    }

    /// The most memory that reading needs besides windows, in bytes.
    pub fn working_bytes(&self) -> u64 {
        self.source.working_bytes()
    }
}

/// Finds out how the selected matrix is stored, and opens it.
pub(super) fn open(
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
        Some(Kind::Dataset) => open_dataset(file, &object),
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
pub(super) fn frame_names(file: &Arc<SourceFile>, selection: &Selection) -> Result<Option<Vec<String>>> {
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

fn open_dataset(file: &Arc<SourceFile>, object: &str) -> Result<MatrixSource> {
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
    Ok(MatrixSource::new(Dense::new(Grid::open(file, object)?)?))
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
        Ok(MatrixSource::new(Turned::new(Csc(arrays), workspace)?))
    }
}

/// Whether a matrix can be opened there, as far as its form tells without reading it.
pub(super) fn is_matrix(file: &Arc<SourceFile>, object: &str) -> Result<bool> {
    let text = |name| file.text_attribute(object, Kind::Group, name);
    Ok(match file.kind(object)? {
        None => false,
        Some(Kind::Dataset) => file.describe(object)?.shape.len() == 2,
        Some(Kind::Group) => match text("encoding-type")? {
            // One that holds more than numbers is not.
            Some(encoding) if encoding == "dataframe" => {
                object.starts_with("obsm/") && frame::Frame::open(file, object).is_ok()
            }
            Some(encoding) => matches!(encoding.as_str(), "csr_matrix" | "csc_matrix"),
            None => text("h5sparse_format")?.is_some(),
        },
    })
}

/// Opens the matrix of a 10x Genomics file: CSC of genes by cells is CSR of cells by genes.
pub(super) fn open_tenx(file: &Arc<SourceFile>, group: &str) -> Result<MatrixSource> {
    let (n_vars, n_obs) = shape_dataset(file, group)?;
    let arrays = Compressed::open(file, group, n_obs, n_vars)?;
    Ok(MatrixSource::new(Csr::new(arrays, "10x csc_matrix")?))
}

/// Opens a Matrix Market file that must have as many cells and genes as are named next to it.
pub(super) fn open_market(
    path: &Path,
    n_named: (u64, u64),
    has_cell_rows: bool,
    workspace: &Workspace,
) -> Result<MatrixSource> {
    let market = Market::open(path, n_named, has_cell_rows)?;
    Ok(MatrixSource::new(Turned::new(market, workspace)?))
}

const MAKE_CSR: &str = "assign scipy.sparse.csr_matrix(matrix) in anndata and write the file again";
const REWRITE: &str = "open the file with a current anndata and write it again";

/// Whether an object exists and stands for `None`.
pub(super) fn is_none(file: &SourceFile, object: &str) -> bool {
    let kind = file.kind(object).ok().flatten();
    kind.is_some_and(|kind| is_null(file, object, kind).unwrap_or(false))
}

/// Whether an object stands for `None`, as anndata writes it since 0.12.
fn is_null(file: &SourceFile, object: &str, kind: Kind) -> Result<bool> {
    Ok(file.text_attribute(object, kind, "encoding-type")?.as_deref() == Some("null"))
}

/// The most layers and arrays that a message lists.
const SHOWN: usize = 200;

/// The matrices of the file and the options that take them, for an error message.
fn available(file: &SourceFile) -> Result<String> {
    let is_there = |path: &str| match file.kind(path)? {
        Some(kind) => Ok::<_, ReadError>(!is_null(file, path, kind)?),
        None => Ok(false),
    };
    let members = |group: &str| match file.kind(group)? {
        Some(Kind::Group) => {
            let mut paths = Vec::new();
            for name in file.members(group)?.into_iter().take(SHOWN) {
                let path = format!("{group}/{name}");
                if is_there(&path)? {
                    paths.push(path);
                }
            }
            Ok::<_, ReadError>(paths)
        }
        _ => Ok(Vec::new()),
    };
    let (mut paths, mut options) = (Vec::new(), Vec::new());
    if is_there("X")? {
        paths.push("X".to_owned());
        options.push("--x".to_owned());
    }
    let layers = members("layers")?;
    match layers.as_slice() {
        [] => {}
        [one] => options.push(format!("--layer {}", one.trim_start_matches("layers/"))),
        _ => options.push("--layer NAME".to_owned()),
    }
    paths.extend(layers);
    for raw in ["raw/X", "raw.X"] {
        if is_there(raw)? {
            paths.push(raw.to_owned());
            options.push("--raw".to_owned());
        }
    }
    let arrays = members("obsm")?;
    Ok(match (paths.as_slice(), arrays.as_slice()) {
        ([], []) => "it has neither X nor layers nor raw nor obsm, so there is nothing to read".to_owned(),
        ([], arrays) => format!(
            "it has neither layers nor raw but only {}; set adata.X to what is to be converted and write it again",
            arrays.join(", ")
        ),
        (paths, arrays) => {
            let beside = match arrays {
                [] => String::new(),
                some => format!("; --obsm NAME takes beside one of those {}", some.join(", ")),
            };
            format!(
                "it has {}, taken with {}{beside}",
                paths.join(", "),
                options.join(", ")
            )
        }
    })
}
