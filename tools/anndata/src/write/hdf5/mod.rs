//! The small part of the HDF5 file format that an `.h5ad` needs, written front to back.
//!
//! The file is a version 2 superblock, then raw data, chunk indexes and string heaps in the order in which they become
//! complete, then the object headers, children before parents. Only the superblock is written late, at its reserved
//! place, because it holds the address of the root group: a file whose writer died has no superblock at all and no
//! reader takes it for a whole one. Datasets grow in chunks (index: version 1 B-tree, which HDF5 1.6 and later read),
//! so neither their lengths nor their order of arrival need to be known beforehand; a dataset that fits one chunk
//! becomes a contiguous one.
//!
//! Field layouts follow the "HDF5 File Format Specification Version 3.0" of The HDF Group; the section that
//! defines a structure is named where it is written.

mod heap;
mod index;
mod object;

pub(super) use heap::{REFERENCE_BYTES, StringHeap};

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use cellring::writer::sync_directory;
use hdf5_core::jenkins_lookup3;
use tempfile::NamedTempFile;

use super::compress::Compression;
use super::error::WriteErrorKind;
use super::temporary::temporary_file;
use super::tree::Group;
use crate::write::temporary::directory_of;

#[cfg(target_endian = "big")]
compile_error!("arrays are written as they lie in memory and declared little-endian");

/// The address that means "nowhere".
const UNDEFINED: u64 = u64::MAX;
/// Structures start at multiples of this.
const ALIGNMENT_BYTES: u64 = 8;
/// Version 2 superblock, checksum included.
const SUPERBLOCK_BYTES: usize = 48;
/// Writes are gathered to this size.
const BUFFER_BYTES: usize = 1 << 20;

/// Why the file could not be completed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hdf5Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{what} needs {bytes} bytes in an object header, which holds at most 65535")]
    MessageTooLarge { what: String, bytes: usize },
}

/// A chunk in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    address: u64,
    stored_bytes: u32,
    /// Whether it skipped the dataset's filter, if that has one.
    is_raw: bool,
}

/// Where the elements of a dataset lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
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

/// Size of the chunks of a dataset of `len` elements: what h5py guesses for a file that anndata writes, roughly.
///
/// h5py aims at 16 KiB for 1 MiB of data and doubles that with each power of ten, between 8 KiB and 1 MiB. So a
/// reader meets the chunks here that it meets in files from Python. An unknown length counts as a large one.
pub(super) fn usual_chunk_bytes(len: Option<u64>, element_bytes: usize) -> usize {
    let mebibytes = len.unwrap_or(1 << 32) as f64 * element_bytes as f64 / (1 << 20) as f64;
    let target = 16384.0 * mebibytes.max(f64::MIN_POSITIVE).log10().exp2();
    // `as` saturates; whole pages keep the addresses of chunks friendly.
    (target.clamp(8192.0, 1_048_576.0) as usize).next_multiple_of(4096)
}

/// The file being written: append-only until [`Output::publish`].
pub(super) struct Output {
    sink: BufWriter<NamedTempFile>,
    end: u64,
    /// An earlier write failed, so the bytes on disk are not what `end` says.
    failed: bool,
}

impl Output {
    /// Makes a file that is to be called `path` and reserves the place of the superblock.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
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
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
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
    pub(super) fn put(&mut self, bytes: &[u8], is_raw: bool) -> io::Result<Chunk> {
        Ok(Chunk {
            address: self.append(bytes)?,
            stored_bytes: u32::try_from(bytes.len())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a chunk exceeds 4 GiB"))?,
            is_raw,
        })
    }

    /// Appends the data of a dataset without chunks.
    pub(super) fn put_contiguous(&mut self, bytes: &[u8]) -> io::Result<Layout> {
        let size_bytes = bytes.len() as u64;
        let address = if bytes.is_empty() {
            UNDEFINED
        } else {
            self.append(bytes)?
        };
        Ok(Layout::Contiguous { address, size_bytes })
    }

    /// Writes the index of the chunks of a dataset.
    pub(super) fn close(
        &mut self,
        chunks: &[Chunk],
        chunk_len: u32,
        chunk_bytes: u32,
        rank: usize,
        compression: Compression,
    ) -> io::Result<Layout> {
        Ok(Layout::Chunked {
            index: match chunks {
                [] => UNDEFINED,
                _ => index::write_chunk_index(self, chunks, chunk_len, rank)?,
            },
            chunk_len,
            chunk_bytes,
            compression,
        })
    }

    /// Completes and syncs the file, and gives it its name, replacing a file of that name.
    pub(super) fn publish(self, root: &Group, path: &Path) -> Result<(), WriteErrorKind> {
        let file = self.finish(root)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The name itself is durable once the directory is synced.
        Ok(sync_directory(directory_of(path))?)
    }

    /// Writes the object headers and the superblock.
    fn finish(mut self, root: &Group) -> Result<NamedTempFile, Hdf5Error> {
        let root_address = object::write(root, &mut self)?;
        // Superblock, version 2 (specification: II.A).
        let mut superblock = Vec::with_capacity(SUPERBLOCK_BYTES);
        superblock.extend_from_slice(b"\x89HDF\r\n\x1a\n");
        superblock.extend_from_slice(&[2, 8, 8, 0]); // version, bytes of an address, bytes of a length, no flags
        superblock.extend_from_slice(&0u64.to_le_bytes()); // base address
        superblock.extend_from_slice(&UNDEFINED.to_le_bytes()); // no extension
        superblock.extend_from_slice(&self.end.to_le_bytes());
        superblock.extend_from_slice(&root_address.to_le_bytes());
        seal(&mut superblock);
        self.sink.seek(SeekFrom::Start(0))?;
        self.sink.write_all(&superblock)?;
        Ok(self.sink.into_inner().map_err(|e| e.into_error())?)
    }
}

/// Appends the checksum that ends every checksummed structure.
fn seal(bytes: &mut Vec<u8>) {
    let checksum = jenkins_lookup3(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}
