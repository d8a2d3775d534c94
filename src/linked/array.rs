//! One of the two arrays of a linked store, and where a range of its elements lies.

use std::ops::Range;

use cellring_core::ValueType;
use cellring_filters::Pipeline;

use super::Link;
use crate::format::FormatError;
use crate::format::linked::{ArrayRole, Chunk, Extent, LinkedArray, Run, Shape};

/// No sound chunk is stored in more bytes than it decodes to and these: compressors add a few per thousand to what does not shrink.
const CHUNK_OVERHEAD_BYTES: u64 = 1 << 16;

/// One of the two arrays.
#[derive(Debug)]
pub(crate) struct Array {
    linked: LinkedArray,
    pipeline: Pipeline,
    n_elements: u64,
}

/// Where elements lie that are stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The elements, of those of the array.
    pub(crate) elements: Range<u64>,
    /// Number of the file.
    pub(crate) file: u32,
    /// The bytes to be read.
    pub(crate) bytes: Range<u64>,
    /// What they are.
    pub(crate) form: Form,
}

/// What the bytes of stored elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The elements.
    Plain,
    /// Chunk `number`, all of whose elements they decode to.
    Chunk {
        /// Which one.
        number: u64,
        /// Bit i: filter i was not applied.
        filter_mask: u32,
    },
    /// There are none: every element is the fill value.
    Absent,
}

impl Array {
    /// # Errors
    /// The rule that is broken.
    pub(super) fn new(linked: LinkedArray, role: ArrayRole, n_elements: u64) -> Result<Self, String> {
        let pipeline = Pipeline::new(&linked.filters, linked.value_type.size_bytes())
            .map_err(|unknown| unknown.to_string())?;
        if let Shape::Chunks { elements } = linked.shape
            && linked.n_extents != n_elements.div_ceil(elements)
        {
            return Err(format!(
                "{} has {} chunks of {elements} elements, and the store {n_elements} values",
                role.name(),
                linked.n_extents
            ));
        }
        if linked.n_extents == 0 && n_elements > 0 {
            return Err(format!("{} has no extents", role.name()));
        }
        Ok(Self {
            linked,
            pipeline,
            n_elements,
        })
    }

    /// What the index says of it.
    pub(crate) fn linked(&self) -> &LinkedArray {
        &self.linked
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(super) fn value_type(&self) -> ValueType {
        self.linked.value_type
    }

    /// Bytes of an element in the file.
    pub(super) fn width(&self) -> usize {
        self.linked.value_type.size_bytes()
    }

    /// Elements of a chunk, if there are chunks.
    pub(crate) fn chunk_elements(&self) -> Option<u64> {
        match self.linked.shape {
            Shape::Runs => None,
            Shape::Chunks { elements } => Some(elements),
        }
    }

    /// Bytes of a decoded chunk; 0 where there are none.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_elements()
            .map_or(0, |elements| elements * self.width() as u64)
    }

    /// The most bytes that a chunk may take in the file.
    pub(super) fn most_stored_bytes(&self) -> u64 {
        match self.chunk_bytes() {
            0 => 0,
            bytes => bytes + bytes / 64 + CHUNK_OVERHEAD_BYTES,
        }
    }

    /// Where element `first` lies, and as many of those after it, up to `end`, as are stored together with it.
    ///
    /// # Errors
    /// If the index is damaged, or cannot be read.
    pub(super) fn stored(
        &self,
        link: &Link,
        role: ArrayRole,
        first: u64,
        end: u64,
    ) -> Result<Stored, FormatError> {
        match self.linked.shape {
            Shape::Runs => self.in_run(link, role, first, end),
            Shape::Chunks { elements } => self.in_chunk(link, role, elements, first, end),
        }
    }

    fn in_run(&self, link: &Link, role: ArrayRole, first: u64, end: u64) -> Result<Stored, FormatError> {
        let run = |number: u64| {
            let record = Run::from_bytes(link.extent_bytes(role, number)?);
            record.ok_or_else(|| link.invalid(0, format!("extent {number} of {} is no run", role.name())))
        };
        // The last run that begins at or before it.
        let (mut low, mut high) = (0, self.linked.n_extents);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match run(middle)?.first <= first {
                true => low = middle,
                false => high = middle,
            }
        }
        let found = run(low)?;
        let next = match low + 1 < self.linked.n_extents {
            true => run(low + 1)?.first,
            false => self.n_elements,
        };
        let end = end.min(next);
        if found.first > first || first >= end {
            return Err(link.invalid(0, format!("the runs of {} do not ascend", role.name())));
        }
        let width = self.width() as u64;
        let bytes = || {
            let start = found
                .offset_bytes
                .checked_add((first - found.first).checked_mul(width)?)?;
            Some(start..start.checked_add((end - first).checked_mul(width)?)?)
        };
        Ok(Stored {
            elements: first..end,
            file: found.file,
            bytes: link.within(role, low, found.file, bytes())?,
            form: Form::Plain,
        })
    }

    fn in_chunk(
        &self,
        link: &Link,
        role: ArrayRole,
        chunk_elements: u64,
        first: u64,
        end: u64,
    ) -> Result<Stored, FormatError> {
        let number = first / chunk_elements;
        let chunk_first = number * chunk_elements;
        let end = end.min(chunk_first.saturating_add(chunk_elements));
        let record = Chunk::from_bytes(link.extent_bytes(role, number)?);
        let chunk = record
            .ok_or_else(|| link.invalid(0, format!("extent {number} of {} is no chunk", role.name())))?;
        let elements = first..end;
        if chunk.stored_bytes == 0 {
            return Ok(Stored {
                elements,
                file: 0,
                bytes: 0..0,
                form: Form::Absent,
            });
        }
        let width = self.width() as u64;
        let stored_bytes = u64::from(chunk.stored_bytes);
        let is_plain = self.pipeline.is_plain(chunk.filter_mask);
        let (bytes, form) = match is_plain {
            true => {
                let bytes = || {
                    // All of it is there, also of the last one.
                    let whole = stored_bytes == chunk_elements * width;
                    let start = chunk
                        .offset_bytes
                        .checked_add((first - chunk_first) * width)
                        .filter(|_| whole)?;
                    Some(start..start.checked_add((end - first) * width)?)
                };
                (bytes(), Form::Plain)
            }
            false => {
                let end = chunk.offset_bytes.checked_add(stored_bytes);
                let end = end.filter(|_| stored_bytes <= self.most_stored_bytes());
                let filter_mask = chunk.filter_mask;
                (
                    end.map(|end| chunk.offset_bytes..end),
                    Form::Chunk { number, filter_mask },
                )
            }
        };
        Ok(Stored {
            elements,
            file: chunk.file,
            bytes: link.within(role, number, chunk.file, bytes)?,
            form,
        })
    }
}
