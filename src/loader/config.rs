//! What a loader is asked for, and what can go wrong.

use std::path::PathBuf;

use super::collection::CollectionError;
use crate::buffer::BufferError;
use crate::engine::{EngineConfig, EngineError};
use crate::format::FormatError;
use crate::gpu::Gpu;
use crate::minibatch::{ColumnChoice, ColumnForm, Layout, OutputConfig, OutputError, OutputType};
use crate::plan::{PlanError, SamplerConfig, SamplerData};

/// How a loader reads and what it delivers.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Which cells make up which minibatch.
    pub sampler: SamplerConfig,
    /// What it samples from: a subset. Its `identity` is set by the loader.
    pub data: SamplerData,
    /// How bytes are read.
    pub engine: EngineConfig,
    /// Memory for read buffers and for decoded minibatches that wait to be taken, in bytes. Minibatches that the caller
    /// keeps come on top, and so do the mapped index and tables.
    pub memory_bytes: usize,
    /// Threads that decode; 0 for one per core.
    pub decode_threads: usize,
    /// What minibatches look like: layout, types, genes, scale.
    pub output: OutputConfig,
    /// Further matrices of the same cells that are delivered with each minibatch ([`Minibatch::further`]): layers, `raw/X`, arrays of
    /// `obsm`, as far as the store holds them ([`Store::matrices`](crate::Store::matrices)).
    ///
    /// [`Minibatch::further`]: crate::minibatch::Minibatch::further
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

/// A further matrix to deliver, and what it looks like. A name alone asks for CSR as it is in the store, or, for an
/// array of `obsm`, for all its values in their own type, row by row.
///
/// ```
/// use cellring::loader::MatrixChoice;
///
/// let counts: MatrixChoice = "layers/counts".into();
/// let pca: MatrixChoice = "obsm/X_pca".into(); // dense
/// ```
#[derive(Clone, Debug)]
pub struct MatrixChoice {
    /// Its path in AnnData, such as `layers/counts`, `raw/X` or `obsm/X_pca`.
    pub name: String,
    /// What it looks like. Genes are those of this matrix: layers have those of the store, in the same order.
    pub output: OutputConfig,
}

impl From<&str> for MatrixChoice {
    fn from(name: &str) -> Self {
        let (layout, value_type) = match name.starts_with("obsm/") {
            true => (Layout::Dense, OutputType::Source),
            false => (Layout::Csr, OutputType::F32),
        };
        Self {
            name: name.to_owned(),
            output: OutputConfig {
                layout,
                value_type,
                ..OutputConfig::default()
            },
        }
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

/// Why an epoch cannot start or go on. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// The store is damaged, or a column is not there.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The further matrices of several stores do not make one.
    #[error(transparent)]
    Collection(#[from] CollectionError),
    /// The sampler's settings cannot be met.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The subset has no obs.
    #[error(
        "the subset has none of the {n_obs} obs, so there is nothing to load; select some, or skip this part of the split"
    )]
    NothingSelected {
        /// Obs in the data set.
        n_obs: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no memory for the read buffers.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The output does not fit the store, the memory, or itself.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A fetch needs more than the budget.
    #[error(
        "a fetch of {n_obs} obs needs {needed_bytes} bytes of read buffers, but the memory budget leaves {budget_bytes}; \
         raise the budget, or lower batch_size x fetch_factor"
    )]
    Budget {
        /// Obs in the fetch.
        n_obs: usize,
        /// What it needs.
        needed_bytes: usize,
        /// What there is.
        budget_bytes: usize,
    },
    /// A minibatch has more values than its indptr counts.
    #[error("a minibatch of {n_obs} obs has {nnz} values, more than 2^31 - 1; lower batch_size")]
    TooManyValues {
        /// Rows of the minibatch.
        n_obs: usize,
        /// Its values.
        nnz: u64,
    },
    /// An epoch is to be resumed in another form than it began in.
    #[error(
        "the saved state is of a loader with other settings ({differences}): resume with the same settings, or start the epoch again"
    )]
    OtherOutput {
        /// The settings that differ, with what they were and are.
        differences: String,
    },
    /// A row that is to be normalised has values that are no counts.
    #[error(
        "{}: {cell} has {found}, so it can be neither normalised nor log-transformed; load counts, which `cellring convert` takes with --layer counts or --raw if the input has them, or leave out normalize and log1p", store.display()
    )]
    Unfit {
        /// The store.
        store: PathBuf,
        /// Number and name of the obs.
        cell: String,
        /// The value and its gene, or the sum.
        found: String,
    },
    /// Some values are not exact in the output type.
    #[error(
        "{}: the store holds {value_type} values that f32 cannot represent exactly; allow rounding (--allow-rounding) to \
         get the nearest f32, or ask for values of the source's type", store.display()
    )]
    Rounding {
        /// The store.
        store: PathBuf,
        /// Element type of the store.
        value_type: &'static str,
    },
    /// Values of the source's type are asked for, and the stores have different ones.
    #[error(
        "{}: the values have the type {found}, those of {} have {expected}, and values of the source's type are requested; choose f32, f16 or bf16 values", store.display(), first.display()
    )]
    ValueTypes {
        /// The store.
        store: PathBuf,
        /// Its element type.
        found: &'static str,
        /// The first store.
        first: PathBuf,
        /// The element type of that.
        expected: &'static str,
    },
    /// A column has a type that minibatches do not carry, or not in this form.
    #[error(
        "{}: the obs column {column:?} has the type {data_type}, whose values minibatches do not carry as {form}; choose \
         another column or form", store.display()
    )]
    ColumnType {
        /// The store.
        store: PathBuf,
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        data_type: String,
        /// The form that was asked for.
        form: ColumnForm,
    },
    /// A column has another kind of values in another store.
    #[error(
        "{}: the obs column {column:?} has the type {found}, and in {} it has {expected}, whose values are not of one kind; \
         choose a form that both have (codes, floats or strings), or another column", store.display(), first.display()
    )]
    ColumnKinds {
        /// The store.
        store: PathBuf,
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        found: String,
        /// The store that it was compared with.
        first: PathBuf,
        /// The column's Arrow type there.
        expected: String,
    },
    /// A thread could not be started.
    #[error("a thread for loading could not be started: {0}")]
    Thread(std::io::Error),
    /// A thread of the loader ended early: a bug in cellring.
    #[error("a thread of the loader panicked; please report this, with the message that it printed")]
    Panicked,
}
