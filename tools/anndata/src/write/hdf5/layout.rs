//! Where the data of a file are.

use crate::write::compress::Compression;

/// A reference: length (4 bytes), address of the collection (8), index of the object in it (4).
pub(in super::super) const REFERENCE_BYTES: usize = 16;

/// The address that means "nowhere".
pub(super) const UNDEFINED: u64 = u64::MAX;
/// A chunk in the file.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct WrittenChunk {
    pub(super) address: u64,
    pub(super) stored_bytes: u32,
    /// Whether it skipped the dataset's filter, if that has one.
    pub(super) is_raw: bool,
}

/// Where the elements of a dataset lie.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Layout {
    Contiguous {
        address: u64,
        size_bytes: u64,
    },
    /// `chunk_len` elements, or rows of a dataset that has columns.
    Chunked {
        index: u64,
        chunk_len: u32,
        chunk_bytes: u32,
        compression: Compression,
    },
}
