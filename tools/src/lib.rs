//! What the `cellring` command is made of: reading and writing AnnData, synthetic data sets, and the conversion of one into
//! the other.

pub mod convert;
pub mod export;
pub mod list;
pub mod message;
pub mod page_cache;
pub mod paths;
pub mod size;
pub mod synth;
