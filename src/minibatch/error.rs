//! Why minibatches cannot be made.

use crate::format::FormatError;

/// Why an output cannot be made. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The var table is damaged, or has no such column.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A column of the var table holds no names.
    #[error(
        "the var column {column:?} has the type {data_type}, but genes are found by text; choose another column"
    )]
    NotText {
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// A list of genes has a name twice.
    #[error("the gene {0:?} is requested twice; request it once")]
    RepeatedGene(String),
    /// None of a list of genes is there.
    #[error(
        "none of the requested genes ({asked}) is in the store, whose genes have names such as {held}; use such names, or a var column that has the names of the list"
    )]
    NoGenes {
        /// The first of them.
        asked: String,
        /// The first that there are.
        held: String,
    },
    /// A list of columns has one twice.
    #[error("column {0} is requested twice; request it once")]
    RepeatedColumn(u32),
    /// A list of columns has one that the store lacks.
    #[error("column {column} is requested, but the store has {n_vars} columns; choose columns below that")]
    NoSuchColumn {
        /// The column.
        column: u32,
        /// Columns of the store.
        n_vars: u64,
    },
    /// A selection was made for another store.
    #[error(
        "the gene selection is made for a store of {expected} columns, this one has {found}; make it from the var table of \
         this store"
    )]
    OtherStore {
        /// Columns that the selection knows.
        expected: usize,
        /// Columns of the store.
        found: u64,
    },
    /// Weights do not fit the output.
    #[error("there are {found} gene weights for {expected} columns of the output; give one for each")]
    Weights {
        /// Columns of the output.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// Computed values have no place in the store's type.
    #[error(
        "values of the source's type ({value_type}) are requested, but normalised or weighted ones are not of that type; choose \
         f32, f16 or bf16 values"
    )]
    Computed {
        /// The store's type.
        value_type: &'static str,
    },
    /// A library size that no cell can have.
    #[error("the library size to normalise to is {0}, expected a finite number above 0")]
    TargetSum(f64),
    /// Nothing is asked for.
    #[error("the top 0 genes of each cell are requested; request at least 1")]
    NoRanks,
    /// A minibatch is larger than the memory.
    #[error(
        "a minibatch of {n_obs} obs takes {needed_bytes} bytes, but the memory budget is {budget_bytes}; raise the budget, or \
         lower batch_size, or select genes"
    )]
    Budget {
        /// Rows of a minibatch.
        n_obs: usize,
        /// What it takes.
        needed_bytes: usize,
        /// What there is.
        budget_bytes: usize,
    },
}
