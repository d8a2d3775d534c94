//! The arguments of a loader, as they come from the Python half.

use pyo3::prelude::*;

/// The arguments of `cellring.Loader`, but for those of the strategies, as the Python half has checked and completed them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Arguments<'py> {
    pub(crate) join: String,
    pub(crate) var_key: Option<String>,
    pub(crate) batch_size: u32,
    pub(crate) block_size: u64,
    pub(crate) fetch_factor: u32,
    pub(crate) seed: u64,
    pub(crate) drop_last: bool,
    pub(crate) obs_filter: Option<String>,
    pub(crate) subset: Option<Bound<'py, PyAny>>,
    pub(crate) split: Option<String>,
    pub(crate) part: Option<String>,
    pub(crate) split_by: Option<String>,
    pub(crate) split_seed: u64,
    pub(crate) genes: Option<Vec<String>>,
    pub(crate) gene_weights: Option<Bound<'py, PyAny>>,
    pub(crate) normalize: Option<f64>,
    pub(crate) log1p: bool,
    pub(crate) library: String,
    pub(crate) layout: String,
    pub(crate) k: usize,
    pub(crate) dtype: String,
    pub(crate) index_dtype: String,
    pub(crate) allow_rounding: bool,
    pub(crate) matrices: Vec<(String, Option<String>, Option<String>)>,
    pub(crate) obs_columns: Vec<(String, String, bool)>,
    pub(crate) memory: usize,
    pub(crate) threads: usize,
    pub(crate) backend: String,
    pub(crate) direct: String,
    pub(crate) depth: Option<u32>,
}
