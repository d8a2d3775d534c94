//! The fastest way to feed single-cell data from NVMe to a training loop.

pub mod buffer;
pub mod engine;
pub mod format;
pub mod loader;
pub mod minibatch;
pub mod plan;
pub mod store;
pub mod writer;

pub use loader::{Loader, LoaderConfig, LoaderError};
pub use minibatch::Minibatch;
pub use store::Store;
