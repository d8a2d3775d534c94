//! One module for each command: its arguments, and what it does.

pub(crate) mod bench;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod epoch;
pub(crate) mod export;
pub(crate) mod info;
mod labels;
mod options;
pub(crate) mod plan;
pub(crate) mod synth;
pub(crate) mod tune;
pub(crate) mod verify;
