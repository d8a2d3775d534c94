//! Where a range of the elements of an array is.

use std::ops::Range;

use super::input::Input;
use super::link::Link;
use crate::format::FormatError;
use crate::format::linked::{ArrayLayout, ArrayRole, Extent, SourceChunk, SourceRun};

/// Where elements lie that are stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The elements, of those of the array.
    pub(crate) elements: Range<u64>,
    /// Number of the file.
    pub(crate) file: u32,
    /// The bytes to be read.
    pub(crate) bytes: Range<u64>,
    /// The place of the first of the elements in what the bytes decode to.
    pub(crate) from: u32,
    /// What they are.
    pub(crate) storage: ElementStorage,
}

/// What the bytes of stored elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementStorage {
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

/// The place of an element in a chunk.
struct Place {
    /// Which chunk.
    number: u64,
    /// Which of its elements.
    from: u64,
}

impl Link {
    /// Where element `first` of an input is, and as many of those after it, up to `end`, as are stored together with it.
    ///
    /// # Errors
    /// If the index is damaged, or cannot be read.
    pub(super) fn stored(
        &self,
        input: &Input,
        role: ArrayRole,
        first: u64,
        end: u64,
    ) -> Result<Stored, FormatError> {
        match input.array(role).linked().layout {
            ArrayLayout::Runs => self.in_run(input, role, first, end),
            ArrayLayout::Chunks { elements } => {
                let number = first / elements;
                let chunk_end = (number * elements).saturating_add(elements);
                let place = Place {
                    number,
                    from: first % elements,
                };
                self.in_chunk(input, role, place, first..end.min(chunk_end))
            }
            ArrayLayout::Tiles { rows, columns } => {
                let n_vars = input.n_vars();
                let (row, column) = (first / n_vars, first % n_vars);
                let tile_end = (column / columns + 1).saturating_mul(columns).min(n_vars);
                let place = Place {
                    number: row / rows * n_vars.div_ceil(columns) + column / columns,
                    from: row % rows * columns + column % columns,
                };
                self.in_chunk(input, role, place, first..end.min(row * n_vars + tile_end))
            }
            ArrayLayout::Implied => Err(self.invalid(0, format!("{} is not stored", role.name()))),
        }
    }

    /// Whether the runs of all arrays ascend from the first element on: what is read of a few obs shows only some of that.
    ///
    /// # Errors
    /// If the index is damaged, or cannot be read.
    pub(crate) fn check_runs(&self) -> Result<(), FormatError> {
        for input in self.inputs() {
            for role in ArrayRole::BOTH {
                if input.array(role).linked().layout != ArrayLayout::Runs {
                    continue;
                }
                let mut least = 0;
                for number in 0..input.array(role).linked().n_extents {
                    let run = self.run(input, role, number)?;
                    if (number == 0 && run.first > 0)
                        || run.first < least
                        || run.first >= input.n_values().max(1)
                    {
                        return Err(self.invalid(0, format!("the runs of {} do not ascend", role.name())));
                    }
                    least = run.first + 1;
                }
            }
        }
        Ok(())
    }

    fn run(&self, input: &Input, role: ArrayRole, number: u64) -> Result<SourceRun, FormatError> {
        let record = SourceRun::from_bytes(self.extent_bytes(role, input.extent(role, number))?);
        record.ok_or_else(|| self.invalid(0, format!("extent {number} of {} is not a run", role.name())))
    }

    fn in_run(&self, input: &Input, role: ArrayRole, first: u64, end: u64) -> Result<Stored, FormatError> {
        let array = input.array(role);
        let run = |number| self.run(input, role, number);
        // The last run that begins at or before it.
        let (mut low, mut high) = (0, array.linked().n_extents);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match run(middle)?.first <= first {
                true => low = middle,
                false => high = middle,
            }
        }
        let found = run(low)?;
        let next = match low + 1 < array.linked().n_extents {
            true => run(low + 1)?.first,
            false => array.n_elements(),
        };
        let end = end.min(next);
        if found.first > first || first >= end {
            return Err(self.invalid(0, format!("the runs of {} do not ascend", role.name())));
        }
        let width = array.width() as u64;
        let bytes = || {
            let start = found
                .offset_bytes
                .checked_add((first - found.first).checked_mul(width)?)?;
            Some(start..start.checked_add((end - first).checked_mul(width)?)?)
        };
        Ok(Stored {
            elements: first..end,
            file: found.file,
            bytes: self.within(role, input.extent(role, low), found.file, bytes())?,
            from: 0,
            storage: ElementStorage::Plain,
        })
    }

    fn in_chunk(
        &self,
        input: &Input,
        role: ArrayRole,
        Place { number, from }: Place,
        elements: Range<u64>,
    ) -> Result<Stored, FormatError> {
        let array = input.array(role);
        let record = SourceChunk::from_bytes(self.extent_bytes(role, input.extent(role, number))?);
        let chunk = record
            .ok_or_else(|| self.invalid(0, format!("extent {number} of {} is not a chunk", role.name())))?;
        let n_elements = elements.end - elements.start;
        if chunk.stored_bytes == 0 {
            return Ok(Stored {
                elements,
                file: 0,
                bytes: 0..0,
                from: 0,
                storage: ElementStorage::Absent,
            });
        }
        let width = array.width() as u64;
        let stored_bytes = u64::from(chunk.stored_bytes);
        let is_plain = array.pipeline().is_plain(chunk.filter_mask);
        let (bytes, storage) = match is_plain {
            true => {
                let bytes = || {
                    // All of it is there, also of the last one.
                    let whole = stored_bytes == array.chunk_bytes();
                    let start = chunk.offset_bytes.checked_add(from * width).filter(|_| whole)?;
                    Some(start..start.checked_add(n_elements * width)?)
                };
                (bytes(), ElementStorage::Plain)
            }
            false => {
                let end = chunk.offset_bytes.checked_add(stored_bytes);
                let end = end.filter(|_| stored_bytes <= array.most_stored_bytes());
                let filter_mask = chunk.filter_mask;
                (
                    end.map(|end| chunk.offset_bytes..end),
                    ElementStorage::Chunk { number, filter_mask },
                )
            }
        };
        Ok(Stored {
            elements,
            file: chunk.file,
            bytes: self.within(role, input.extent(role, number), chunk.file, bytes)?,
            from: match storage {
                ElementStorage::Chunk { .. } => from as u32,
                _ => 0,
            },
            storage,
        })
    }
}
