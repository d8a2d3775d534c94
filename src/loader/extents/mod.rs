//! From the obs of a fetch to the reads that bring them, and to the place of each in the buffers. Pure: no file is read.

use crate::engine::Read;
use crate::engine::coalesce::{CACHE_LINE_BYTES, FileRange, ReadShape, first_read};
use crate::format::obs::{ByteRange, Location};
use crate::format::{FormatError, Index};
use crate::linked::Link;
use crate::linked::plan::{Batch, PlannedLink, Wanted, plan};

/// Place of one part of an obs in the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) slot: u32,
    pub(super) offset_bytes: u32,
    pub(super) len_bytes: u32,
}

/// Where the values of a store are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// In blocks.
    Blocks(&'a Index),
    /// In other files.
    Linked(&'a Link),
}

/// One of several stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) content: Content<'a>,
    /// Number of its obs.
    pub(super) n_obs: u64,
    /// Number of its first obs among those of all stores.
    pub(super) first_obs: u64,
    /// Number of its first shard among the files of the engine.
    pub(super) first_file: u32,
}

/// One obs of a fetch: how many values it has and where its bytes will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedObs {
    /// Place of its store among the sources.
    pub(super) source: u32,
    pub(super) nnz: u32,
    pub(super) crc: u32,
    pub(super) parts: [SlotRange; 2],
}

/// The reads of a fetch.
#[derive(Clone, Debug, Default)]
pub(super) struct FetchReads {
    pub(super) reads: Vec<Read>,
    pub(super) n_slots: usize,
    /// For each matrix, in the order of the obs that were asked for. Where the parts of a linked store's obs are is known when these have
    /// been brought together.
    pub(super) placed: Vec<Vec<PlacedObs>>,
    /// What is read of linked stores. A row is numbered by its matrix and then its place among the obs that were asked for; a link by its
    /// place among the linked sources of all matrices.
    pub(super) batches: Vec<Batch>,
}

/// What is read of an obs that is to be read.
struct ObsRead {
    file: u32,
    part: ByteRange,
    position: u32,
    matrix: u16,
    which: u8,
}

impl Source<'_> {
    /// The number after that of its last obs.
    fn end(&self) -> u64 {
        self.first_obs + self.n_obs
    }
}

/// Plans the reads for `obs`, in any order; what occurs several times is read once.
///
/// Each matrix has the same obs, and a source for each store. Obs and files of a source follow those of the one before it; the files
/// of a matrix follow those of the one before it.
///
/// # Errors
/// If the index is damaged.
pub(super) fn plan_reads(
    matrices: &[Vec<Source<'_>>],
    obs: &[u64],
    shape: &ReadShape,
) -> Result<FetchReads, FormatError> {
    let mut fetch = FetchReads {
        reads: Vec::new(),
        n_slots: 0,
        placed: Vec::with_capacity(matrices.len()),
        batches: Vec::new(),
    };
    let empty = PlacedObs {
        source: 0,
        nnz: 0,
        crc: 0,
        parts: [SlotRange::default(); 2],
    };
    // In storage order, so that neighbours on disk become neighbours in the list.
    let mut order: Vec<u64> = Vec::with_capacity(obs.len());
    let n_obs = matrices[0].last().map_or(0, Source::end);
    let keys_fit = obs.len() < 1 << 16 && n_obs < 1 << 48;
    let mut by_obs: Vec<(u64, u32)> = Vec::new();
    if keys_fit {
        order.extend(
            obs.iter()
                .enumerate()
                .map(|(position, &obs)| obs << 16 | position as u64),
        );
        order.sort_unstable();
    } else {
        by_obs.extend(
            obs.iter()
                .enumerate()
                .map(|(position, &obs)| (obs, position as u32)),
        );
        by_obs.sort_unstable();
    }
    let sorted = order
        .iter()
        .map(|key| (key >> 16, (key & 0xFFFF) as u32))
        .chain(by_obs.iter().copied());
    let sources = matrices.iter().flatten();
    let n_parts = sources.filter_map(|source| match source.content {
        Content::Blocks(index) => Some(index.encoding().n_parts()),
        Content::Linked(_) => None,
    });
    let n_parts = n_parts.max().unwrap_or(0);
    let n_reads = obs.len() * matrices.len() * n_parts;
    let mut reads: Vec<ObsRead> = Vec::with_capacity(n_reads);
    let mut links = Vec::new();
    let mut wanted = Vec::new();
    for (matrix, sources) in matrices.iter().enumerate() {
        let mut placed = vec![empty; obs.len()];
        let mut sorted = sorted.clone();
        let mut left = obs.len();
        for (number, source) in sources.iter().enumerate() {
            let &Source {
                content,
                first_obs,
                first_file,
                ..
            } = source;
            let n_here = match number + 1 == sources.len() {
                true => left,
                false => sorted.clone().take_while(|(obs, _)| *obs < source.end()).count(),
            };
            left -= n_here;
            let here = sorted
                .clone()
                .take(n_here)
                .map(|(obs, position)| (obs - first_obs, position));
            match content {
                Content::Blocks(index) => {
                    index.will_need(here.clone().map(|(obs, _)| obs));
                    for (obs, position) in here {
                        let Location {
                            shard,
                            parts,
                            nnz,
                            crc,
                        } = index.locate(obs)?;
                        placed[position as usize] = PlacedObs {
                            source: number as u32,
                            nnz,
                            crc,
                            ..empty
                        };
                        let present = parts
                            .into_iter()
                            .enumerate()
                            .filter(|(_, part)| part.len_bytes > 0);
                        reads.extend(present.map(|(which, part)| ObsRead {
                            file: first_file + shard,
                            part,
                            position,
                            matrix: matrix as u16,
                            which: which as u8,
                        }));
                    }
                }
                Content::Linked(link) => {
                    for (obs_of_link, position) in here {
                        let values = link.values(obs_of_link)?;
                        placed[position as usize] = PlacedObs {
                            source: number as u32,
                            nnz: values.nnz,
                            crc: link.checksum(obs_of_link)?.unwrap_or_default(),
                            ..empty
                        };
                        if values.nnz > 0 {
                            wanted.push(Wanted {
                                link: links.len() as u32,
                                input: values.input,
                                row: (matrix * obs.len()) as u32 + position,
                                first: values.first,
                                nnz: values.nnz,
                            });
                        }
                    }
                    links.push(PlannedLink { link, first_file });
                }
            }
            if n_here > 0 {
                sorted.nth(n_here - 1);
            }
        }
        fetch.placed.push(placed);
    }
    if n_parts > 1 {
        reads.sort_unstable_by_key(|read| (read.file, read.part.offset_bytes));
    }
    let mut cursor = Cursor {
        slot: 0,
        offset_bytes: 0,
    };
    let mut rest = reads.as_slice();
    while !rest.is_empty() {
        let (n, start, end) = first_read(rest, shape);
        let (now, later) = rest.split_at(n);
        cursor.put(now, start, end, shape, &mut fetch);
        rest = later;
    }
    fetch.n_slots = fetch.reads.last().map_or(0, |read| read.slot as usize + 1);
    fetch.batches = plan(&links, &wanted, shape)?;
    Ok(fetch)
}

impl FileRange for ObsRead {
    fn file(&self) -> u32 {
        self.file
    }

    fn offset_bytes(&self) -> u64 {
        self.part.offset_bytes
    }

    fn len_bytes(&self) -> u32 {
        self.part.len_bytes
    }
}

/// The first free place in the slots.
struct Cursor {
    slot: u32,
    offset_bytes: u32,
}

impl Cursor {
    fn put(&mut self, reads: &[ObsRead], start: u64, end: u64, shape: &ReadShape, fetch: &mut FetchReads) {
        let len_bytes = (end - start) as u32;
        debug_assert!(len_bytes <= shape.slot_bytes, "the slot holds the longest obs");
        if self.offset_bytes + len_bytes > shape.slot_bytes {
            (self.slot, self.offset_bytes) = (self.slot + 1, 0);
        }
        let (file, slot, slot_offset_bytes) = (reads[0].file, self.slot, self.offset_bytes);
        fetch.reads.push(Read {
            file,
            offset_bytes: start,
            len_bytes,
            slot,
            slot_offset_bytes,
        });
        for read in reads {
            let offset_bytes = slot_offset_bytes + (read.part.offset_bytes - start) as u32;
            let place = SlotRange {
                slot,
                offset_bytes,
                len_bytes: read.part.len_bytes,
            };
            let placed = &mut fetch.placed[read.matrix as usize];
            placed[read.position as usize].parts[read.which as usize] = place;
        }
        // Where reads need no alignment, frames still start on cache lines of their own.
        self.offset_bytes = (slot_offset_bytes + len_bytes).next_multiple_of(CACHE_LINE_BYTES as u32);
    }
}

#[cfg(test)]
mod tests;
