//! What the `cellring` command is made of: the conversion of AnnData to stores and back, synthetic data sets, measurements, and
//! the command line itself.

mod advice;
mod bench;
mod chunks;
pub mod cli;
mod commands;
pub mod convert;
mod diversity;
pub mod export;
mod failure;
mod interrupt;
pub mod link;
pub mod list;
mod measure;
pub mod message;
mod options;
mod output;
pub mod page_cache;
pub mod paths;
mod process;
mod progress;
mod sampler_record;
pub mod size;
pub mod synth;
mod usage;
mod warnings;
