//! Where an array is in its file.

use cellring_filters::Pipeline;

use super::Array;
use crate::container::limits::MAX_ABSENT_CHUNKS;
use crate::container::stored::{
    StoredArray, StoredChunk, StoredExtents, StoredRun, Watched, stored_value_type,
};
use crate::container::{AbsentChunks, Chunk, Placement};

impl Array {
    /// Where the array is.
    ///
    /// # Errors
    /// In one clause, why it cannot be read there.
    pub(crate) fn stored(&self) -> Result<StoredArray, String> {
        let element = &self.element;
        let value_type = stored_value_type(element, self.width_bytes, &self.path)?;
        if let Placement::Foreign(foreign) = &self.placement {
            return foreign.stored(value_type);
        }
        let extents = match &self.placement {
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } => StoredExtents::Runs(vec![StoredRun {
                first: 0,
                offset_bytes: *offset,
                file: 0,
            }]),
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
            Placement::Tiled { .. } | Placement::Unlocated | Placement::Foreign(_) => {
                return Err(format!("the chunks of {} do not have one dimension", self.path));
            }
        };
        Ok(StoredArray {
            path: self.path.clone(),
            files: vec![self.file.file_path().to_owned()],
            value_type,
            big_endian: element.big_endian,
            filters: match &extents {
                StoredExtents::Runs(_) => Vec::new(),
                _ => self.filters.clone(),
            },
            extents,
            fill: self.fill.clone(),
            watched: self.watched(false),
        })
    }

    /// The chunks that are not there.
    pub(crate) fn absent_chunks(&self) -> Option<AbsentChunks> {
        let counts = match &self.placement {
            Placement::Contiguous { offset_bytes: None } if self.len > 0 => (1, 1),
            Placement::Chunked {
                chunk_elements,
                chunks,
            } => {
                let n_chunks = self.len.div_ceil(*chunk_elements);
                // Others may be left over from a larger extent.
                let n_there = chunks.partition_point(|chunk| chunk.first < self.len) as u64;
                (n_chunks - n_there, n_chunks)
            }
            Placement::Foreign(foreign) => foreign.absent_chunks(),
            _ => (0, 0),
        };
        AbsentChunks::of(&self.file, &self.path, counts)
    }

    /// The bytes that say where it is, and its own too if it is `whole`.
    pub(crate) fn watched(&self, whole: bool) -> Vec<Watched> {
        let mut ranges = self.said_by.clone();
        let of = |offset_bytes: u64, n_bytes: u64| offset_bytes..offset_bytes.saturating_add(n_bytes);
        match &self.placement {
            Placement::Foreign(foreign) => return foreign.watched(whole),
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } if whole => ranges.push(of(*offset, self.len.saturating_mul(self.width_bytes as u64))),
            Placement::Chunked {
                chunk_elements,
                chunks,
            } if whole => {
                let plain_bytes = chunk_elements.saturating_mul(self.width_bytes as u64);
                ranges.extend(chunks.iter().map(|chunk| match chunk.stored_bytes {
                    // Its index does not say.
                    0 => of(chunk.offset_bytes, plain_bytes),
                    bytes => of(chunk.offset_bytes, bytes),
                }));
            }
            _ => {}
        }
        vec![Watched {
            file: self.file.file_path().to_owned(),
            ranges,
        }]
    }

    fn stored_chunks(&self, elements: u64, chunks: &[Chunk]) -> Result<StoredExtents, String> {
        let bytes = elements * self.width_bytes as u64;
        let n_chunks = self.len.div_ceil(elements);
        if n_chunks > chunks.len() as u64 + MAX_ABSENT_CHUNKS {
            return Err(format!(
                "{} of the {n_chunks} chunks of {} were written",
                chunks.len(),
                self.path
            ));
        }
        let is_plain = Pipeline::is_plain;
        let all_plain = |chunk: &Chunk| is_plain(&self.pipeline, chunk.filter_mask);
        let file_bytes = self.file.len_bytes();
        let outside = |chunk: &Chunk, length: u64| {
            let end = chunk.offset_bytes.checked_add(length);
            end.is_none_or(|end| end > file_bytes)
        };
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
                file: 0,
                filter_mask: chunk.filter_mask,
            };
        }
        Ok(StoredExtents::of_chunks(
            elements,
            bytes,
            all,
            !self.filters.is_empty(),
        ))
    }

    fn beyond(&self, chunk: &Chunk) -> String {
        format!(
            "the chunk of {} that begins with element {} lies beyond the end of the file, which is damaged",
            self.path, chunk.first
        )
    }
}
