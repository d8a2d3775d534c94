//! Sources of single-cell data and the commands that turn them into cellring stores.

pub mod anndata;
