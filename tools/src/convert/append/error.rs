//! Why nothing was appended.

use std::path::PathBuf;

use cellring::writer::EncodeError;
use cellring_anndata::ReadError;

use crate::convert::error::ConvertError;

/// Why nothing was appended. The store is what it was. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An input is missing, damaged, or of a form that is not read.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// An input cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] cellring::Error),
    /// An input has genes that the store does not have.
    #[error(
        "{} has {n_new} genes that {} does not have, among them {examples}; give --ignore-new-genes to leave them out, or convert all inputs together",
        input.display(), store.display()
    )]
    NewGenes {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// How many.
        n_new: usize,
        /// The first few.
        examples: String,
    },
    /// An input has no gene of the store.
    #[error(
        "{} has none of the genes of {}, whose genes have names such as {held}, while its own have names such as {found}; use the store's names in the input",
        input.display(), store.display()
    )]
    NothingInCommon {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// The first few names of the store.
        held: String,
        /// The first few of the input.
        found: String,
    },
    /// A name does not tell which gene is meant.
    #[error(
        "{} has several genes with the same name, among them {examples}, so they cannot be found by name; make the names unique first",
        file.display()
    )]
    DuplicateGenes {
        /// The input or the store.
        file: PathBuf,
        /// The first few.
        examples: String,
    },
    /// A value is none of the store's type.
    #[error(
        "{} holds {value} for obs {obs} and gene {gene}, which {} cannot hold, since its values are stored as {value_type}; convert all inputs together",
        input.display(), store.display()
    )]
    Value {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Number of the obs in the input.
        obs: u64,
        /// Name of the gene.
        gene: String,
        /// The value.
        value: String,
        /// The type in which values are stored.
        value_type: &'static str,
    },
    /// The values are of another kind than the store's.
    #[error("{} holds values of type {found}, and {} values of type {expected}; convert all inputs together", input.display(), store.display())]
    ValueType {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Type of the input.
        found: &'static str,
        /// Type of the store.
        expected: &'static str,
    },
    /// A column of obs cannot become a part of the store's.
    #[error("obs column {column} of {} does not fit that of {}: {why}; change it in the input", input.display(), store.display())]
    Column {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Name of the column.
        column: String,
        /// Why not.
        why: String,
    },
    /// The tables of obs cannot be joined.
    #[error("the obs of {} cannot be combined: {why}", store.display())]
    Table {
        /// The store.
        store: PathBuf,
        /// Why not.
        why: String,
    },
}

impl From<EncodeError> for AppendError {
    fn from(error: EncodeError) -> Self {
        Self::Store(error.into())
    }
}
