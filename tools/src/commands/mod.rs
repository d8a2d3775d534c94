//! One module for each command: its arguments, and what it does.

pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod demo;
mod encoding;
pub(crate) mod epoch;
pub(crate) mod export;
pub(crate) mod info;
pub(crate) mod link;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod plan;
mod state;
pub(crate) mod synth;
pub(crate) mod table;
pub(crate) mod tune;
pub(crate) mod verify;
