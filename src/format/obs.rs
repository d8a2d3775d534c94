//! Where the bytes of an obs are.

/// A range of bytes of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte, from the start of the shard.
    pub offset_bytes: u64,
    /// Length.
    pub len_bytes: u32,
}

/// Where the bytes of one obs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Number of the shard.
    pub shard: u32,
    /// Packed: the frame, and nothing. Raw: the indices and the values.
    pub parts: [ByteRange; 2],
    /// Number of values.
    pub nnz: u32,
    /// Raw: the checksum. Packed: 0 (the frame holds it).
    pub crc: u32,
}
