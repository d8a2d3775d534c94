//! Arrays that grow along their first dimension while the file is written.

use std::io;

use super::output::{Chunks, Output};
use super::purpose::Purpose;
use super::queue::Queue;
use super::tree::{Attributes, Dataset, Datatype};

/// A growing array of numbers or bools, or of HDF5's references to strings. Holds at most one chunk in memory, those that wait for being compressed
/// together, and 16 bytes for each chunk written.
pub(super) struct Stream {
    datatype: Datatype,
    /// Elements, or rows where there are columns.
    chunk_len: u32,
    columns: Option<u32>,
    /// The chunk being filled.
    pending: Vec<u8>,
    queue: Queue,
    len: u64,
}

impl Stream {
    /// An empty array.
    pub(super) fn new(out: &Output, datatype: Datatype, purpose: Purpose) -> Self {
        let element_bytes = datatype.size_bytes();
        let chunk_len = match (out.chunk_len(), purpose) {
            (None, purpose) => out.chunk_bytes(purpose, element_bytes) / element_bytes,
            (Some(len), Purpose::Matrix(Some(known))) => (len as usize).min(known.max(1) as usize),
            (Some(len), _) => len as usize,
        };
        Self {
            datatype,
            chunk_len: chunk_len.clamp(1, u32::MAX as usize / 16) as u32,
            columns: None,
            pending: Vec::new(),
            queue: Queue::new(purpose),
            len: 0,
        }
    }

    /// An empty array of two dimensions, which grows by rows. Its chunks are whole rows of about as many elements as those of an
    /// array of one dimension have.
    pub(super) fn with_columns(out: &Output, datatype: Datatype, purpose: Purpose, columns: u32) -> Self {
        let flat = Self::new(out, datatype, purpose);
        Self {
            chunk_len: (flat.chunk_len / columns.max(1)).max(1),
            columns: Some(columns),
            ..flat
        }
    }

    /// Number of elements so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn row_bytes(&self) -> usize {
        self.columns.unwrap_or(1) as usize * self.datatype.size_bytes()
    }

    /// Appends elements, given as they lie in memory.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of elements.
    pub(super) fn push(&mut self, out: &mut Output, mut bytes: &[u8]) -> io::Result<()> {
        assert!(
            bytes.len().is_multiple_of(self.datatype.size_bytes()),
            "half an element"
        );
        self.len += (bytes.len() / self.datatype.size_bytes()) as u64;
        let chunk_bytes = self.chunk_len as usize * self.row_bytes();
        while !bytes.is_empty() {
            if self.pending.is_empty() && bytes.len() >= chunk_bytes {
                let (chunk, rest) = bytes.split_at(chunk_bytes);
                self.queue.push(out, chunk, self.rank())?;
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(chunk_bytes - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() == chunk_bytes {
                self.queue.push(out, &self.pending, self.rank())?;
                self.pending.clear();
            }
        }
        self.queue.end_of_batch(out)
    }

    fn rank(&self) -> usize {
        1 + usize::from(self.columns.is_some())
    }

    /// As [`finish`](Self::finish), for an array of `n_rows` rows, which may have no columns.
    pub(super) fn finish_rows(
        self,
        out: &mut Output,
        n_rows: u64,
        attributes: Attributes,
    ) -> io::Result<Dataset> {
        let dataset = self.finish(out, false, attributes)?;
        Ok(Dataset {
            len: n_rows,
            ..dataset
        })
    }

    /// Writes what is pending and, in HDF5, the index of the chunks.
    ///
    /// An `extendable` array of HDF5 is always chunked, so that other programs can append to it; another one that fits one
    /// chunk is contiguous, or has one chunk of its own length where chunks are compressed.
    pub(super) fn finish(
        mut self,
        out: &mut Output,
        extendable: bool,
        attributes: Attributes,
    ) -> io::Result<Dataset> {
        let rank = self.rank();
        let row_bytes = self.row_bytes();
        let n_rows = self.len / u64::from(self.columns.unwrap_or(1).max(1));
        let stored = if self.queue.is_unused() && out.is_contiguous(self.pending.is_empty(), extendable) {
            out.put_contiguous(&self.pending)?
        } else {
            if self.queue.is_unused() && out.may_shrink(extendable) {
                self.chunk_len = u32::try_from(n_rows).unwrap_or(u32::MAX).clamp(1, self.chunk_len);
            }
            if !self.pending.is_empty() {
                // The last chunk has its full size; what lies beyond the array is padding.
                self.pending.resize(self.chunk_len as usize * row_bytes, 0);
                self.queue.push(out, &self.pending, rank)?;
            }
            let chunks: Chunks = self.queue.finish(out, rank)?;
            out.close(chunks, self.chunk_len, row_bytes, rank)?
        };
        Ok(Dataset {
            datatype: self.datatype,
            len: n_rows,
            columns: self.columns,
            extendable,
            attributes,
            stored,
        })
    }
}
