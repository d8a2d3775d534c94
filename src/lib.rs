//! The fastest way to feed single-cell data from NVMe to a training loop.
//!
//! A store, made by `cellring convert` or a [`writer`], holds a sparse matrix of cells by genes. A [`Loader`] runs through it in
//! epochs of shuffled sparse [`Minibatch`]es: it plans which cells come when ([`plan`]), reads them with as few and as large requests as
//! the plan allows ([`engine`]), and decodes each cell straight into its place.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let loader = Loader::new(store, LoaderConfig::default())?;
//! for minibatch in loader.epoch(0)? {
//!     let minibatch = minibatch?;
//!     println!("{} cells, {} values", minibatch.n_obs(), minibatch.nnz());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [`guide`] is a tour; the modules are the reference:
//!
//! | module | what |
//! |---|---|
//! | [`mod@format`] | the store, byte by byte |
//! | [`writer`] | makes stores |
//! | [`store`] | opens, verifies and reads them |
//! | [`plan`] | which cells make up which minibatch |
//! | [`select`] | subsets, splits, weights and classes from the obs table |
//! | [`engine`] | how bytes are moved from files into buffers |
//! | [`loader`], [`minibatch`] | epochs, and what they yield |
//! | [`gpu`] | memory pinned for a GPU, and copies to it |
//!
//! Linux only. Damage is always an error, never wrong data: every cell is checked against its checksum when it is read.
//! (A linked store has checksums of cells if it was made with them.)

mod buffer;
pub mod engine;
mod error;
pub mod format;
pub mod gpu;
pub mod guide;
mod linked;
pub mod loader;
pub mod minibatch;
pub mod plan;
pub mod select;
pub mod store;
pub mod writer;

pub use error::{Error, ErrorKind, Result};
pub use loader::{Collection, Epoch, Join, Loader, LoaderConfig, MatrixChoice};
pub use minibatch::{ColumnChoice, GeneSelection, Layout, Minibatch, Normalize, OutputConfig, OutputType};
pub use plan::{SamplerConfig, SamplerData, SamplerState, Strategy, Subset};
pub use store::Store;

/// What this crate's tests, benchmarks and command use. No promise is made about it.
#[doc(hidden)]
pub mod __internal {
    pub use crate::error::Cause;
    pub use crate::linked::LinkedError;
    pub use crate::loader::{CollectionError, FetchExtents, LoaderError, check_outputs, extents_of};
    pub use crate::store::{row_lens, stored_nnz};
    pub use crate::writer::is_abandoned;
    pub use cellring_core::allow_most_descriptors;

    /// Slots of the read buffers.
    pub mod buffer {
        pub use crate::buffer::*;
    }
}

#[doc(hidden)]
pub use cellring_core::{with_element, with_element_types, with_values};

/// The crates whose types are in signatures: tables and columns are Arrow's.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_schema as schema;
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
