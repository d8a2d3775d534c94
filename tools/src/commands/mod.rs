//! One module for each command: its arguments, and what it does.

pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod convert;
mod data;
pub(crate) mod demo;
mod diversity;
mod encoding;
pub(crate) mod epoch;
pub(crate) mod export;
mod filter;
mod form;
pub(crate) mod info;
mod inputs;
mod labels;
pub(crate) mod man;
pub(crate) mod merge;
mod options;
pub(crate) mod plan;
mod sampler;
mod state;
pub(crate) mod synth;
pub(crate) mod table;
pub(crate) mod tune;
pub(crate) mod verify;
