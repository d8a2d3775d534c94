//! Where arrays and groups go: an HDF5 file or a zarr directory. All that differs between the two is behind this.

use std::io;
use std::path::Path;

use super::compress::{Compression, Wrapping};
use super::error::WriteErrorKind;
use super::hdf5;
use super::options::{Container, WriteOptions};
use super::purpose::Purpose;
use super::tree::{Group, Stored};
use super::zarr;

/// Columns of tables are written in chunks of this size in HDF5; a shorter column is contiguous.
const HDF5_COLUMN_BYTES: usize = 128 << 10;
/// In zarr a chunk is a file.
const ZARR_COLUMN_BYTES: usize = 1 << 20;

/// A data set that is being written: append-only until [`Output::publish`].
pub(super) struct Output {
    sink: Sink,
    options: WriteOptions,
}

enum Sink {
    Hdf5(hdf5::Output),
    Zarr(zarr::Output),
}

/// The chunks of an array that are in the file.
pub(super) enum Chunks {
    Hdf5(Vec<hdf5::WrittenChunk>),
    Zarr(zarr::Chunks),
}

impl Output {
    /// Begins a data set beside `path`, under a temporary name.
    pub(super) fn create(path: &Path, options: WriteOptions) -> io::Result<Self> {
        let sink = match options.container {
            Container::Hdf5 => Sink::Hdf5(hdf5::Output::create(path)?),
            Container::Zarr(format) => Sink::Zarr(zarr::Output::create(path, format)?),
        };
        Ok(Self { sink, options })
    }

    pub(super) fn compression(&self) -> Compression {
        self.options.compression()
    }

    pub(super) fn chunk_len(&self) -> Option<u32> {
        self.options.chunk_len
    }

    pub(super) fn wrapping(&self) -> Wrapping {
        match self.sink {
            Sink::Hdf5(_) => Wrapping::Zlib,
            Sink::Zarr(_) => Wrapping::Gzip,
        }
    }

    /// Whether a chunk may be left as it is where others are compressed.
    pub(super) fn has_raw_chunks(&self) -> bool {
        matches!(self.sink, Sink::Hdf5(_))
    }

    /// The file, where strings lie in a heap.
    pub(super) fn heap(&mut self) -> Option<&mut hdf5::Output> {
        match &mut self.sink {
            Sink::Hdf5(file) => Some(file),
            Sink::Zarr(_) => None,
        }
    }

    /// Size of the chunks of an array unless another one is asked for.
    pub(super) fn chunk_bytes(&self, purpose: Purpose, element_bytes: usize) -> usize {
        match (&self.sink, purpose) {
            (Sink::Hdf5(_), Purpose::Column) => HDF5_COLUMN_BYTES,
            (Sink::Zarr(_), Purpose::Column) => ZARR_COLUMN_BYTES,
            (Sink::Hdf5(_), Purpose::Matrix(len)) => hdf5::usual_chunk_bytes(len, element_bytes),
            (Sink::Zarr(_), Purpose::Matrix(len)) => zarr::usual_chunk_bytes(len, element_bytes),
        }
    }

    /// Whether an array of which no chunk is written yet is to have none.
    pub(super) fn is_contiguous(&self, is_empty: bool, extendable: bool) -> bool {
        let plain = is_empty || self.compression() == Compression::None;
        matches!(self.sink, Sink::Hdf5(_)) && !extendable && plain
    }

    /// Whether the only chunk of an array may be as short as the array.
    pub(super) fn may_shrink(&self, extendable: bool) -> bool {
        !extendable || matches!(self.sink, Sink::Zarr(_))
    }

    /// Begins the chunks of an array.
    pub(super) fn begin(&mut self, rank: usize) -> io::Result<Chunks> {
        Ok(match &mut self.sink {
            Sink::Hdf5(_) => Chunks::Hdf5(Vec::new()),
            Sink::Zarr(directory) => Chunks::Zarr(directory.begin(rank)?),
        })
    }

    /// Writes the next chunk, compressed or raw.
    pub(super) fn put(&mut self, chunks: &mut Chunks, bytes: &[u8], is_raw: bool) -> io::Result<()> {
        match (&mut self.sink, chunks) {
            (Sink::Hdf5(file), Chunks::Hdf5(chunks)) => {
                chunks.push(file.put(bytes, is_raw)?);
                Ok(())
            }
            (Sink::Zarr(_), Chunks::Zarr(chunks)) => chunks.put(bytes),
            _ => unreachable!("chunks lie where they were begun"),
        }
    }

    /// Writes an array that has no chunks; only for HDF5.
    pub(super) fn put_contiguous(&mut self, bytes: &[u8]) -> io::Result<Stored> {
        match &mut self.sink {
            Sink::Hdf5(file) => Ok(Stored::Hdf5(file.put_contiguous(bytes)?)),
            Sink::Zarr(_) => unreachable!("arrays of zarr have chunks"),
        }
    }

    /// Completes an array: chunks of `chunk_len` rows of `row_bytes` bytes.
    pub(super) fn close(
        &mut self,
        chunks: Chunks,
        chunk_len: u32,
        row_bytes: usize,
        rank: usize,
    ) -> io::Result<Stored> {
        let compression = self.compression();
        match (&mut self.sink, chunks) {
            (Sink::Hdf5(file), Chunks::Hdf5(chunks)) => {
                let chunk_bytes = (chunk_len as usize * row_bytes) as u32;
                let layout = file.close(&chunks, chunk_len, chunk_bytes, rank, compression)?;
                Ok(Stored::Hdf5(layout))
            }
            (Sink::Zarr(_), Chunks::Zarr(chunks)) => Ok(Stored::Zarr(chunks.close(chunk_len, compression))),
            _ => unreachable!("chunks lie where they were begun"),
        }
    }

    /// Writes the tree, syncs all, and gives the data set its name, in place of what had it.
    pub(super) fn publish(self, root: &Group, path: &Path) -> Result<(), WriteErrorKind> {
        match self.sink {
            Sink::Hdf5(file) => file.publish(root, path),
            Sink::Zarr(directory) => directory.publish(root, path),
        }
    }
}
