//! The writer: obs that are appended, and shards in several directories.
#![allow(clippy::unwrap_used, reason = "a test may unwrap, and its helpers too")]

#[path = "../common/mod.rs"]
mod common;

mod append;
mod stripe;
