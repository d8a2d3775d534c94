//! Where the sections of a raw block are.

use crate::format::constants::{MAX_U16_VARS, SECTION_ALIGNMENT};
use crate::format::encoding::codec::Entries;
use crate::format::error::FormatError;
use cellring_core::ValueType;

/// Where the sections of a raw block lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLayout {
    /// Number of obs.
    pub n_obs: usize,
    /// Number of values.
    pub nnz: usize,
    /// Width of a column index: 2 or 4 bytes.
    pub index_bytes: usize,
    /// Width of a value.
    pub value_bytes: usize,
    /// Start of the indices.
    pub indices_at: usize,
    /// Start of the values.
    pub data_at: usize,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl RawLayout {
    /// The layout of a block of `n_obs` obs with `nnz` values.
    pub const fn new(n_obs: usize, nnz: usize, n_vars: u64, value_type: ValueType) -> Self {
        let index_bytes = index_bytes(n_vars);
        let value_bytes = value_type.size_bytes();
        let indices_at = ((n_obs + 1) * 4).next_multiple_of(SECTION_ALIGNMENT);
        let data_at = (indices_at + nnz * index_bytes).next_multiple_of(SECTION_ALIGNMENT);
        Self {
            n_obs,
            nnz,
            index_bytes,
            value_bytes,
            indices_at,
            data_at,
            payload_bytes: data_at + nnz * value_bytes,
        }
    }
}

/// Width of a column index in bytes.
pub const fn index_bytes(n_vars: u64) -> usize {
    if n_vars <= MAX_U16_VARS { 2 } else { 4 }
}

/// Layout of a block of a store, checked against the length of its payload.
///
/// # Errors
/// If the payload is not what the number of values asks for: the index is damaged.
pub(super) fn layout_of(
    index: &impl Entries,
    block: u64,
    payload_bytes: u32,
) -> Result<RawLayout, FormatError> {
    let (obs, matrix) = (index.obs_of_block(block), index.matrix());
    let (n_obs, last) = ((obs.end - obs.start) as usize, obs.end - 1);
    let nnz = index.stated_end(last)? as usize;
    let layout = RawLayout::new(n_obs, nnz, matrix.n_vars, matrix.stored);
    if layout.payload_bytes == payload_bytes as usize {
        Ok(layout)
    } else {
        let rule = format!(
            "block {block} has {payload_bytes} bytes, expected {}",
            layout.payload_bytes
        );
        Err(index.damaged_end(last, rule))
    }
}
