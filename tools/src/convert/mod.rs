//! Converts one or more inputs to a store, in two passes over the matrix and with bounded memory.
//!
//! The first pass counts in how many obs each column occurs (and, for the raw encoding, finds the narrowest type that
//! holds every value); the second decodes rows ahead, encodes blocks on all threads, and appends them in order. Equal input
//! and equal options give equal stores, byte for byte, whatever the number of threads and the memory.

mod append;
mod as_linked;
mod blocks;
mod error;
mod inputs;
mod job;
mod left_out;
mod matrix;
mod memory;
mod open;
mod options;
mod order;
mod origin;
mod parts;
mod report;
mod select;
mod selected;
mod survey;
pub(crate) mod tables;
mod threads;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use append::{AppendError, AppendOptions, AppendReport, append};
pub use error::ConvertError;
pub(crate) use inputs::Inputs;
pub use left_out::LeftOut;
pub use options::{ConvertOptions, ObsOrder, Parts};
pub(crate) use origin::Origin;
pub use report::{ConvertReport, PartReport};

pub(crate) use selected::SelectedMatrix;
pub(crate) use threads::thread_pool;

use crate::usage::peak_rss_bytes;
use cellring_anndata::InputStamp;
use job::Job;

/// Converts inputs to one store at `output`, which exists when this returns without an error, and not before.
///
/// Several inputs are joined: the obs of all, in this order; see [`JoinOptions`](cellring_anndata::JoinOptions). An input that is a linked
/// store stands for the matrices that were linked of its file, which is converted as if it had been named; it is the only input.
///
/// `progress` is called now and then with what is done and what there is to do, in units of no meaning; the latter may
/// grow.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then (an existing store that was to be replaced is left as it was).
///
/// # Panics
/// If there is no input.
pub fn convert(
    inputs: &[PathBuf],
    output: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<ConvertReport, ConvertError> {
    let started = Instant::now();
    let pool = thread_pool(options.threads)?;
    let origin = match inputs {
        [one] => Origin::read(one, options.source_root.as_deref())?,
        _ => None,
    };
    let of_origin = origin
        .as_ref()
        .map(|origin| origin.options(options))
        .transpose()?;
    let options = of_origin.as_ref().unwrap_or(options);
    let inputs = origin.as_ref().map_or(inputs, |origin| &origin.inputs);
    pool.install(|| {
        let linked = origin
            .as_ref()
            .map(|origin| origin.check(output, options))
            .transpose()?;
        let job = Job::open(inputs, output, options, progress)?;
        linked.iter().flatten().try_for_each(InputStamp::check)?;
        let mut report = job.run()?;
        report.seconds = started.elapsed().as_secs_f64();
        report.peak_rss_bytes = peak_rss_bytes().unwrap_or(0);
        Ok(report)
    })
}
