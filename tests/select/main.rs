//! Filters, classes, weights and splits of a real obs table, against a twin that goes row by row.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../common/mod.rs"]
mod common;

mod columns;
mod filter;
mod messages;
mod table;
mod twin;
