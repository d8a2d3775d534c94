//! What is converted, and into what.

use std::path::PathBuf;

use cellring::format::constants::DEFAULT_BLOCK_SIZE;
use cellring::format::{Encoding, VarOrder};
use cellring_anndata::{JoinOptions, OpenOptions, Selection};

/// What is converted, and into what.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// What is read of each input.
    pub open: OpenOptions,
    /// How several inputs become one.
    pub join: JoinOptions,
    /// Which matrix.
    pub selection: Selection,
    /// Which other matrices of the same obs, each once.
    pub other_matrices: Vec<Selection>,
    /// If the input is a linked store: the directory below which the file is that it leads to. `None`: the one that the store is in.
    pub source_root: Option<PathBuf>,
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
            other_matrices: Vec::new(),
            source_root: None,
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
