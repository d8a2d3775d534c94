//! The part of HDF5 and zarr that AnnData uses, behind a trait so that the parsers can be exchanged.
//!
//! A [`Container`] answers questions about names, attributes and the place of every chunk. Bulk data never passes through
//! it: [`Array`] and [`Grid`] read the chunks themselves, decode them in parallel and write them straight into the caller's
//! buffer. The chunks of zarr are decoded by its library, which is behind [`Foreign`].

mod array;
mod attribute;
mod bitshuffle;
mod blosc;
mod deliver;
mod file;
mod filter;
mod grid;
mod hdf5;
mod int;
mod limits;
mod regular;
mod stream;
mod translate;
mod zarr;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use array::Array;
pub(crate) use attribute::Attribute;
pub(crate) use file::SourceFile;
pub(crate) use grid::Grid;
pub(crate) use int::IntKind;
pub(crate) use regular::open_regular;
use translate::Translation;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Dataset,
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

impl Padding {
    /// Removes it.
    pub(crate) fn trim(self, bytes: &[u8]) -> &[u8] {
        let after_last = |is_text: fn(&u8) -> bool| {
            let last = bytes.iter().rposition(is_text);
            last.map_or(0, |last| last + 1)
        };
        let end = match self {
            Self::NulTerminated => bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()),
            Self::Nul => after_last(|&byte| byte != 0),
            Self::Space => after_last(|&byte| byte != b' '),
        };
        &bytes[..end]
    }
}

/// Class of the elements of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Int {
        signed: bool,
    },
    Float,
    /// A byte that is 0 for false.
    Bool,
    /// Integers that have names, other than those of booleans.
    Enum(Arc<Enumeration>),
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

/// The named values of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enumeration {
    /// Whether its integers are.
    pub(crate) signed: bool,
    /// In the order of their values.
    pub(crate) names: Vec<String>,
    /// The value of each name.
    pub(crate) values: Vec<i128>,
}

/// One member of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset_bytes: usize,
    pub(crate) element: Element,
}

/// Element type of a dataset, as its elements are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) class: Class,
    pub(crate) size_bytes: usize,
    pub(crate) big_endian: bool,
    /// How they come from what is stored, where that is something else.
    pub(crate) translation: Option<Translation>,
}

impl Element {
    /// One that is delivered as it is stored.
    pub(crate) fn new(class: Class, size_bytes: usize, big_endian: bool) -> Self {
        Self {
            class,
            size_bytes,
            big_endian,
            translation: None,
        }
    }

    fn translated(class: Class, translation: Translation) -> Self {
        Self {
            class,
            size_bytes: translation.bytes(),
            big_endian: false,
            translation: Some(translation),
        }
    }

    /// Bytes of a stored element.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.translation
            .as_ref()
            .map_or(self.size_bytes, Translation::stored_bytes)
    }

    /// The name numpy would give this type.
    pub(crate) fn name(&self) -> String {
        let bits = self.size_bytes.saturating_mul(8);
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
            Class::Enum(enumeration) => format!("an enum of {}", enumeration.names.join(", ")),
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

/// Why a container cannot answer; the caller adds file and object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was found, and what was expected.
    Damaged(String),
    /// The file may be sound, but a feature of it is not read.
    Unsupported {
        detail: String,
        /// What to do about it.
        remedy: String,
    },
}

impl From<String> for Fault {
    fn from(detail: String) -> Self {
        Self::Damaged(detail)
    }
}

impl Fault {
    /// Says before the detail what it is about.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Damaged(detail) => Self::Damaged(format!("{what}: {detail}")),
            Self::Unsupported { detail, remedy } => Self::Unsupported {
                detail: format!("{what}: {detail}"),
                remedy,
            },
        }
    }
}

/// Reads the structure of an input.
///
/// Paths are relative to the root, without a leading slash; the empty path is the root.
pub(crate) trait Container: Send + Sync {
    /// What `path` names, or `None` when it does not exist.
    fn kind(&self, path: &str) -> Result<Option<Kind>, Fault>;
    /// Names of the groups and datasets directly in a group.
    fn members(&self, group: &str) -> Result<Vec<String>, Fault>;
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
