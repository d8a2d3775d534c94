//! Converts one or more inputs to a store, in two passes over the matrix and with bounded memory.
//!
//! The first pass counts in how many obs each column occurs (and, for the raw encoding, finds the narrowest type that
//! holds every value); the second decodes rows ahead, encodes blocks on all threads, and appends them in order. Equal input
//! and equal options give equal stores, byte for byte, whatever the number of threads and the memory.

mod append;
mod blocks;
mod error;
mod inputs;
mod job;
mod matrix;
mod memory;
mod open;
mod order;
mod parts;
mod select;
mod survey;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::format::constants::DEFAULT_BLOCK_SIZE;
use cellring::format::{Encoding, VarOrder};
use cellring_anndata::{JoinOptions, LeftOut, OpenOptions, Selection};
use serde::Serialize;

pub use append::{AppendError, AppendOptions, AppendReport, append};
pub use error::ConvertError;
pub use parts::PartReport;

use crate::message::Message;
use job::Job;

/// What is converted, and into what.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// What is read of each input.
    pub open: OpenOptions,
    /// How several inputs become one.
    pub join: JoinOptions,
    /// Which matrix.
    pub selection: Selection,
    /// Which further matrices of the same obs, each once.
    pub further: Vec<Selection>,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Obs per block.
    pub block_size: u32,
    /// Order of the columns. `None`: by detection for packed, which is much denser so, as in the source for raw.
    pub var_order: Option<VarOrder>,
    /// Threads that decode, and as many that encode; at least 1. `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// The most memory that the process may use, in bytes.
    pub memory_bytes: u64,
    /// Whether an existing store is replaced.
    pub force: bool,
    /// A text file of gene names, one a line: only those columns are converted, in the source's order.
    pub genes: Option<PathBuf>,
    /// Only the first so many obs.
    pub max_obs: Option<u64>,
    /// Only obs that this filter takes: see [`cellring::select`] for the language. It may ask about columns that are not kept.
    /// With `max_obs`, the first so many of those.
    pub obs_filter: Option<String>,
    /// Only these columns of obs, besides the index.
    pub obs_columns: Option<Vec<String>>,
    /// Order of the obs in the store. `None`: as in the source.
    pub obs_order: Option<ObsOrder>,
    /// A new shard begins when one has reached this length in bytes. `None`: the writer's default, and 1 GiB where shards are
    /// put in several directories.
    pub shard_bytes: Option<u64>,
    /// Directories that the shards are put in, in turn; if there are none, they are in the store itself.
    pub stripe: Vec<PathBuf>,
    /// Whether the store is made in parts.
    pub parts: Option<Parts>,
}

/// How a store is made in parts: stretches of whole blocks, each of which begins a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// All in one go: the very store that merging this many parts makes.
    All(u32),
    /// Only one, in a directory of its own ([`cellring::writer::part_path`]).
    One {
        /// Its number, from 1 on.
        number: u32,
        /// Number of parts.
        of: u32,
    },
}

/// An order of obs other than the source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObsOrder {
    /// A random permutation, the same for the same seed and number of obs.
    Shuffled {
        /// The seed.
        seed: u64,
    },
    /// By these columns of obs, the first one first; equal obs stay in the source's order, missing values come last.
    SortedBy(Vec<String>),
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            open: OpenOptions::default(),
            join: JoinOptions::default(),
            selection: Selection::X,
            further: Vec::new(),
            encoding: Encoding::Packed,
            block_size: DEFAULT_BLOCK_SIZE,
            var_order: None,
            threads: None,
            memory_bytes: 1 << 30,
            force: false,
            genes: None,
            max_obs: None,
            obs_filter: None,
            obs_columns: None,
            obs_order: None,
            shard_bytes: None,
            stripe: Vec::new(),
            parts: None,
        }
    }
}

/// What a conversion did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConvertReport {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Number of values of the first matrix.
    pub nnz: u64,
    /// The matrices, where there are several: their paths in AnnData.
    pub matrices: Vec<String>,
    /// Where only a part of a store was wanted: which, and what became of it. The numbers are those of the part then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<PartReport>,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Order of the columns.
    pub var_order: VarOrder,
    /// Bytes of all files of the store.
    pub bytes: u64,
    /// Bytes of shards, index and manifest for each value of the first matrix; 0 where there is none.
    pub bytes_per_nnz: f64,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// Rows whose columns did not ascend.
    pub rows_sorted: u64,
    /// Entries that were added to another one of the same row and column.
    pub duplicates_summed: u64,
    /// Entries that were exactly zero.
    pub explicit_zeros_dropped: u64,
    /// What the inputs hold and the store does not.
    pub left_out: Vec<LeftOut>,
    /// How many inputs there are.
    pub n_inputs: usize,
    /// What is odd about the inputs or what was asked for: columns that were skipped, genes or values that are not there, counts
    /// beside values that are none.
    pub warnings: Vec<Message>,
}

/// Converts inputs to one store at `output`, which exists when this returns without an error, and not before.
///
/// Several inputs are joined: the obs of all, in this order; see [`JoinOptions`].
///
/// `progress` is called now and then with what is done and what there is to do, in units of no meaning; the latter may
/// grow.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then (an existing store that was to be replaced is left as it was).
///
/// # Panics
/// Where there is no input.
pub fn convert(
    inputs: &[PathBuf],
    output: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<ConvertReport, ConvertError> {
    let started = Instant::now();
    let pool = thread_pool(options.threads)?;
    pool.install(|| {
        let job = Job::open(inputs, output, options, progress)?;
        let mut report = job.run()?;
        report.seconds = started.elapsed().as_secs_f64();
        report.peak_rss_bytes = peak_rss_bytes();
        Ok(report)
    })
}

/// The threads that encode.
fn thread_pool(threads: Option<usize>) -> Result<rayon::ThreadPool, ConvertError> {
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("cellring-encode-{number}"))
        .build()
        .map_err(|error| ConvertError::Threads {
            threads,
            error: error.to_string(),
        })
}

/// The most memory this process has had resident, or 0 where the system does not say.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) << 10
}
