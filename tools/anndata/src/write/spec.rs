//! Describes a matrix before it is written: shape, type, form, and its place in AnnData.

use arrow_schema::Field;
use cellring_core::ValueType;

/// How a matrix is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Form {
    /// `csr_matrix`: by rows.
    #[default]
    Csr,
    /// `csc_matrix`: by columns, which is how it must be pushed: the rows that are pushed are the columns of the matrix.
    Csc,
    /// `array`: all elements.
    Dense,
    /// `dataframe`: a column for each field, which must be numeric or Boolean; its index is that of obs. Only in `obsm`.
    Frame(Vec<Field>),
}

impl Form {
    /// The encoding-type.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Csr => "csr_matrix",
            Self::Csc => "csc_matrix",
            Self::Dense => "array",
            Self::Frame(_) => "dataframe",
        }
    }
}

/// Shape, types and form of a matrix.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MatrixSpec {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Element type of the values.
    pub value_type: ValueType,
    /// Number of stored values, if known: it is verified, and sets the chunk size.
    pub nnz: Option<u64>,
    /// How it is stored.
    pub form: Form,
    /// Store `indices` and `indptr` as int64 rather than int32: both, since scipy fails on matrices where they differ.
    pub wide_indices: bool,
}

impl MatrixSpec {
    /// A CSR matrix with an unknown number of values: its indices are int64 unless a full matrix would do with int32.
    pub fn new(n_obs: u64, n_vars: u64, value_type: ValueType) -> Self {
        Self {
            n_obs,
            n_vars,
            value_type,
            nnz: None,
            form: Form::Csr,
            wide_indices: needs_wide_indices(n_vars, n_obs.saturating_mul(n_vars)),
        }
    }

    /// The same with this number of values, and the narrowest indices that it allows, as scipy has them.
    #[must_use]
    pub fn with_nnz(self, nnz: u64) -> Self {
        Self {
            nnz: Some(nnz),
            wide_indices: needs_wide_indices(self.n_minor(), nnz),
            ..self
        }
    }

    /// The same in another form.
    #[must_use]
    pub fn with_form(mut self, form: Form) -> Self {
        self.form = form;
        self.wide_indices |= needs_wide_indices(self.n_minor(), 0);
        self
    }

    /// How many rows are pushed.
    pub(super) fn n_major(&self) -> u64 {
        match self.form {
            Form::Csc => self.n_vars,
            _ => self.n_obs,
        }
    }

    /// What the indices are below.
    pub(super) fn n_minor(&self) -> u64 {
        match self.form {
            Form::Csc => self.n_obs,
            _ => self.n_vars,
        }
    }
}

/// Whether int32 cannot express an index or the end of the last row.
fn needs_wide_indices(n_minor: u64, nnz: u64) -> bool {
    n_minor.max(nnz) > i32::MAX as u64
}

/// Where a matrix is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// `X`.
    #[default]
    X,
    /// `raw/X`; its genes are in [`Axis::RawVar`](super::Axis::RawVar).
    Raw,
    /// `layers/NAME`.
    Layer(String),
    /// `obsm/NAME`: dense, or a data frame.
    Obsm(String),
}

impl Place {
    /// The place of this path, such as `layers/counts`.
    pub fn of_path(path: &str) -> Option<Self> {
        // A name with slashes nests, as a column's does.
        let is_name = |name: &str| {
            let mut parts = name.split('/');
            parts.all(|part| !part.is_empty() && part != "." && !part.contains('\0'))
        };
        match path.split_once('/') {
            None if path == "X" => Some(Self::X),
            Some(("raw", "X")) => Some(Self::Raw),
            Some(("layers", name)) if is_name(name) => Some(Self::Layer(name.to_owned())),
            Some(("obsm", name)) if is_name(name) => Some(Self::Obsm(name.to_owned())),
            _ => None,
        }
    }

    /// The path.
    pub fn path(&self) -> String {
        match self {
            Self::X => "X".to_owned(),
            Self::Raw => "raw/X".to_owned(),
            Self::Layer(name) => format!("layers/{name}"),
            Self::Obsm(name) => format!("obsm/{name}"),
        }
    }
}
