//! A tour of the library: what to know, and how to do it.
//!
//! | page | |
//! |---|---|
//! | [`concepts`] | store, block, fetch, minibatch, plan |
//! | [`first_loader`] | a store, a loader, an epoch |
//! | [`resume`] | stop within an epoch and go on |
//! | [`ranks`] | several processes share an epoch |
//! | [`sampling`] | subsets, splits, weights, classes, groups, an order of your own |
//! | [`stores`] | several stores as one, several matrices of the same cells |
//! | [`outputs`] | CSR, dense, top genes; types, gene lists, normalisation; columns of obs |
//! | [`gpu`] | page-locked memory and copies to a GPU |
//! | [`asynchronous`] | minibatches in an async program |
//! | [`tuning`] | block size, fetch factor, memory, and what limits the speed |
//! | [`errors`] | what can go wrong, and how it is reported |
//!
//! The modules themselves are the reference: [`loader`](crate::loader) and [`minibatch`](crate::minibatch) for what a program uses,
//! [`plan`](crate::plan) for the contract of the order, [`mod@format`](mod@crate::format) for the files.

#[doc = include_str!("asynchronous.md")]
pub mod asynchronous {}
#[doc = include_str!("concepts.md")]
pub mod concepts {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("first_loader.md")]
pub mod first_loader {}
#[doc = include_str!("gpu.md")]
pub mod gpu {}
#[doc = include_str!("outputs.md")]
pub mod outputs {}
#[doc = include_str!("ranks.md")]
pub mod ranks {}
#[doc = include_str!("resume.md")]
pub mod resume {}
#[doc = include_str!("sampling.md")]
pub mod sampling {}
#[doc = include_str!("stores.md")]
pub mod stores {}
#[doc = include_str!("tuning.md")]
pub mod tuning {}
