//! Why a loader fails.

use std::path::PathBuf;

use crate::minibatch::ColumnForm;

/// Why an epoch cannot start or go on. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// The subset has no obs.
    #[error(
        "the subset has none of the {n_obs} obs, so there is nothing to load; select some, or skip this part of the split"
    )]
    NothingSelected {
        /// Obs in the data set.
        n_obs: u64,
    },
    /// A fetch needs more than the budget.
    #[error(
        "a fetch of {n_obs} obs needs {needed_bytes} bytes of read buffers, and a memory budget of {budget_bytes} bytes leaves {left_bytes} for them; \
         give a budget of {} MiB, or lower batch_size x fetch_factor",
        enough_bytes.div_ceil(1 << 20)
    )]
    Budget {
        /// Obs in the fetch.
        n_obs: usize,
        /// What it needs.
        needed_bytes: usize,
        /// What there is for that.
        left_bytes: usize,
        /// The whole budget.
        budget_bytes: usize,
        /// A budget that suffices.
        enough_bytes: usize,
    },
    /// Obs that were asked for by number need more than the budget.
    #[error(
        "{n_obs} obs need {needed_bytes} bytes, but the memory budget is {budget_bytes}; ask for fewer obs at a time, or raise the budget"
    )]
    RowsBudget {
        /// Obs asked for.
        n_obs: usize,
        /// What they need.
        needed_bytes: usize,
        /// What there is.
        budget_bytes: usize,
    },
    /// Rows of linked stores that have to be put in order take more than 4 GiB in a minibatch.
    #[error(
        "a minibatch of {n_obs} obs has more than 4 GiB of rows that have to be put in order; lower batch_size, or convert the inputs"
    )]
    TooManyReordered {
        /// Rows of the minibatch.
        n_obs: usize,
    },
    /// A minibatch has more values than its indptr counts.
    #[error(
        "a minibatch of {n_obs} obs has {nnz} values, more than 2^31 - 1; lower batch_size, or ask for fewer obs at a time"
    )]
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
        "{}: {cell} has {found}, so it can be neither normalised nor log-transformed; load counts, which `cellring convert` takes from a layer or from raw if the input has them, or leave out normalize and log1p", store.display()
    )]
    Unfit {
        /// The store.
        store: PathBuf,
        /// Number and name of the obs.
        cell: String,
        /// The value and its gene, or the sum.
        found: String,
    },
    /// A value is beyond what the output type holds.
    #[error("{}: {cell} gets the value {value} for the gene {gene}, which would be infinite as {value_type}; choose f32 values", store.display())]
    Beyond {
        /// The store.
        store: PathBuf,
        /// Number and name of the obs.
        cell: String,
        /// The gene.
        gene: String,
        /// The value.
        value: f32,
        /// The type.
        value_type: &'static str,
    },
    /// Some values are not exact in the output type.
    #[error(
        "{}: the store holds {value_type} values that f32 cannot represent exactly; allow rounding to \
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
    /// An obs was asked for that does not exist.
    #[error("obs {obs} does not exist among {n_obs} obs; obs are numbered from 0")]
    NoSuchObs {
        /// The obs.
        obs: u64,
        /// How many there are.
        n_obs: u64,
    },
    /// Another epoch took the read buffers.
    #[error(
        "this epoch was ended by another one of the same loader; take one epoch at a time, or use two loaders"
    )]
    Superseded,
    /// Whoever asked for obs does not want them any more.
    #[error("reading the obs was ended before all were there; ask for them again")]
    RowsStopped,
    /// A thread could not be started.
    #[error("a thread for loading could not be started: {0}")]
    Thread(std::io::Error),
    /// A thread of the loader ended early: a bug in cellring.
    #[error("a thread of the loader panicked; please report this, with the message that it printed")]
    Panicked,
}
