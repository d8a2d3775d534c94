//! What an export did.

use serde::Serialize;

/// What an export did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Number of values.
    pub nnz: u64,
    /// Length of the file; of a zarr directory, of all its files.
    pub bytes: u64,
    /// The matrices that were written.
    pub matrices: Vec<ExportedMatrix>,
    /// One sentence for each matrix that is not what it was in the source: in another form or at another place.
    pub differences: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// A matrix that was written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedMatrix {
    /// Its path in the output.
    pub path: String,
    /// Its encoding-type in the output.
    pub form: String,
    /// Its path in the source, if the store says so.
    pub source_path: Option<String>,
    /// Its form in the source, if the store says so.
    pub source_form: Option<String>,
}
