//! The fastest way to feed single-cell data from NVMe to a training loop.
//!
//! A store, made by `cellring convert` or a [`writer`], holds a sparse matrix of cells by genes. A [`Loader`] runs through it in
//! epochs of shuffled sparse [`Minibatch`]es: it plans which cells come when ([`plan`]), reads them with as few and as large requests as
//! the plan allows ([`engine`], into the [`buffer`]s of one pool), and decodes each cell straight into its place.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let mut loader = Loader::new(store, LoaderConfig::default())?;
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
//! | [`mod@format`] | the store, byte by byte, and its codec |
//! | [`writer`] | makes stores |
//! | [`store`] | opens, verifies and reads them |
//! | [`plan`] | which cells make up which minibatch |
//! | [`select`] | subsets, splits, weights and classes from the obs table |
//! | [`engine`], [`buffer`] | moves bytes from files into buffers |
//! | [`loader`], [`minibatch`] | epochs, and what they yield |
//! | [`gpu`] | memory pinned for a GPU, and copies to it |
//!
//! Linux only. Damage is always an error, never wrong data: every cell is checked against its checksum when it is read.

pub mod buffer;
pub mod engine;
pub mod format;
pub mod gpu;
pub mod guide;
pub mod loader;
pub mod minibatch;
pub mod plan;
pub mod select;
pub mod store;
pub mod writer;

pub use loader::{Collection, Loader, LoaderConfig, LoaderError};
pub use minibatch::Minibatch;
pub use store::Store;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
