//! The part of HDF5 and zarr that AnnData uses, behind a trait so that the parsers can be exchanged.
//!
//! A [`Container`] answers questions about names, attributes and the place of every chunk. Bulk data never passes through
//! it: [`Array`] and [`Grid`] read the chunks themselves, decode them in parallel and write them straight into the caller's
//! buffer. The chunks of zarr, each of which may be a file, are read and decoded by [`Foreign`].

mod absent;
mod array;
mod attribute;
mod deliver;
mod element;
mod fault;
mod file;
mod grid;
mod hdf5;
mod int;
mod limits;
mod regular;
mod stored;
mod translate;
mod zarr;

use std::ops::Range;
use std::sync::Arc;

use cellring_core::ValueType;
use cellring_filters::Filter;

pub use absent::AbsentChunks;
pub(crate) use array::Array;
pub(crate) use attribute::Attribute;
pub(crate) use element::{Class, ElementType, Enumeration, Member, Padding};
pub(crate) use fault::Fault;
pub(crate) use file::SourceFile;
pub(crate) use grid::Grid;
pub(crate) use int::IntKind;
pub(crate) use regular::open_regular;
pub(crate) use stored::stored_value_type;
pub use stored::{StoredArray, StoredChunk, StoredExtents, StoredRun, Watched};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Dataset,
}

/// Place of one chunk of a one-dimensional dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// First element it holds.
    pub(crate) first: u64,
    /// Byte offset in the file.
    pub(crate) offset_bytes: u64,
    /// Bytes stored in the file, after filters; 0 where the index does not say (no filters).
    pub(crate) stored_bytes: u64,
    /// Bit i set: filter i was not applied to this chunk.
    pub(crate) filter_mask: u32,
}

/// Place of one tile of a two-dimensional dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// First row and column it holds.
    pub(crate) row: u64,
    pub(crate) column: u64,
    /// As for a [`Chunk`].
    pub(crate) offset_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) filter_mask: u32,
}

/// A dataset that does not lie in one file: whoever keeps it reads it.
pub(crate) trait Foreign: std::fmt::Debug + Send + Sync {
    /// Reads rows `range` (of one dimension: elements), whole; numbers in the byte order that the element names.
    fn read(&self, range: Range<u64>, place: &mut [u8]) -> Result<(), Fault>;
    /// Reads rows `range` of a dataset of strings, of at most so many bytes together.
    fn read_text(&self, range: Range<u64>, most_bytes: u64) -> Result<Vec<String>, Fault>;
    /// Rows that are decoded together at the least.
    fn rows_together(&self) -> u64;
    /// Bytes of what is decoded together.
    fn chunk_bytes(&self) -> u64;
    /// Memory that is held from one call to the next, besides a chunk.
    fn held_bytes(&self) -> u64;
    /// Where the row is, for messages.
    fn place_of(&self, row: u64) -> String;
    /// Where its elements, of this type, are in files, for those who read them there themselves.
    ///
    /// # Errors
    /// In one clause, why they cannot be read there.
    fn stored(&self, value_type: ValueType) -> Result<StoredArray, String>;
    /// Chunks that are not there, and how many there should be.
    fn absent_chunks(&self) -> (u64, u64);
    /// The bytes that say where its chunks are, and those of the chunks too if it is `whole`.
    fn watched(&self, whole: bool) -> Vec<Watched>;
}

/// Where the elements of a dataset lie.
#[derive(Clone, Debug)]
pub(crate) enum Placement {
    /// In the object header.
    Inline(Vec<u8>),
    /// In one extent; `None`: never written, so that every element is the fill value.
    Contiguous { offset_bytes: Option<u64> },
    /// One-dimensional chunks, ascending; absent ones hold the fill value.
    Chunked { chunk_elements: u64, chunks: Vec<Chunk> },
    /// Two-dimensional tiles, ascending by row, then column; absent ones hold the fill value.
    Tiled {
        tile_rows: u64,
        tile_columns: u64,
        tiles: Vec<Tile>,
    },
    /// Tiles of more than two dimensions, which are not located.
    Unlocated,
    /// Somewhere else.
    Foreign(Arc<dyn Foreign>),
}

/// Everything needed to read a dataset without the parser.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) shape: Vec<u64>,
    pub(crate) element: ElementType,
    pub(crate) placement: Placement,
    pub(crate) filters: Vec<Filter>,
    pub(crate) fill: Option<Vec<u8>>,
    /// The bytes of the file that say so; nothing of what is foreign.
    pub(crate) said_by: Vec<Range<u64>>,
}

/// Reads the structure of an input.
///
/// Paths are relative to the root, without a leading slash; the empty path is the root.
pub(crate) trait Container: Send + Sync {
    /// What `path` names, or `None` when it does not exist.
    fn kind(&self, path: &str) -> Result<Option<Kind>, Fault>;
    /// Names of the groups and datasets directly in a group.
    fn members(&self, group: &str) -> Result<Vec<String>, Fault>;
    /// Names of the links in a group that lead to neither a group nor a dataset of this container: to another file, nowhere, or to a type.
    fn links_elsewhere(&self, _group: &str) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
    /// An attribute of a group or dataset, or `None` when it does not exist.
    fn attribute(&self, path: &str, kind: Kind, name: &str) -> Result<Option<Attribute>, Fault>;
    /// Shape, type and place of a dataset.
    fn describe(&self, dataset: &str) -> Result<Description, Fault>;
    /// The bytes a variable-length string element refers to.
    fn resolve(&self, reference: &[u8]) -> Result<Vec<u8>, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_removed_as_its_kind_says() {
        assert_eq!(Padding::NulTerminated.trim(b"ab\0c\0"), b"ab");
        assert_eq!(Padding::NulTerminated.trim(b"abc"), b"abc");
        assert_eq!(Padding::Nul.trim(b"ab\0c\0\0"), b"ab\0c");
        assert_eq!(Padding::Space.trim(b"a b  "), b"a b");
        for padding in [Padding::NulTerminated, Padding::Nul, Padding::Space] {
            assert_eq!(padding.trim(b""), b"");
        }
        assert_eq!(Padding::Nul.trim(b"\0\0"), b"");
        assert_eq!(Padding::Space.trim(b"   "), b"");
    }
}
