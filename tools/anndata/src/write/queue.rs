//! Chunks on their way to the file: compressed several at a time, written in order.

use std::io;

use rayon::prelude::*;

use super::compress::{Compression, Encoder};
use super::output::{Chunks, Output};
use super::purpose::Purpose;

/// Chunks of a matrix wait until there are so many bytes of them, so that all threads have work.
const MATRIX_BYTES: usize = 16 << 20;

/// The chunks of one array.
pub(super) struct Queue {
    limit_bytes: usize,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    chunks: Option<Chunks>,
}

impl Queue {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            // Of a table there are as many as it has columns: nothing stays behind there.
            limit_bytes: match purpose {
                Purpose::Column => 0,
                Purpose::Matrix(_) => MATRIX_BYTES,
            },
            waiting: Vec::new(),
            waiting_bytes: 0,
            chunks: None,
        }
    }

    /// Whether no chunk has come yet.
    pub(super) fn is_unused(&self) -> bool {
        self.chunks.is_none() && self.waiting.is_empty()
    }

    /// Takes the next chunk of an array of `rank` dimensions.
    pub(super) fn push(&mut self, out: &mut Output, chunk: &[u8], rank: usize) -> io::Result<()> {
        if self.chunks.is_none() {
            self.chunks = Some(out.begin(rank)?);
        }
        if out.compression() == Compression::None {
            return match &mut self.chunks {
                Some(chunks) => out.put(chunks, chunk, true),
                None => Ok(()),
            };
        }
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk.to_vec());
        if self.limit_bytes > 0 && self.waiting_bytes >= self.limit_bytes {
            self.flush(out)?;
        }
        Ok(())
    }

    /// To be called once no more comes for now.
    pub(super) fn end_of_batch(&mut self, out: &mut Output) -> io::Result<()> {
        match self.limit_bytes {
            0 => self.flush(out),
            _ => Ok(()),
        }
    }

    /// Compresses and writes all that waits.
    fn flush(&mut self, out: &mut Output) -> io::Result<()> {
        let (Some(chunks), false) = (&mut self.chunks, self.waiting.is_empty()) else {
            return Ok(());
        };
        let (compression, wrapping) = (out.compression(), out.wrapping());
        let encode = |encoder: &mut io::Result<Encoder>, chunk: &Vec<u8>| match encoder {
            Ok(encoder) => encoder.encode(chunk),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let encoded = self
            .waiting
            .par_iter()
            .map_init(|| Encoder::new(compression, wrapping), encode)
            .collect::<io::Result<Vec<_>>>()?;
        for (raw, encoded) in self.waiting.drain(..).zip(encoded) {
            // HDF5 marks a chunk that did not shrink and keeps it as it was; zarr knows no such mark.
            match encoded {
                Some(encoded) if encoded.len() < raw.len() || !out.has_raw_chunks() => {
                    out.put(chunks, &encoded, false)?;
                }
                _ => out.put(chunks, &raw, true)?,
            }
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Writes all that waits and returns the chunks, of which there may be none.
    pub(super) fn finish(mut self, out: &mut Output, rank: usize) -> io::Result<Chunks> {
        self.flush(out)?;
        match self.chunks {
            Some(chunks) => Ok(chunks),
            None => out.begin(rank),
        }
    }
}
