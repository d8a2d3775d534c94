//! Where the sections of an index are, and its header.

use crate::format::checksum::crc32c;
use crate::format::constants::{
    BLOCK_RECORD_BYTES, INDEX_HEADER_BYTES, INDEX_MAGIC, SECTION_ALIGNMENT, VERSION,
};
use crate::format::encoding::Encoding;

/// Where the sections of an index lie, from the shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLayout {
    /// Number of obs.
    pub n_obs: u64,
    /// Number of blocks.
    pub n_blocks: u64,
    /// Width of a details entry: 2 or 4 bytes.
    pub detail_bytes: u32,
    /// Start of the ends.
    pub ends_at: u64,
    /// Start of the details.
    pub details_at: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

impl IndexLayout {
    /// The layout for a store of this shape.
    pub fn new(n_obs: u64, block_size: u32, encoding: Encoding, max_obs_nnz: u64) -> Self {
        let align = SECTION_ALIGNMENT as u64;
        let n_blocks = n_obs.div_ceil(block_size as u64);
        let detail_bytes = encoding.detail_bytes(max_obs_nnz);
        let ends_at =
            (INDEX_HEADER_BYTES as u64 + n_blocks * BLOCK_RECORD_BYTES as u64).next_multiple_of(align);
        let details_at = (ends_at + n_obs * 4).next_multiple_of(align);
        Self {
            n_obs,
            n_blocks,
            detail_bytes,
            ends_at,
            details_at,
            file_bytes: details_at + n_obs * detail_bytes as u64,
        }
    }

    /// The 64 bytes of the header.
    pub fn header(
        &self,
        encoding: Encoding,
        block_size: u32,
        store_id: [u8; 16],
    ) -> [u8; INDEX_HEADER_BYTES] {
        let mut header = [0; INDEX_HEADER_BYTES];
        header[..8].copy_from_slice(&INDEX_MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(encoding as u32).to_le_bytes());
        header[16..24].copy_from_slice(&self.n_obs.to_le_bytes());
        header[24..32].copy_from_slice(&self.n_blocks.to_le_bytes());
        header[32..36].copy_from_slice(&block_size.to_le_bytes());
        header[36..40].copy_from_slice(&self.detail_bytes.to_le_bytes());
        header[40..56].copy_from_slice(&store_id);
        let crc = crc32c(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        header
    }
}
