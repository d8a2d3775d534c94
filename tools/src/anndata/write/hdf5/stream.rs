//! Datasets that grow along their first dimension while the file is written.

use std::io;

use super::{Attribute, Dataset, Datatype, Layout, Output, UNDEFINED};

/// Most children of a B-tree node: twice the rank that readers assume when a superblock names none (II.A, III.A.1).
const NODE_CHILDREN: usize = 64;

/// Bytes of a node of a chunk index, whose keys are: stored size, filter mask, an offset for each of `rank` dimensions, and a
/// closing 0. Readers load a node at its full size, however few children it has.
const fn node_bytes(rank: usize) -> usize {
    24 + NODE_CHILDREN * 8 + (NODE_CHILDREN + 1) * (16 + 8 * rank)
}

/// A growing dataset. Holds at most one chunk in memory, and 8 bytes for every chunk written.
pub(in super::super) struct Stream {
    datatype: Datatype,
    /// Elements, or rows where there are columns.
    chunk_len: u32,
    columns: Option<u32>,
    /// The chunk being filled.
    pending: Vec<u8>,
    chunks: Vec<u64>,
    len: u64,
}

impl Stream {
    /// An empty dataset that will be written in chunks of about `chunk_bytes` bytes.
    pub(in super::super) fn new(datatype: Datatype, chunk_bytes: usize) -> Self {
        let chunk_len = (chunk_bytes / datatype.size_bytes()).clamp(1, u32::MAX as usize / 16) as u32;
        Self {
            datatype,
            chunk_len,
            columns: None,
            pending: Vec::new(),
            chunks: Vec::new(),
            len: 0,
        }
    }

    /// An empty dataset of two dimensions, which grows by rows.
    pub(in super::super) fn with_columns(datatype: Datatype, chunk_bytes: usize, columns: u32) -> Self {
        let row_bytes = datatype.size_bytes().saturating_mul(columns as usize).max(1);
        Self {
            chunk_len: (chunk_bytes / row_bytes).max(1) as u32,
            columns: Some(columns),
            ..Self::new(datatype, chunk_bytes)
        }
    }

    /// Number of elements so far.
    pub(in super::super) fn len(&self) -> u64 {
        self.len
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk_len as usize * self.columns.unwrap_or(1) as usize * self.datatype.size_bytes()
    }

    /// Appends elements, given as they lie in memory.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of elements.
    pub(in super::super) fn push(&mut self, out: &mut Output, mut bytes: &[u8]) -> io::Result<()> {
        assert!(
            bytes.len().is_multiple_of(self.datatype.size_bytes()),
            "half an element"
        );
        self.len += (bytes.len() / self.datatype.size_bytes()) as u64;
        let chunk_bytes = self.chunk_bytes();
        while !bytes.is_empty() {
            if self.pending.is_empty() && bytes.len() >= chunk_bytes {
                let (chunk, rest) = bytes.split_at(chunk_bytes);
                self.chunks.push(out.append(chunk)?);
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(chunk_bytes - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() == chunk_bytes {
                self.chunks.push(out.append(&self.pending)?);
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Writes what is pending and, for a chunked dataset, its index.
    ///
    /// An `extendable` dataset is always chunked, so that other programs can append to it; another one is contiguous
    /// when it fits one chunk.
    pub(in super::super) fn finish(
        mut self,
        out: &mut Output,
        extendable: bool,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> io::Result<Dataset> {
        let layout = if self.chunks.is_empty() && !extendable {
            let size_bytes = self.pending.len() as u64;
            let address = if size_bytes == 0 {
                UNDEFINED
            } else {
                out.append(&self.pending)?
            };
            Layout::Contiguous { address, size_bytes }
        } else {
            let chunk_bytes = self.chunk_bytes();
            if !self.pending.is_empty() {
                // The last chunk has its full size in the file; what lies beyond the dataset is padding.
                self.pending.resize(chunk_bytes, 0);
                self.chunks.push(out.append(&self.pending)?);
            }
            let index = if self.chunks.is_empty() {
                UNDEFINED
            } else {
                write_chunk_index(out, &self, chunk_bytes as u32)?
            };
            Layout::Chunked {
                index,
                chunk_len: self.chunk_len,
            }
        };
        Ok(Dataset {
            datatype: self.datatype,
            len: self.len / u64::from(self.columns.unwrap_or(1).max(1)),
            columns: self.columns,
            extendable,
            layout,
            attributes,
        })
    }
}

/// Writes a version 1 B-tree over the chunks of a dataset (III.A.1) and returns its root's address.
fn write_chunk_index(out: &mut Output, stream: &Stream, chunk_bytes: u32) -> io::Result<u64> {
    let (chunks, chunk_len) = (&stream.chunks, stream.chunk_len);
    let rank = 1 + usize::from(stream.columns.is_some());
    let node_bytes = node_bytes(rank);
    let mut children = chunks.to_vec();
    // Chunks below one child of the level being written.
    let mut span = 1u64;
    for level in 0u8.. {
        let n_nodes = children.len().div_ceil(NODE_CHILDREN);
        let mut nodes = Vec::with_capacity(n_nodes);
        for (position, group) in children.chunks(NODE_CHILDREN).enumerate() {
            // Nodes of a level lie one after the other, so the neighbours' places are known.
            let here = out.end.next_multiple_of(super::ALIGNMENT_BYTES);
            let left = if position == 0 {
                UNDEFINED
            } else {
                here - node_bytes as u64
            };
            let right = if position + 1 == n_nodes {
                UNDEFINED
            } else {
                here + node_bytes as u64
            };
            let mut node = Vec::with_capacity(node_bytes);
            node.extend_from_slice(b"TREE");
            node.extend_from_slice(&[1, level]); // 1: the tree indexes chunks of raw data
            node.extend_from_slice(&(group.len() as u16).to_le_bytes());
            node.extend_from_slice(&left.to_le_bytes());
            node.extend_from_slice(&right.to_le_bytes());
            let first = (position * NODE_CHILDREN) as u64;
            let key = |node: &mut Vec<u8>, child: u64| {
                let chunk = (child * span).min(chunks.len() as u64);
                let stored_bytes = if chunk == chunks.len() as u64 {
                    0
                } else {
                    chunk_bytes
                };
                node.extend_from_slice(&stored_bytes.to_le_bytes());
                node.extend_from_slice(&0u32.to_le_bytes());
                node.extend_from_slice(&(chunk * u64::from(chunk_len)).to_le_bytes());
                // Chunks span all columns; then the closing 0.
                node.resize(node.len() + 8 * rank, 0);
            };
            for (child, address) in (first..).zip(group) {
                key(&mut node, child);
                node.extend_from_slice(&address.to_le_bytes());
            }
            key(&mut node, first + group.len() as u64);
            node.resize(node_bytes, 0);
            nodes.push(out.append(&node)?);
        }
        if let [root] = nodes[..] {
            return Ok(root);
        }
        children = nodes;
        span *= NODE_CHILDREN as u64;
    }
    unreachable!("each level has at most a 64th of the nodes of the one below, rounded up")
}
