//! What a conversion did.

use std::path::PathBuf;

use cellring::format::{Encoding, VarOrder};
use serde::Serialize;

use super::left_out::LeftOut;
use crate::message::Message;

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

/// What became of a part.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PartReport {
    /// Its number, from 1 on.
    pub number: u32,
    /// Number of parts.
    pub of: u32,
    /// Where it is.
    pub path: PathBuf,
    /// First obs.
    pub first_obs: u64,
    /// Whether it was there already, made from this input with these settings, and was left alone.
    pub was_there: bool,
}
