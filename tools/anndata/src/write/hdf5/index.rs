//! The index of a dataset's chunks.

use std::io;

use super::layout::{UNDEFINED, WrittenChunk};
use super::output::{ALIGNMENT_BYTES, Output};

/// Most children of a B-tree node: twice the rank that readers assume when a superblock names none (II.A, III.A.1).
const NODE_CHILDREN: usize = 64;

/// Bytes of a node of a chunk index, whose keys are: stored size, filter mask, an offset for each of `rank` dimensions, and a
/// closing 0. Readers load a node at its full size, however few children it has.
const fn node_bytes(rank: usize) -> usize {
    24 + NODE_CHILDREN * 8 + (NODE_CHILDREN + 1) * (16 + 8 * rank)
}

/// Writes a version 1 B-tree over the chunks of a dataset (III.A.1) and returns its root's address.
pub(super) fn write_chunk_index(
    out: &mut Output,
    chunks: &[WrittenChunk],
    chunk_len: u32,
    rank: usize,
) -> io::Result<u64> {
    let node_bytes = node_bytes(rank);
    let mut children: Vec<u64> = chunks.iter().map(|chunk| chunk.address).collect();
    // Chunks below one child of the level being written.
    let mut span = 1u64;
    for level in 0u8.. {
        let n_nodes = children.len().div_ceil(NODE_CHILDREN);
        let mut nodes = Vec::with_capacity(n_nodes);
        for (position, group) in children.chunks(NODE_CHILDREN).enumerate() {
            // Nodes of a level lie one after the other, so the neighbours' places are known.
            let here = out.end.next_multiple_of(ALIGNMENT_BYTES);
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
                let (stored_bytes, skipped_filters) = match chunks.get(chunk as usize) {
                    Some(chunk) => (chunk.stored_bytes, u32::from(chunk.is_raw)),
                    None => (0, 0),
                };
                node.extend_from_slice(&stored_bytes.to_le_bytes());
                node.extend_from_slice(&skipped_filters.to_le_bytes());
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
