//! Where an array is in files, for those who read it there themselves.

use std::ops::Range;
use std::path::PathBuf;

use cellring_core::{ValueClass, ValueType};
use cellring_filters::Filter;

use super::element::{Class, ElementType};

/// One of the arrays of a matrix that is stored by rows, and where in its files it is.
#[derive(Clone, Debug)]
pub struct StoredArray {
    /// Its path in the input.
    pub path: String,
    /// The files that say what it is and hold it. The extents name them by their places here.
    pub files: Vec<PathBuf>,
    /// Type of its elements.
    pub value_type: ValueType,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Where they are.
    pub extents: StoredExtents,
    /// The filters of its chunks, in the order in which they were applied.
    pub filters: Vec<Filter>,
    /// The element that chunks consist of that were never written, as it would be stored.
    pub fill: Vec<u8>,
    /// The bytes that say what was said here: headers, and indexes of chunks.
    pub watched: Vec<Watched>,
}

/// Bytes of a file that say where values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The file.
    pub file: PathBuf,
    /// The bytes, in any order; those beyond the end of the file are not there.
    pub ranges: Vec<Range<u64>>,
}

/// Where the elements of an array are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredExtents {
    /// As they are, in runs, which ascend and cover all.
    Runs(Vec<StoredRun>),
    /// In chunks.
    Chunks {
        /// Elements of each, of the last one too.
        elements: u64,
        /// One for each such piece of the array, in order.
        chunks: Vec<StoredChunk>,
    },
    /// In chunks of a dense matrix, row of them after row.
    Tiles {
        /// Rows of each, of the last ones too.
        rows: u64,
        /// Columns of each, of the last ones too.
        columns: u64,
        /// One for each, in order.
        chunks: Vec<StoredChunk>,
    },
}

/// Elements that are stored as they are, up to where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// The first of them, of those of the array.
    pub first: u64,
    /// Where it is in its file, in bytes.
    pub offset_bytes: u64,
    /// Its file, of those of the array.
    pub file: u32,
}

/// One chunk of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredChunk {
    /// Where it is in its file, in bytes.
    pub offset_bytes: u64,
    /// Its length there; 0 if it was never written.
    pub stored_bytes: u32,
    /// Its file, of those of the array.
    pub file: u32,
    /// Bit i: filter i was not applied to it.
    pub filter_mask: u32,
}

impl StoredExtents {
    /// Elements of a chunk, if there are chunks.
    pub fn chunk_elements(&self) -> Option<u64> {
        match self {
            Self::Runs(_) => None,
            Self::Chunks { elements, .. } => Some(*elements),
            Self::Tiles { rows, columns, .. } => Some(rows * columns),
        }
    }

    /// The extents of chunks, each of so many elements and so many bytes: runs, where all of them are as the elements are.
    pub(crate) fn of_chunks(elements: u64, bytes: u64, chunks: Vec<StoredChunk>, has_filters: bool) -> Self {
        if has_filters || chunks.iter().any(|chunk| chunk.stored_bytes == 0) {
            return Self::Chunks { elements, chunks };
        }
        let mut runs: Vec<StoredRun> = Vec::new();
        let mut next = None;
        for (number, chunk) in (0u64..).zip(&chunks) {
            if next != Some((chunk.file, chunk.offset_bytes)) {
                runs.push(StoredRun {
                    first: number * elements,
                    offset_bytes: chunk.offset_bytes,
                    file: chunk.file,
                });
            }
            next = Some((chunk.file, chunk.offset_bytes + bytes));
        }
        Self::Runs(runs)
    }
}

/// The type of the numbers that an object holds, if they are stored as they are in memory.
///
/// # Errors
/// In one clause, what they are.
pub(crate) fn stored_value_type(
    element: &ElementType,
    width_bytes: usize,
    path: &str,
) -> Result<ValueType, String> {
    let class = match &element.class {
        Class::Bool => ValueClass::Boolean,
        Class::Int { signed: false } => ValueClass::Unsigned,
        Class::Int { signed: true } => ValueClass::Signed,
        Class::Float => ValueClass::Float,
        _ => return Err(format!("{path} does not hold numbers")),
    };
    let mut types = ValueType::ALL.iter().copied();
    let found = types.find(|found| found.class() == class && found.size_bytes() == element.size_bytes);
    let is_plain = element.translation.is_none() && element.size_bytes == width_bytes;
    found.filter(|_| is_plain).ok_or_else(|| {
        format!(
            "{path} holds numbers of type {}, which have to be translated",
            element.name()
        )
    })
}
