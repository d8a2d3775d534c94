//! The part of HDF5 and zarr that AnnData uses, behind a trait so that the parsers can be exchanged.
//!
//! A [`Container`] answers questions about names, attributes and the place of every chunk. Bulk data never passes through
//! it: [`Array`] and [`Grid`] read the chunks themselves, decode them in parallel and write them straight into the caller's
//! buffer. The chunks of zarr are decoded by its library, which is behind [`Foreign`].

mod array;
mod bitshuffle;
mod deliver;
mod file;
mod filter;
mod grid;
mod hdf5;
mod int;
mod zarr;
mod zarr_array;
mod zip_check;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use array::Array;
pub(crate) use file::SourceFile;
pub(crate) use grid::Grid;
pub(crate) use int::IntKind;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Dataset,
}

/// Value of an attribute, as far as AnnData needs it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Text(Vec<String>),
    Int(Vec<i64>),
    Bool(bool),
    /// An array without elements, of whatever type.
    Empty,
    Other,
}

/// How the strings of a fixed-width dataset are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// The text ends at the first NUL.
    NulTerminated,
    /// NULs follow the text.
    Nul,
    /// Spaces follow the text.
    Space,
}

/// Class of the elements of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Int {
        signed: bool,
    },
    Float,
    /// A one-byte enum of FALSE and TRUE.
    Bool,
    FixedText(Padding),
    /// Four bytes per character, as numpy keeps text (zarr only).
    FixedUnicode,
    /// References into the global heap.
    VarText,
    /// Records of several members (the tables of AnnData before 0.7).
    Compound(Vec<Member>),
    /// Anything else, named.
    Other(String),
}

/// One member of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset_bytes: usize,
    pub(crate) element: Element,
}

/// Element type of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) class: Class,
    pub(crate) size_bytes: usize,
    pub(crate) big_endian: bool,
}

impl Element {
    /// The name numpy would give this type.
    pub(crate) fn name(&self) -> String {
        let bits = 8 * self.size_bytes;
        let order = if self.big_endian && self.size_bytes > 1 {
            "big-endian "
        } else {
            ""
        };
        match &self.class {
            Class::Int { signed: true } => format!("{order}int{bits}"),
            Class::Int { signed: false } => format!("{order}uint{bits}"),
            Class::Float => format!("{order}float{bits}"),
            Class::Bool => "bool".to_owned(),
            Class::FixedText(_) | Class::FixedUnicode => {
                format!("fixed strings of {} bytes", self.size_bytes)
            }
            Class::VarText => "variable-length strings".to_owned(),
            Class::Compound(_) => "compound records".to_owned(),
            Class::Other(name) => name.clone(),
        }
    }
}

/// One filter of a dataset's pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) id: u16,
    pub(crate) name: Option<String>,
    pub(crate) client_data: Vec<u32>,
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
    /// Reads rows `range` (of one dimension: elements), whole, little-endian where they are numbers.
    fn read(&self, range: Range<u64>, place: &mut [u8]) -> Result<(), String>;
    /// Reads rows `range` of a dataset of strings.
    fn read_text(&self, range: Range<u64>) -> Result<Vec<String>, String>;
    /// Rows that are decoded together at the least.
    fn rows_together(&self) -> u64;
    /// Where the row lies, for messages.
    fn place_of(&self, row: u64) -> String;
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
    pub(crate) element: Element,
    pub(crate) placement: Placement,
    pub(crate) filters: Vec<Filter>,
    pub(crate) fill: Option<Vec<u8>>,
}

/// Reads the structure of an input. Errors are the detail of a `SourceError::Damaged`: the caller adds file and object.
///
/// Paths are relative to the root, without a leading slash; the empty path is the root.
pub(crate) trait Container: Send + Sync {
    /// What `path` names, or `None` when it does not exist.
    fn kind(&self, path: &str) -> Result<Option<Kind>, String>;
    /// Names of the groups and datasets directly in a group.
    fn members(&self, group: &str) -> Result<Vec<String>, String>;
    /// An attribute of a group or dataset, or `None` when it does not exist.
    fn attribute(&self, path: &str, kind: Kind, name: &str) -> Result<Option<Attribute>, String>;
    /// Shape, type and place of a dataset.
    fn describe(&self, dataset: &str) -> Result<Description, String>;
    /// The bytes a variable-length string element refers to.
    fn resolve(&self, reference: &[u8]) -> Result<Vec<u8>, String>;
}
