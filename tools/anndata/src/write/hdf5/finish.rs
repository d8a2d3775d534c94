//! What completes a dataset, and the file.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use cellring_core::sync_directory;
use tempfile::NamedTempFile;

use super::error::Hdf5Error;
use super::layout::{Layout, UNDEFINED, WrittenChunk};
use super::output::{Output, SUPERBLOCK_BYTES};
use super::seal::seal;
use super::{index, object};
use crate::write::compress::Compression;
use crate::write::error::WriteErrorKind;
use crate::write::temporary::directory_of;
use crate::write::tree::Group;

impl Output {
    /// Writes the index of the chunks of a dataset.
    pub(in super::super) fn close(
        &mut self,
        chunks: &[WrittenChunk],
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
    pub(in super::super) fn publish(self, root: &Group, path: &Path) -> Result<(), WriteErrorKind> {
        let file = self.finish(root)?;
        file.as_file().sync_all()?;
        let file = file.persist(path).map_err(|error| error.error)?;
        // A process that this one is starting may hold a copy of the descriptor for a moment, and the lock with it: then closing the file would
        // not unlock it, and whoever reads it next would be refused.
        let _ = file.unlock();
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
