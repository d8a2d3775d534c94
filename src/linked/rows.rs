//! Parts to rows, and rows read one range after the other: for export and for verification, not for training.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use cellring_core::{CsrRows, Element, ValueBuffer};

use super::canonical::{Entries, canonical, is_canonical};
use super::error::LinkedError;
use super::link::Link;
use super::narrow::{wide_columns, widen, widened};
use super::plan::{Batch, PlannedLink, Wanted, plan};
use super::stage::{DecodedSegment, Scratch, Staged, stage};
use crate::Error;
use crate::engine::coalesce::{GAP_BYTES, READ_BYTES, ReadShape};
use crate::format::FormatError;
use crate::format::encoding::linked::{checksum, kept_type};
use crate::format::linked::ArrayRole;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 4 << 20;
/// Another buffer begins when one has so many bytes of rows that were put together.
const MAX_JOINED_BYTES: usize = 1 << 30;

/// Where a part of a row is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Number of the buffer.
    pub(crate) buffer: u32,
    pub(crate) offset_bytes: u32,
    pub(crate) len_bytes: u32,
}

/// Tells for each row where its columns and its values are, each in one piece. Gives the buffers: those of the batches, and more for rows that were put together.
pub(crate) fn gather(staged: Vec<Staged>, mut put: impl FnMut(u32, ArrayRole, Kept)) -> Vec<Vec<u8>> {
    let mut split = Vec::new();
    for (number, staged) in staged.iter().enumerate() {
        for part in &staged.parts {
            let kept = Kept {
                buffer: number as u32,
                offset_bytes: part.offset_bytes,
                len_bytes: part.len_bytes,
            };
            match part.is_whole {
                true => put(part.row, part.role, kept),
                false => split.push((part, kept)),
            }
        }
    }
    let mut joined: Vec<Vec<u8>> = vec![Vec::new()];
    // Rows that lie in several extents.
    let row_of = |part: &DecodedSegment| (part.row, part.role as u8);
    split.sort_unstable_by_key(|&(part, _)| (row_of(part), part.at));
    for row in split.chunk_by(|a, b| row_of(a.0) == row_of(b.0)) {
        // Offsets have 32 bits, and a row is far shorter.
        if joined.last().is_none_or(|last| last.len() >= MAX_JOINED_BYTES) {
            joined.push(Vec::new());
        }
        let number = joined.len() - 1;
        let buffer = &mut joined[number];
        let begin = buffer.len();
        // Each part is as narrow as its own values allow.
        let types = row.iter().map(|(part, _)| part.kept_type());
        let widest = types.max_by_key(|kept_type| kept_type.size_bytes());
        for (part, place) in row {
            let bytes = &staged[place.buffer as usize].bytes;
            let bytes = &bytes[place.offset_bytes as usize..][..place.len_bytes as usize];
            match (part.role, widest) {
                (ArrayRole::Values, Some(widest)) => widen(bytes, part.kept_type(), widest, buffer),
                _ => buffer.extend_from_slice(bytes),
            }
        }
        let kept = Kept {
            buffer: (staged.len() + number) as u32,
            offset_bytes: begin as u32,
            len_bytes: (buffer.len() - begin) as u32,
        };
        put(row[0].0.row, row[0].0.role, kept);
    }
    let mut buffers: Vec<Vec<u8>> = staged.into_iter().map(|staged| staged.bytes).collect();
    buffers.append(&mut joined);
    buffers
}

impl Link {
    /// Rows `range`, canonical, in the type of the source.
    ///
    /// # Errors
    /// If a file cannot be read, has changed, or is damaged.
    pub(crate) fn rows(&self, range: Range<u64>) -> Result<CsrRows, Error> {
        let links = [PlannedLink {
            link: self,
            first_file: 0,
        }];
        let shape = ReadShape {
            alignment: 1,
            slot_bytes: (self.longest_read() + 4096).max(WINDOW_BYTES) as u32,
            gap_bytes: GAP_BYTES,
            read_bytes: READ_BYTES,
        };
        let mut wanted = Vec::with_capacity((range.end - range.start) as usize);
        for (row, obs) in range.clone().enumerate() {
            let values = self.values(obs)?;
            wanted.push(Wanted {
                link: 0,
                input: values.input,
                row: row as u32,
                first: values.first,
                nnz: values.nnz,
            });
        }
        let mut scratch = Scratch::default();
        let mut slot = Vec::new();
        let mut staged = Vec::new();
        for batch in plan(&links, &wanted, &shape)? {
            self.read(&batch, &mut slot)?;
            let found = stage(&batch, &slot, |_| self, &mut scratch);
            // A file that has changed may look like one that is damaged.
            staged.push(found.or_else(|error| self.check().and(Err(error)))?);
        }
        self.check()?;
        let mut places = vec![[Kept::default(); 2]; wanted.len()];
        let buffers = gather(staged, |row, role, kept| {
            places[row as usize][role as usize] = kept
        });
        let part = |kept: Kept| {
            let bytes = &buffers[kept.buffer as usize];
            &bytes[kept.offset_bytes as usize..][..kept.len_bytes as usize]
        };
        let parts = wanted.iter().zip(&places);
        let parts = parts.map(|(wanted, places)| (wanted.nnz, places.map(part)));
        cellring_core::with_element!(self.value_type(), T => self.assemble::<T>(range.start, parts))
    }

    fn assemble<'a, T: Element>(
        &self,
        first_obs: u64,
        parts: impl Iterator<Item = (u32, [&'a [u8]; 2])>,
    ) -> Result<CsrRows, Error> {
        let (mut indptr, mut indices, mut values) = (vec![0u64], Vec::new(), Vec::<T>::new());
        let (mut entries, mut other) = (Entries::new(), Vec::new());
        for (obs, (stored, parts)) in (first_obs..).zip(parts) {
            other.clear();
            let (nnz, [columns, own]) = match self.repaired(obs, stored, parts, &mut entries, &mut other)? {
                None => (stored, parts),
                Some(nnz) => (nnz, other.split_at(nnz as usize * self.column_bytes()).into()),
            };
            let start = indices.len();
            indices.extend(wide_columns(columns, self.column_bytes()));
            let kept = kept_type(self.value_type(), nnz as usize, own.len()).unwrap_or(self.value_type());
            if let Some(expected) = self.checksum(obs)?
                && checksum(&indices[start..], own, kept, self.value_type()) != expected
            {
                return Err(self.other_row(obs).into());
            }
            values.extend(widened::<T>(own, kept));
            indptr.push(indices.len() as u64);
        }
        let mut buffer = ValueBuffer::with_capacity(T::VALUE_TYPE, 0);
        if let Some(vec) = T::vec_mut(&mut buffer) {
            *vec = values;
        }
        Ok(CsrRows {
            indptr,
            indices,
            values: buffer,
        })
    }

    /// Reads what a batch needs through the page cache.
    fn read(&self, batch: &Batch, slot: &mut Vec<u8>) -> Result<(), Error> {
        for read in &batch.reads {
            let source = &self.sources()[read.file as usize];
            let begin = read.slot_offset_bytes as usize;
            // A read that begins or ends on a line of the cache may reach beyond the file.
            let inside = source
                .bytes()
                .saturating_sub(read.offset_bytes)
                .min(read.len_bytes.into()) as usize;
            if slot.len() < begin + read.len_bytes as usize {
                slot.resize(begin + read.len_bytes as usize, 0);
            }
            let read = source
                .file()
                .read_exact_at(&mut slot[begin..begin + inside], read.offset_bytes);
            if let Err(error) = read {
                // Cut short, it has changed.
                self.check()?;
                return Err(FormatError::io(source.path())(error).into());
            }
        }
        Ok(())
    }

    /// The nnz of a row that has the parts of a kept one, and its parts in `out`, where it has to be made canonical.
    ///
    /// # Errors
    /// If values of equal columns do not add up within their type.
    pub(crate) fn repaired(
        &self,
        obs: u64,
        nnz: u32,
        parts: [&[u8]; 2],
        entries: &mut Entries,
        out: &mut Vec<u8>,
    ) -> Result<Option<u32>, LinkedError> {
        let input = self.input(self.input_of(obs));
        match is_canonical(self, input, nnz, parts) {
            true => Ok(None),
            false => canonical(self, input, obs, nnz, parts, entries, out).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellring_core::ValueType;

    /// A batch of parts of row 0: the place of each in it, the values as they are kept, and how many they are.
    fn staged(role: ArrayRole, value_type: ValueType, parts: &[(u32, &[u8], u32)]) -> Staged {
        let mut staged = Staged::default();
        for &(at, bytes, n) in parts {
            staged.parts.push(DecodedSegment {
                row: 0,
                role,
                at,
                n,
                is_whole: false,
                value_type,
                offset_bytes: staged.bytes.len() as u32,
                len_bytes: bytes.len() as u32,
            });
            staged.bytes.extend_from_slice(bytes);
        }
        staged
    }

    fn joined(batches: Vec<Staged>) -> Vec<u8> {
        let mut place = Kept::default();
        let buffers = gather(batches, |_, _, kept| place = kept);
        buffers[place.buffer as usize][place.offset_bytes as usize..][..place.len_bytes as usize].to_vec()
    }

    #[test]
    fn parts_that_are_kept_in_different_types_become_as_wide_as_the_widest() {
        let values = |parts: &[(u32, &[u8], u32)]| staged(ArrayRole::Values, ValueType::F32, parts);
        let half = 0.5f32.to_le_bytes();
        // In no order, and from several batches.
        assert_eq!(
            joined(vec![values(&[(2, &[9], 1)]), values(&[(0, &[7, 8], 2)])]),
            [7, 8, 9]
        );
        assert_eq!(
            joined(vec![values(&[(0, &[7], 1), (1, &[0, 1], 1)])]),
            [7, 0, 0, 1]
        );
        let expected: Vec<u8> = [3.0f32, 0.5, 256.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let mixed = vec![values(&[(1, &half, 1), (2, &[0, 1], 1)]), values(&[(0, &[3], 1)])];
        assert_eq!(joined(mixed), expected);
        // Columns have one width whatever their type in the file.
        let columns = staged(
            ArrayRole::Columns,
            ValueType::I64,
            &[(1, &[1, 0], 1), (0, &[0, 0], 1)],
        );
        assert_eq!(joined(vec![columns]), [0, 0, 1, 0]);
    }
}
