//! What no sound file exceeds, and what is not read.

use std::path::Path;

use crate::error::ReadError;

/// The largest decoded chunk that is read. HDF5 writers use chunks of KiB to a few MiB; every worker may hold one.
pub(super) const MAX_CHUNK_BYTES: u64 = 256 << 20;

/// The most bytes of an element, be it a string of fixed length or a record.
pub(super) const MAX_ELEMENT_BYTES: u64 = 4 << 20;

/// Chunks that were never written take no room in a file, so that it may claim any number of them: at most so many are located.
pub(super) const MAX_ABSENT_CHUNKS: u64 = 1 << 20;

/// Deflate cannot shrink by more than about 1032:1 (zstd could, but no cells do), so a dataset larger than this many times
/// the file is a lie.
pub(super) const MAX_EXPANSION: u64 = 1100;

/// Refuses chunks that are larger than is read. Some programs write a dataset as one chunk, whatever its size.
pub(super) fn too_large_chunks(file: &Path, object: &str, chunk_bytes: u64, smaller: &str) -> ReadError {
    ReadError::Unsupported {
        file: file.to_owned(),
        object: object.to_owned(),
        detail: format!(
            "its chunks have {} MB, which are decoded as a whole, and at most {} MB are read",
            chunk_bytes / 1_000_000,
            MAX_CHUNK_BYTES / 1_000_000
        ),
        remedy: format!("write it again in smaller chunks (h5repack -l {object}:CHUNK={smaller} OLD NEW)"),
    }
}
