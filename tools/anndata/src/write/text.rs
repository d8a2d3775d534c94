//! Growing arrays of strings.

use std::io;

use super::hdf5::StringHeap;
use super::output::Output;
use super::purpose::Purpose;
use super::queue::Queue;
use super::stream::Stream;
use super::tree::{Attributes, Dataset, Datatype};

/// A growing array of UTF-8 strings of variable length.
pub(super) enum TextStream {
    /// HDF5: the strings go to a heap, the array holds references to them.
    Heap {
        heap: StringHeap,
        references: Vec<u8>,
        stream: Stream,
    },
    /// zarr: each chunk holds its strings, each after its length, and begins with their number.
    Lengths {
        chunk_len: u32,
        chunk: Vec<u8>,
        n_in_chunk: u32,
        len: u64,
        queue: Queue,
    },
}

impl TextStream {
    pub(super) fn new(out: &mut Output) -> Self {
        let purpose = Purpose::Column;
        if out.heap().is_some() {
            return Self::Heap {
                heap: StringHeap::default(),
                references: Vec::new(),
                stream: Stream::new(out, Datatype::Text, purpose),
            };
        }
        let usual = || (out.chunk_bytes(purpose, 1) / Datatype::Text.size_bytes()) as u32;
        Self::Lengths {
            chunk_len: out.chunk_len().unwrap_or_else(usual).max(1),
            chunk: Vec::new(),
            n_in_chunk: 0,
            len: 0,
            queue: Queue::new(purpose),
        }
    }

    /// Appends one string, which must not contain NUL: readers of HDF5 would cut it there.
    pub(super) fn push(&mut self, out: &mut Output, text: &str) -> io::Result<()> {
        match self {
            Self::Heap {
                heap,
                references,
                stream,
            } => {
                if let Some(file) = out.heap() {
                    heap.push(file, text, references)?;
                }
                pass_on(out, stream, references)
            }
            Self::Lengths {
                chunk_len,
                chunk,
                n_in_chunk,
                len,
                queue,
            } => {
                append(chunk, text)?;
                *n_in_chunk += 1;
                *len += 1;
                if *n_in_chunk == *chunk_len {
                    close(chunk, n_in_chunk, queue, out)?;
                    queue.end_of_batch(out)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is pending.
    pub(super) fn finish(self, out: &mut Output, attributes: Attributes) -> io::Result<Dataset> {
        match self {
            Self::Heap {
                mut heap,
                mut references,
                mut stream,
            } => {
                if let Some(file) = out.heap() {
                    heap.flush(file, &mut references)?;
                }
                pass_on(out, &mut stream, &mut references)?;
                stream.finish(out, false, attributes)
            }
            Self::Lengths {
                mut chunk_len,
                mut chunk,
                mut n_in_chunk,
                len,
                mut queue,
            } => {
                if queue.is_unused() {
                    chunk_len = (len as u32).max(1);
                }
                if n_in_chunk > 0 {
                    // The last chunk is full too, of empty strings.
                    while n_in_chunk < chunk_len {
                        append(&mut chunk, "")?;
                        n_in_chunk += 1;
                    }
                    close(&mut chunk, &mut n_in_chunk, &mut queue, out)?;
                }
                let chunks = queue.finish(out, 1)?;
                let stored = out.close(chunks, chunk_len, Datatype::Text.size_bytes(), 1)?;
                Ok(Dataset {
                    datatype: Datatype::Text,
                    len,
                    columns: None,
                    extendable: false,
                    attributes,
                    stored,
                })
            }
        }
    }
}

fn pass_on(out: &mut Output, stream: &mut Stream, references: &mut Vec<u8>) -> io::Result<()> {
    if !references.is_empty() {
        stream.push(out, references)?;
        references.clear();
    }
    Ok(())
}

fn append(chunk: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u32::try_from(text.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a string exceeds 4 GiB"))?;
    if chunk.is_empty() {
        // The place of their number.
        chunk.extend_from_slice(&[0; 4]);
    }
    chunk.extend_from_slice(&length.to_le_bytes());
    chunk.extend_from_slice(text.as_bytes());
    Ok(())
}

fn close(chunk: &mut Vec<u8>, n: &mut u32, queue: &mut Queue, out: &mut Output) -> io::Result<()> {
    chunk[..4].copy_from_slice(&n.to_le_bytes());
    queue.push(out, chunk, 1)?;
    chunk.clear();
    *n = 0;
    Ok(())
}
