//! Where a matrix is in files: what a linked store is made of.

use std::sync::Arc;

use crate::format::ValueType;
use crate::format::linked::{SourceChunk, SourceRun};

/// How an array is in its files, which are numbered by [`LinkedWriter::add_file`](super::LinkedWriter::add_file).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLayout {
    /// Elements as they are: runs of them, which ascend.
    Runs(Vec<SourceRun>),
    /// Chunks, in order, to which filters were applied.
    Chunks {
        /// Elements of each.
        elements: u64,
        /// One for each such piece of the array.
        chunks: Vec<SourceChunk>,
    },
    /// Chunks of the values of a dense matrix, row of them after row, to which filters were applied. Those at the ends are as large as the
    /// others.
    Tiles {
        /// Rows of each.
        rows: u64,
        /// Columns of each.
        columns: u64,
        /// One for each of them.
        chunks: Vec<SourceChunk>,
    },
}

/// One of the two arrays of a sparse matrix: the columns of its values, or the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceArray {
    /// Its path in the source, for messages.
    pub path: String,
    /// Type of its elements.
    pub value_type: ValueType,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Where they lie.
    pub layout: SourceLayout,
    /// The filters of its chunks, in the order in which they were applied: the number of each in the registry of the HDF Group, and its
    /// parameters.
    pub filters: Vec<(u16, Vec<u32>)>,
    /// The element that chunks consist of that were never written, as it would be stored, from the first byte on.
    pub fill: [u8; 8],
}

/// The rows of one input, and where they are in its files.
#[derive(Clone, Debug)]
pub struct SourceInput {
    /// One of its files, as [`LinkedWriter::add_file`](super::LinkedWriter::add_file) numbers it.
    pub file: u32,
    /// For each of its columns the one of the matrix that it becomes, `u32::MAX` if none. `None`: they are those of the matrix.
    pub column_map: Option<Arc<[u32]>>,
    /// The columns of the values, of obs after obs. `None`: every obs has a value in every column, as in a dense matrix.
    pub indices: Option<SourceArray>,
    /// The values.
    pub data: SourceArray,
    /// Number of values of each obs.
    pub counts: Vec<u32>,
}

/// A matrix that is by rows in files: the rows of one input, or of several, one input after the other.
#[derive(Clone, Debug)]
pub struct SourceMatrix {
    /// Number of columns.
    pub n_vars: u64,
    /// Type of its values. A value of an input that has another type is taken as the equal one of this, or cannot be read.
    pub value_type: ValueType,
    /// At least one.
    pub inputs: Vec<SourceInput>,
    /// The checksum of each row, as [`row_checksums`](super::row_checksums) gives them; `None` if the store is to have none.
    pub checksums: Option<Vec<u32>>,
    /// What the manifest says of the source.
    pub source: serde_json::Value,
}
