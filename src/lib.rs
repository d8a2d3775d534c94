//! The fastest way to feed single-cell data from NVMe to a training loop.

pub mod buffer;
pub mod engine;
pub mod format;
pub mod plan;
pub mod store;
pub mod writer;

pub use store::Store;
