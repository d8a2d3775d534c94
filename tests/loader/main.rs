//! The loader: epochs, going on with one, and several stores as one.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../common/mod.rs"]
mod common;

mod collection;
mod epochs;
mod linked;
mod owned;
mod resume;
mod rows;
