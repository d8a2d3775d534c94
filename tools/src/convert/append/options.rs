//! How inputs are appended, and what was done.

use cellring_anndata::{OpenOptions, Selection};
use serde::Serialize;

use crate::convert::left_out::LeftOut;
use crate::message::Message;

/// How inputs are appended.
#[derive(Clone, Debug)]
pub struct AppendOptions {
    /// What is read of each input.
    pub open: OpenOptions,
    /// Which matrix of the inputs. `None`: the one that the store was made of.
    pub selection: Option<Selection>,
    /// Whether genes that the store does not have are left out; else they are refused.
    pub ignore_new_genes: bool,
    /// A new shard begins when one has reached this length in bytes.
    pub shard_bytes: Option<u64>,
    /// Threads that decode, and as many that encode; at least 1. `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// The most memory that the process may use, in bytes.
    pub memory_bytes: u64,
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self {
            open: OpenOptions::default(),
            selection: None,
            ignore_new_genes: false,
            shard_bytes: None,
            threads: None,
            memory_bytes: 1 << 30,
        }
    }
}

/// What was appended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AppendReport {
    /// Number of obs that are new.
    pub n_obs_appended: u64,
    /// Number of obs now.
    pub n_obs: u64,
    /// Number of values now.
    pub nnz: u64,
    /// Bytes of all files of the store now.
    pub bytes: u64,
    /// Genes of the inputs that the store does not have; they were left out.
    pub n_genes_ignored: u64,
    /// Genes of the store that an input does not have, summed over the inputs: they are zero in its obs.
    pub n_genes_missing: u64,
    /// Rows whose columns did not ascend.
    pub rows_sorted: u64,
    /// Entries that were added to another one of the same row and column.
    pub duplicates_summed: u64,
    /// Entries that were exactly zero.
    pub explicit_zeros_dropped: u64,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// What the inputs hold and the store does not. No option of `append` stores it: a store has the matrices that it was made
    /// with.
    pub left_out: Vec<LeftOut>,
    /// How many inputs there are.
    pub n_inputs: usize,
    /// What is odd about the inputs: columns of obs that were left out or are missing, genes that are hardly shared.
    pub warnings: Vec<Message>,
}
