//! Arrays whose chunks are written.

use std::path::PathBuf;

use crate::write::compress::Compression;

/// An array whose chunks are written.
#[derive(Debug)]
pub(in super::super) struct Stored {
    pub(super) directory: PathBuf,
    pub(super) chunk_len: u32,
    pub(super) compression: Compression,
}
