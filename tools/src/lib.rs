//! What the `cellring` command is made of: reading and writing AnnData, and synthetic data sets.

pub mod anndata;
pub mod synth;
