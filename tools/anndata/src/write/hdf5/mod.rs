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

mod error;
mod finish;
mod heap;
mod index;
mod layout;
mod object;
mod output;
mod seal;

pub(super) use heap::StringHeap;
pub(super) use layout::{Layout, REFERENCE_BYTES, WrittenChunk};
pub(super) use output::{Output, usual_chunk_bytes};
