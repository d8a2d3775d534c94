//! Why stores do not make one.

use std::path::PathBuf;

/// Why stores cannot be taken as one. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectionError {
    /// There is no store.
    #[error("a collection needs at least one store")]
    Empty,
    /// The stores have other genes.
    #[error(
        "{}: its genes are not those of {}: {n_missing} of those are missing here{}, {n_extra} are only here{}; join the \
         stores by the genes that all have (inner), that any has (outer), or by a list",
        store.display(), first.display(), listed(missing), listed(extra)
    )]
    OtherGenes {
        /// The store.
        store: PathBuf,
        /// The first store, with whose genes it was compared.
        first: PathBuf,
        /// How many genes of the first it lacks.
        n_missing: usize,
        /// Some of them.
        missing: Vec<String>,
        /// How many it has that the first lacks.
        n_extra: usize,
        /// Some of them.
        extra: Vec<String>,
    },
    /// No gene is in all stores, or a store has none that another has.
    #[error(
        "the {n_stores} stores have no gene in common: {} has{}, {} has{}; {remedy}",
        store.display(), listed(names), other.display(), listed(others)
    )]
    NothingInCommon {
        /// Stores.
        n_stores: usize,
        /// A store.
        store: PathBuf,
        /// The first names of its genes.
        names: Vec<String>,
        /// One without these.
        other: PathBuf,
        /// The first names of its genes.
        others: Vec<String>,
        /// What can be done.
        remedy: &'static str,
    },
    /// A name does not tell which gene is meant.
    #[error(
        "{}: {n} names of genes occur more than once{}, and stores with different genes are joined by unique names; join by a \
         var column of unique identifiers",
        store.display(), listed(names)
    )]
    RepeatedNames {
        /// The store.
        store: PathBuf,
        /// How many names.
        n: usize,
        /// Some of them.
        names: Vec<String>,
    },
    /// A gene has no name.
    #[error("{}: gene {column} has no name to join the stores by; join by another var column", store.display())]
    NoName {
        /// The store.
        store: PathBuf,
        /// Its column in the matrix.
        column: usize,
    },
    /// More genes than a minibatch has columns for.
    #[error(
        "the stores have {0} genes, and a minibatch has 2^31 - 1 columns at most; join by the genes that all have"
    )]
    TooManyGenes(usize),
    /// Not a share for each store.
    #[error("there are {found} shares for {expected} stores; give one for each")]
    Shares {
        /// Stores.
        expected: usize,
        /// Shares.
        found: usize,
    },
    /// A share is not a weight.
    #[error("{}: its share of the draws is {found}, expected a finite number from 0 up", store.display())]
    BadShare {
        /// The store.
        store: PathBuf,
        /// The share.
        found: f64,
    },
    /// A store is to be drawn from, and has nothing to draw.
    #[error("{}: its share of the draws is {share}, and there is no obs of it to draw; give it the share 0", store.display())]
    NothingToDraw {
        /// The store.
        store: PathBuf,
        /// The share.
        share: f64,
    },
}

/// Names in brackets, where there are any.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" ({}, ..)", names.join(", ")),
    }
}
