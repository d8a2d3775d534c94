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
mod object;
mod stream;

pub(super) use heap::TextStream;
pub(super) use object::{Attribute, Dataset, Datatype, Group, Layout, Node};
pub(super) use stream::Stream;

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use hdf5_core::jenkins_lookup3;
use tempfile::NamedTempFile;

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

/// The file being written: append-only until [`Output::finish`].
pub(super) struct Output {
    sink: BufWriter<NamedTempFile>,
    end: u64,
    /// An earlier write failed, so the bytes on disk are not what `end` says.
    failed: bool,
}

impl Output {
    /// Takes an empty file and reserves the place of the superblock.
    pub(super) fn new(file: NamedTempFile) -> io::Result<Self> {
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

    /// Writes the object headers and the superblock, and hands back the complete file, not yet synced.
    pub(super) fn finish(mut self, root: &Group) -> Result<NamedTempFile, Hdf5Error> {
        let root_address = root.write(&mut self)?;
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
