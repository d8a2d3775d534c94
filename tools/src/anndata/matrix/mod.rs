//! Matrices of an AnnData file.

mod canonical;
mod csr;
mod stream;
mod value;

use std::path::Path;
use std::sync::Arc;

use cellring::format::ValueType;

use super::error::{Result, SourceError};
use super::hdf5::{Class, H5File, Kind};

pub use canonical::Canonicalised;
pub use stream::{CountMode, Rows};

use csr::Csr;

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
}

impl Selection {
    /// HDF5 path of the matrix.
    pub fn path(&self) -> String {
        match self {
            Self::X => "X".to_owned(),
            Self::Raw => "raw/X".to_owned(),
            Self::Layer(name) => format!("layers/{name}"),
        }
    }
}

/// A matrix of `n_obs` rows and `n_vars` columns, readable as canonical CSR in storage order, as often as wanted.
#[derive(Clone, Debug)]
pub struct MatrixSource {
    form: Form,
}

/// How the matrix is stored.
#[derive(Clone, Debug)]
enum Form {
    Csr(Arc<Csr>),
}

impl MatrixSource {
    /// Opens the selected matrix of an `.h5ad` file.
    ///
    /// # Errors
    /// The file is missing, not HDF5 or truncated; the matrix does not exist, is not CSR, or its parts contradict each
    /// other.
    pub fn open(path: &Path, selection: &Selection) -> Result<Self> {
        open(&Arc::new(H5File::open(path)?), selection)
    }

    /// Number of rows.
    pub fn n_obs(&self) -> u64 {
        self.csr().n_obs()
    }

    /// Number of columns.
    pub fn n_vars(&self) -> u64 {
        self.csr().n_vars()
    }

    /// Stored entries, before duplicates are summed and explicit zeros dropped.
    pub fn nnz(&self) -> u64 {
        self.csr().nnz()
    }

    /// Element type of the values.
    pub fn value_type(&self) -> ValueType {
        self.csr().value_type()
    }

    /// numpy name of the element type of `indices` in the file (`int32`, `int64`, ...).
    pub fn indices_type(&self) -> String {
        self.csr().indices_type()
    }

    /// Stored entries of each of the rows `range`, in order (before canonicalising).
    ///
    /// # Panics
    /// If `range` does not lie within the rows.
    pub fn stored_per_row(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.csr().stored_per_row(range)
    }

    fn csr(&self) -> &Arc<Csr> {
        match &self.form {
            Form::Csr(csr) => csr,
        }
    }
}

/// Finds out how the selected matrix is stored, and opens it.
pub(super) fn open(file: &Arc<H5File>, selection: &Selection) -> Result<MatrixSource> {
    let object = selection.path();
    let refuse = |object: &str, form: String, remedy| {
        Err(SourceError::UnsupportedMatrix {
            file: file.path().to_owned(),
            object: object.to_owned(),
            form,
            remedy,
        })
    };
    let kind = match file.kind(&object)? {
        Some(kind) => kind,
        None if *selection == Selection::Raw && file.kind("raw.X")?.is_some() => {
            return refuse(
                "raw.X",
                "a raw matrix as AnnData before 0.7 wrote it".to_owned(),
                REWRITE,
            );
        }
        None => {
            let available = available(file)?;
            return Err(SourceError::NoMatrix {
                file: file.path().to_owned(),
                wanted: object,
                available,
            });
        }
    };
    if kind == Kind::Dataset {
        let description = file.describe(&object)?;
        let form = match (description.shape.as_slice(), &description.element.class) {
            (_, Class::Other(name)) => format!("a dataset of {name}"),
            (&[n_obs, n_vars], _) => {
                format!(
                    "a dense dataset of {n_obs} x {n_vars} {}",
                    description.element.name()
                )
            }
            (shape, _) => format!("a dataset with {} dimensions", shape.len()),
        };
        return refuse(&object, form, MAKE_CSR);
    }
    let encoding = file.text_attribute(&object, kind, "encoding-type")?;
    let version = file.text_attribute(&object, kind, "encoding-version")?;
    match (encoding.as_deref(), version.as_deref()) {
        (Some("csr_matrix"), None | Some("0.1.0")) => Ok(MatrixSource {
            form: Form::Csr(Arc::new(Csr::open(file, &object)?)),
        }),
        (Some("csc_matrix"), _) => refuse(
            &object,
            "a CSC matrix (encoding-type csc_matrix)".to_owned(),
            MAKE_CSR,
        ),
        (Some(encoding), version) => {
            let version = version.unwrap_or("missing");
            refuse(
                &object,
                format!("of encoding-type {encoding}, encoding-version {version}"),
                MAKE_CSR,
            )
        }
        (None, _) => match file.text_attribute(&object, kind, "h5sparse_format")? {
            Some(format) => refuse(
                &object,
                format!("a legacy h5sparse {format} group (AnnData before 0.7)"),
                REWRITE,
            ),
            None => refuse(&object, "a group without encoding-type".to_owned(), REWRITE),
        },
    }
}

const MAKE_CSR: &str = "assign scipy.sparse.csr_matrix(matrix) in anndata and write the file again";
const REWRITE: &str = "open the file with a current anndata and write it again";

/// The matrices of the file, for an error message.
fn available(file: &H5File) -> Result<String> {
    let mut found = Vec::new();
    if file.kind("X")?.is_some() {
        found.push("X".to_owned());
    }
    if file.kind("layers")? == Some(Kind::Group) {
        found.extend(
            file.members("layers")?
                .into_iter()
                .map(|name| format!("layers/{name}")),
        );
    }
    for raw in ["raw/X", "raw.X"] {
        if file.kind(raw)?.is_some() {
            found.push(raw.to_owned());
        }
    }
    Ok(if found.is_empty() {
        "it has neither X nor layers nor raw, so there is nothing to read".to_owned()
    } else {
        format!("it has {}: select one of those", found.join(", "))
    })
}
