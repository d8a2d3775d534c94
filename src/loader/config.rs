//! What a loader is asked for.

use crate::engine::EngineConfig;
use crate::gpu::Gpu;
use crate::minibatch::{ColumnChoice, Layout, OutputConfig, OutputType};
use crate::plan::{SamplerConfig, SamplerData};
use cellring_core::setters;

/// How a loader reads and what it delivers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoaderConfig {
    /// Which cells make up which minibatch.
    pub sampler: SamplerConfig,
    /// What it samples from: a subset. Its `identity` is set by the loader.
    pub data: SamplerData,
    /// How bytes are read.
    pub engine: EngineConfig,
    /// The most memory for read buffers and for decoded minibatches that wait to be taken, in bytes. It is taken from the system as it is
    /// used, for the few fetches that are read ahead; all of it at the start with huge pages of the system's pool, a GPU or several devices, and
    /// where little memory may be locked. Minibatches that the caller
    /// keeps come on top, and so do the index as far as it was looked at, columns of obs, and what [`Loader::rows`](crate::Loader::rows) reads.
    pub memory_bytes: usize,
    /// Threads that decode; 0 for one per core.
    pub decode_threads: usize,
    /// What minibatches look like: layout, types, genes, scale.
    pub output: OutputConfig,
    /// Other matrices of the same cells that are delivered with each minibatch ([`Minibatch::matrices`]): layers, `raw/X`, arrays of
    /// `obsm`, as far as the store holds them ([`Store::matrices`](crate::Store::matrices)).
    ///
    /// [`Minibatch::matrices`]: crate::minibatch::Minibatch::matrices
    pub matrices: Vec<MatrixChoice>,
    /// Columns of the obs table that are delivered with each minibatch; a name alone asks for the natural form.
    pub obs_columns: Vec<ColumnChoice>,
    /// The GPU that minibatches or fetches are copied to (see [`gpu`](crate::gpu)): memory is page-locked for it.
    pub gpu: Option<Gpu>,
    /// Deliver values that `f32` cannot hold exactly as the nearest `f32`, rather than refuse the store. (Not needed for
    /// [`OutputType::Source`](crate::minibatch::OutputType::Source), nor for what rounding to `f16` or `bf16` or normalising
    /// loses.)
    pub allow_rounding: bool,
}

/// Another matrix to deliver, and what it looks like. A name alone asks for CSR as it is in the store, or, for an
/// array of `obsm`, for all its values in their own type, row by row.
///
/// ```
/// use cellring::loader::MatrixChoice;
///
/// let counts: MatrixChoice = "layers/counts".into();
/// let pca: MatrixChoice = "obsm/X_pca".into(); // dense
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MatrixChoice {
    /// Its path in AnnData, such as `layers/counts`, `raw/X` or `obsm/X_pca`.
    pub name: String,
    /// What it looks like. Genes are those of this matrix: layers have those of the store, in the same order.
    pub output: OutputConfig,
}

impl From<&str> for MatrixChoice {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for MatrixChoice {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl LoaderConfig {
    setters! {
        sampler: as SamplerConfig,
        data: as SamplerData,
        engine: as EngineConfig,
        memory_bytes: as usize,
        decode_threads: as usize,
        output: as OutputConfig,
        matrices: each MatrixChoice,
        obs_columns: each ColumnChoice,
        gpu: into Option<Gpu>,
        allow_rounding: as bool,
    }
}

impl MatrixChoice {
    /// The matrix of this name, in the form that a name alone asks for.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let output = match name.starts_with("obsm/") {
            true => OutputConfig::default()
                .layout(Layout::Dense)
                .value_type(OutputType::Source),
            false => OutputConfig::default(),
        };
        Self { name, output }
    }

    setters! {
        output: as OutputConfig,
    }
}

impl Default for LoaderConfig {
    /// Block shuffling as by default, 256 MiB, one decoding thread per core.
    fn default() -> Self {
        Self {
            sampler: SamplerConfig::default(),
            data: SamplerData::default(),
            engine: EngineConfig::default(),
            memory_bytes: 256 << 20,
            decode_threads: 0,
            output: OutputConfig::default(),
            matrices: Vec::new(),
            obs_columns: Vec::new(),
            gpu: None,
            allow_rounding: false,
        }
    }
}
