//! The file while it grows.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::layout::{Layout, UNDEFINED, WrittenChunk};
use crate::write::temporary::temporary_file;

#[cfg(target_endian = "big")]
compile_error!("arrays are written as they lie in memory and declared little-endian");

/// Structures start at multiples of this.
pub(super) const ALIGNMENT_BYTES: u64 = 8;
/// Version 2 superblock, checksum included.
pub(super) const SUPERBLOCK_BYTES: usize = 48;
/// Writes are gathered to this size.
const BUFFER_BYTES: usize = 1 << 20;

/// Size of the chunks of a dataset of `len` elements: what h5py guesses for a file that anndata writes, roughly.
///
/// h5py aims at 16 KiB for 1 MiB of data and doubles that with each power of ten, between 8 KiB and 1 MiB. So a
/// reader meets the chunks here that it meets in files from Python. An unknown length counts as a large one.
pub(in super::super) fn usual_chunk_bytes(len: Option<u64>, element_bytes: usize) -> usize {
    let mebibytes = len.unwrap_or(1 << 32) as f64 * element_bytes as f64 / (1 << 20) as f64;
    let target = 16384.0 * mebibytes.max(f64::MIN_POSITIVE).log10().exp2();
    // `as` saturates; whole pages keep the addresses of chunks friendly.
    (target.clamp(8192.0, 1_048_576.0) as usize).next_multiple_of(4096)
}

/// The file being written: append-only until [`Output::publish`].
pub(in super::super) struct Output {
    pub(super) sink: BufWriter<NamedTempFile>,
    pub(super) end: u64,
    /// An earlier write failed, so the bytes on disk are not what `end` says.
    failed: bool,
}

impl Output {
    /// Makes a file that is to be called `path` and reserves the place of the superblock.
    pub(in super::super) fn create(path: &Path) -> io::Result<Self> {
        let file = temporary_file(path)?;
        let mut out = Self {
            sink: BufWriter::with_capacity(BUFFER_BYTES, file),
            end: 0,
            failed: false,
        };
        out.append(&[0; SUPERBLOCK_BYTES])?;
        Ok(out)
    }

    /// Appends a structure and returns its address.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        if self.failed {
            return Err(io::Error::other("an earlier write to this file failed"));
        }
        let address = self.end.next_multiple_of(ALIGNMENT_BYTES);
        let padding = (address - self.end) as usize;
        let written = self
            .sink
            .write_all(&[0; ALIGNMENT_BYTES as usize][..padding])
            .and_then(|()| self.sink.write_all(bytes));
        self.failed = written.is_err();
        written?;
        self.end = address + bytes.len() as u64;
        Ok(address)
    }

    /// Appends a chunk.
    pub(in super::super) fn put(&mut self, bytes: &[u8], is_raw: bool) -> io::Result<WrittenChunk> {
        Ok(WrittenChunk {
            address: self.append(bytes)?,
            stored_bytes: u32::try_from(bytes.len())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a chunk exceeds 4 GiB"))?,
            is_raw,
        })
    }

    /// Appends the data of a dataset without chunks.
    pub(in super::super) fn put_contiguous(&mut self, bytes: &[u8]) -> io::Result<Layout> {
        let size_bytes = bytes.len() as u64;
        let address = if bytes.is_empty() {
            UNDEFINED
        } else {
            self.append(bytes)?
        };
        Ok(Layout::Contiguous { address, size_bytes })
    }
}
