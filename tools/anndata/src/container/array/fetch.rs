//! Fetches a window of a dataset, from where each part of it is.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::PoisonError;

use rayon::prelude::*;

use super::Array;
use crate::container::Placement;
use crate::container::deliver::Deliver;
use crate::error::Result;

/// Bytes of an unfiltered extent that one worker reads at a time.
const EXTENT_PIECE_BYTES: u64 = 1 << 20;

/// A part of a window that comes from one place.
struct Piece {
    n_elements: usize,
    from: Origin,
}

enum Origin {
    /// Bytes as they lie in the file.
    Extent {
        offset_bytes: u64,
    },
    /// Elements from `skip` on of a chunk that must be decoded.
    Chunk {
        number: usize,
        skip: usize,
    },
    /// Bytes of the object header.
    Inline {
        start_bytes: usize,
    },
    Fill,
    /// Elements from `at` on that someone else reads.
    Foreign {
        at: u64,
    },
}

impl Array {
    pub(super) fn deliver<T: Send>(
        &self,
        range: Range<u64>,
        place: &mut [T],
        items_per_element: usize,
        how: &dyn Deliver<T>,
    ) -> Result<()> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "window {range:?} of {} elements",
            self.len
        );
        let n_items = (range.end - range.start) * items_per_element as u64;
        assert_eq!(place.len() as u64, n_items, "items and elements");
        let mut rest = place;
        let mut work = Vec::new();
        for piece in self.pieces(&range) {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(piece.n_elements * items_per_element);
            work.push((piece, head));
            rest = tail;
        }
        let window_elements = range.end - range.start;
        if work.len() <= 1 {
            return work
                .into_iter()
                .try_for_each(|(piece, place)| self.fetch(&piece, place, how, window_elements));
        }
        work.into_par_iter()
            .try_for_each(|(piece, place)| self.fetch(&piece, place, how, window_elements))
    }

    /// Cuts a window where its source changes.
    fn pieces(&self, range: &Range<u64>) -> Vec<Piece> {
        let element_bytes = self.width_bytes as u64;
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let left = range.end - at;
            let (n_elements, from) = match &self.placement {
                Placement::Inline(_) => (
                    left,
                    Origin::Inline {
                        start_bytes: (at * element_bytes) as usize,
                    },
                ),
                Placement::Contiguous {
                    offset_bytes: Some(offset),
                } => (
                    left.min((EXTENT_PIECE_BYTES / element_bytes).max(1)),
                    Origin::Extent {
                        offset_bytes: offset + at * element_bytes,
                    },
                ),
                Placement::Foreign(foreign) => {
                    // Whole chunks, so that none is decoded twice.
                    let together = foreign.rows_together().max(1);
                    (left.min(together - at % together), Origin::Foreign { at })
                }
                Placement::Contiguous { offset_bytes: None }
                | Placement::Tiled { .. }
                | Placement::Unlocated => (left, Origin::Fill),
                Placement::Chunked {
                    chunk_elements,
                    chunks,
                } => {
                    let next = chunks.partition_point(|chunk| chunk.first <= at);
                    let here = next
                        .checked_sub(1)
                        .filter(|&number| at - chunks[number].first < *chunk_elements);
                    if let Some(number) = here {
                        let chunk = &chunks[number];
                        let skip = at - chunk.first;
                        let from = if self.pipeline.is_plain(chunk.filter_mask) {
                            Origin::Extent {
                                offset_bytes: chunk.offset_bytes.saturating_add(skip * element_bytes),
                            }
                        } else {
                            Origin::Chunk {
                                number,
                                skip: skip as usize,
                            }
                        };
                        (left.min(chunk_elements - skip), from)
                    } else {
                        let until = chunks.get(next).map_or(range.end, |chunk| chunk.first);
                        (left.min(until - at), Origin::Fill)
                    }
                }
            };
            pieces.push(Piece {
                n_elements: n_elements as usize,
                from,
            });
            at += n_elements;
        }
        pieces
    }

    fn fetch<T>(
        &self,
        piece: &Piece,
        place: &mut [T],
        how: &dyn Deliver<T>,
        window_elements: u64,
    ) -> Result<()> {
        thread_local! {
            /// Stored and decoded bytes of the chunk at hand.
            static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
        }
        let element_bytes = self.width_bytes;
        let piece_bytes = piece.n_elements * element_bytes;
        match piece.from {
            Origin::Inline { start_bytes } => {
                let Placement::Inline(bytes) = &self.placement else {
                    unreachable!("an inline piece")
                };
                how.convert(&bytes[start_bytes..start_bytes + piece_bytes], place);
                Ok(())
            }
            Origin::Fill => {
                how.convert(&self.fill.repeat(piece.n_elements), place);
                Ok(())
            }
            Origin::Foreign { at } => {
                let Placement::Foreign(foreign) = &self.placement else {
                    unreachable!("a foreign piece")
                };
                let range = at..at + piece.n_elements as u64;
                let read = |bytes: &mut [u8]| {
                    foreign.read(range.clone(), bytes).map_err(|fault| {
                        let place = foreign.place_of(at);
                        let fault = fault.about(&format!("element {at} ({place})"));
                        self.file.fault(&self.path, fault)
                    })
                };
                if let Some(bytes) = how.direct(place) {
                    return read(bytes);
                }
                let mut bytes = vec![0; piece_bytes];
                read(&mut bytes)?;
                how.convert(&bytes, place);
                Ok(())
            }
            Origin::Extent { offset_bytes } => {
                if let Some(bytes) = how.direct(place) {
                    return self.file.read_exact_at(&self.path, bytes, offset_bytes);
                }
                SCRATCH.with_borrow_mut(|(scratch, _)| {
                    scratch.resize(piece_bytes, 0);
                    self.file.read_exact_at(&self.path, scratch, offset_bytes)?;
                    how.convert(scratch, place);
                    Ok(())
                })
            }
            Origin::Chunk { number, skip } => {
                let Placement::Chunked {
                    chunk_elements,
                    chunks,
                } = &self.placement
                else {
                    unreachable!("a chunk of a chunked dataset")
                };
                let chunk = &chunks[number];
                let chunk_elements = *chunk_elements as usize;
                let start_bytes = skip * element_bytes;
                if self.deliver_tail(number, start_bytes..start_bytes + piece_bytes, place, how) {
                    return Ok(());
                }
                let damaged = |detail| {
                    let (first, at) = (chunk.first, chunk.offset_bytes);
                    self.file
                        .damaged(&self.path, format!("element {first}, at offset {at}: {detail}"))
                };
                SCRATCH.with_borrow_mut(|(stored, decoded)| {
                    let fits = chunk.offset_bytes.checked_add(chunk.stored_bytes);
                    if fits.is_none_or(|end| end > self.file.len_bytes()) {
                        return Err(damaged(format!(
                            "its chunk of {} bytes at offset {} lies beyond the file",
                            chunk.stored_bytes, chunk.offset_bytes
                        )));
                    }
                    stored.resize(chunk.stored_bytes as usize, 0);
                    self.file.read_exact_at(&self.path, stored, chunk.offset_bytes)?;
                    if piece.n_elements == chunk_elements
                        && let Some(bytes) = how.direct(place)
                        && self
                            .pipeline
                            .decode_into(stored, chunk.filter_mask, bytes)
                            .map_err(damaged)?
                    {
                        return Ok(());
                    }
                    self.pipeline
                        .decode(stored, chunk.filter_mask, decoded, chunk_elements * element_bytes)
                        .map_err(damaged)?;
                    how.convert(&decoded[start_bytes..start_bytes + piece_bytes], place);
                    let ends_inside = skip + piece.n_elements < chunk_elements;
                    if ends_inside && chunk_elements as u64 * 8 > window_elements {
                        let kept = Some((number, std::mem::take(decoded)));
                        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = kept;
                    }
                    Ok(())
                })
            }
        }
    }

    /// Takes a piece from the chunk the last window ended in, if that is its chunk.
    fn deliver_tail<T>(
        &self,
        number: usize,
        bytes: Range<usize>,
        place: &mut [T],
        how: &dyn Deliver<T>,
    ) -> bool {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        match tail.as_ref() {
            Some((kept, decoded)) if *kept == number => {
                how.convert(&decoded[bytes], place);
                true
            }
            _ => false,
        }
    }
}
