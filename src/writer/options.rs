//! What a store is to be like.

use std::path::PathBuf;

use crate::format::constants::{DEFAULT_ALIGNMENT, DEFAULT_BLOCK_SIZE};
use crate::format::{Encoding, ValueType, VarOrder};
use cellring_core::setters;

/// What a store is to be like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WriterOptions {
    /// Number of columns.
    pub n_vars: u64,
    /// Element type of the source.
    pub value_type: ValueType,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Raw encoding: the type values are stored in.
    pub raw_value_type: ValueType,
    /// Order of the columns, for the record; the [`BlockEncoder`](super::BlockEncoder) brings them into it.
    pub var_order: VarOrder,
    /// Obs per block.
    pub block_size: u32,
    /// Alignment of blocks in bytes.
    pub alignment: u32,
    /// A new shard begins when one has reached this length in bytes.
    pub shard_bytes: u64,
    /// Directories that the shards are put in, in turn; if there are none, they are in the store itself.
    pub stripe: Vec<PathBuf>,
    /// Whether an existing store under the same name is replaced.
    pub replace: bool,
    /// Whether to write through io_uring where the kernel allows it.
    pub uring: bool,
    /// What the manifest says of the source.
    pub source: serde_json::Value,
}

impl WriterOptions {
    setters! {
        encoding: as Encoding,
        raw_value_type: as ValueType,
        var_order: as VarOrder,
        block_size: as u32,
        alignment: as u32,
        shard_bytes: as u64,
        stripe: each PathBuf,
        replace: as bool,
        uring: as bool,
        source: as serde_json::Value,
    }

    /// Defaults: packed, columns as in the source, 256 obs per block, 4096 bytes alignment, shards of 32 GiB.
    pub fn new(n_vars: u64, value_type: ValueType) -> Self {
        Self {
            n_vars,
            value_type,
            encoding: Encoding::Packed,
            raw_value_type: value_type,
            var_order: VarOrder::Source,
            block_size: DEFAULT_BLOCK_SIZE,
            alignment: DEFAULT_ALIGNMENT,
            shard_bytes: 32 << 30,
            stripe: Vec::new(),
            replace: false,
            uring: true,
            source: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}
