//! Where an array is in its file, for those who read it there themselves.

use cellring_core::{ValueClass, ValueType};
use cellring_filters::{Filter, Pipeline};

use super::Array;
use crate::container::{Chunk, Class, Placement};

/// One of the arrays of a matrix that is stored by rows, and where in its file it is.
#[derive(Clone, Debug)]
pub struct StoredArray {
    /// Its path in the file.
    pub path: String,
    /// Type of its elements.
    pub value_type: ValueType,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Where they lie.
    pub extents: StoredExtents,
    /// The filters of its chunks, in the order in which they were applied.
    pub filters: Vec<Filter>,
    /// The element that chunks consist of that were never written, as it would be stored.
    pub fill: Vec<u8>,
}

/// Where the elements of an array lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredExtents {
    /// As they are, in runs: the first element of each, and where it is, in bytes. They ascend, and cover all.
    Runs(Vec<(u64, u64)>),
    /// In chunks.
    Chunks {
        /// Elements of each, of the last one too.
        elements: u64,
        /// One for each such piece of the array, in order.
        chunks: Vec<StoredChunk>,
    },
}

/// One chunk of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredChunk {
    /// Where it is in the file, in bytes.
    pub offset_bytes: u64,
    /// Its length there; 0 if it was never written.
    pub stored_bytes: u32,
    /// Bit i: filter i was not applied to it.
    pub filter_mask: u32,
}

impl Array {
    /// Where the array is.
    ///
    /// # Errors
    /// In one clause, why it cannot be read there.
    pub(crate) fn stored(&self) -> Result<StoredArray, String> {
        let element = &self.element;
        let class = match &element.class {
            Class::Bool => ValueClass::Boolean,
            Class::Int { signed: false } => ValueClass::Unsigned,
            Class::Int { signed: true } => ValueClass::Signed,
            Class::Float => ValueClass::Float,
            _ => return Err(format!("{} does not hold numbers", self.path)),
        };
        let mut types = ValueType::ALL.iter().copied();
        let found = types.find(|found| found.class() == class && found.size_bytes() == element.size_bytes);
        let is_plain = element.translation.is_none() && element.size_bytes == self.width_bytes;
        let Some(value_type) = found.filter(|_| is_plain) else {
            return Err(format!(
                "{} holds numbers of type {}, which have to be translated",
                self.path,
                element.name()
            ));
        };
        let extents = match &self.placement {
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } => StoredExtents::Runs(vec![(0, *offset)]),
            Placement::Chunked {
                chunk_elements,
                chunks,
            } => self.stored_chunks(*chunk_elements, chunks)?,
            Placement::Contiguous { offset_bytes: None } | Placement::Inline(_) if self.len == 0 => {
                StoredExtents::Runs(Vec::new())
            }
            Placement::Contiguous { offset_bytes: None } => {
                return Err(format!("{} was never written", self.path));
            }
            Placement::Inline(_) => return Err(format!("{} lies within the headers of the file", self.path)),
            Placement::Foreign(_) => {
                return Err("only HDF5 files can be linked so far, and it is a zarr".to_owned());
            }
            Placement::Tiled { .. } | Placement::Unlocated => {
                return Err(format!("the chunks of {} do not have one dimension", self.path));
            }
        };
        Ok(StoredArray {
            path: self.path.clone(),
            value_type,
            big_endian: element.big_endian,
            filters: match &extents {
                StoredExtents::Runs(_) => Vec::new(),
                StoredExtents::Chunks { .. } => self.filters.clone(),
            },
            extents,
            fill: self.fill.clone(),
        })
    }

    fn stored_chunks(&self, elements: u64, chunks: &[Chunk]) -> Result<StoredExtents, String> {
        let bytes = elements * self.width_bytes as u64;
        let n_chunks = self.len.div_ceil(elements);
        let is_plain = Pipeline::is_plain;
        let all_plain = |chunk: &Chunk| is_plain(&self.pipeline, chunk.filter_mask);
        let file_bytes = self.file.len_bytes();
        let outside = |chunk: &Chunk, length: u64| {
            let end = chunk.offset_bytes.checked_add(length);
            end.is_none_or(|end| end > file_bytes)
        };
        if chunks.len() as u64 == n_chunks && self.filters.is_empty() {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            let mut next = None;
            for chunk in chunks {
                if outside(chunk, bytes) {
                    return Err(self.beyond(chunk));
                }
                if next != Some(chunk.offset_bytes) {
                    runs.push((chunk.first, chunk.offset_bytes));
                }
                next = Some(chunk.offset_bytes + bytes);
            }
            return Ok(StoredExtents::Runs(runs));
        }
        let mut all = vec![StoredChunk::default(); n_chunks as usize];
        for chunk in chunks {
            let stored_bytes = match all_plain(chunk) {
                true => bytes,
                false => chunk.stored_bytes,
            };
            if outside(chunk, stored_bytes) {
                return Err(self.beyond(chunk));
            }
            let number = (chunk.first / elements) as usize;
            let length = u32::try_from(stored_bytes).ok().filter(|&length| length > 0);
            let (Some(place), Some(stored_bytes)) = (all.get_mut(number), length) else {
                return Err(format!(
                    "the chunk of {} that begins with element {} has {stored_bytes} bytes",
                    self.path, chunk.first
                ));
            };
            *place = StoredChunk {
                offset_bytes: chunk.offset_bytes,
                stored_bytes,
                filter_mask: chunk.filter_mask,
            };
        }
        Ok(StoredExtents::Chunks {
            elements,
            chunks: all,
        })
    }

    fn beyond(&self, chunk: &Chunk) -> String {
        format!(
            "the chunk of {} that begins with element {} lies beyond the end of the file, which is damaged",
            self.path, chunk.first
        )
    }
}
