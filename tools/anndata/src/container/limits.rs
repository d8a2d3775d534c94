//! What no sound file exceeds.

/// The largest decoded chunk that is read. HDF5 writers use chunks of KiB to a few MiB; every worker may hold one.
pub(super) const MAX_CHUNK_BYTES: u64 = 256 << 20;

/// Chunks that were never written take no room in a file, so that it may claim any number of them: at most so many are located.
pub(super) const MAX_ABSENT_CHUNKS: u64 = 1 << 20;

/// Deflate cannot shrink by more than about 1032:1 (zstd could, but no cells do), so a dataset larger than this many times
/// the file is a lie.
pub(super) const MAX_EXPANSION: u64 = 1100;
