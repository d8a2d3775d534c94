//! What the index says of a block, and of an obs.

use crate::format::constants::BLOCK_RECORD_BYTES;

/// Record of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Start of the block in its shard.
    pub offset_bytes: u64,
    /// Number of the shard.
    pub shard: u32,
    /// Length of the payload, padding not included.
    pub payload_bytes: u32,
}

impl BlockRecord {
    /// The record of these 16 bytes.
    pub fn from_bytes(bytes: [u8; BLOCK_RECORD_BYTES]) -> Self {
        let at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            offset_bytes: u64::from(at(0)) | u64::from(at(4)) << 32,
            shard: at(8),
            payload_bytes: at(12),
        }
    }

    /// The 16 bytes of the record.
    pub fn to_bytes(self) -> [u8; BLOCK_RECORD_BYTES] {
        let mut bytes = [0; BLOCK_RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.offset_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.shard.to_le_bytes());
        bytes[12..].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes
    }
}

/// Place of one obs in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObsPlace {
    /// Packed: bytes of the frame within the block. Raw: numbers of its values within the block.
    pub range: (u32, u32),
    /// Number of values.
    pub nnz: u32,
    /// Raw: the CRC. Packed: 0 (the frame holds it).
    pub crc: u32,
}
