//! From the rows that are wanted to reads, in batches of one slot each. Of files only the index is looked into.

use std::ops::Range;

use super::link::Link;
use super::stored::{ElementStorage, Stored};
use crate::engine::Read;
use crate::engine::coalesce::{CACHE_LINE_BYTES, FileRange, ReadShape, first_read};
use crate::format::FormatError;
use crate::format::linked::ArrayRole;

/// A batch ends where the rows that come of it would take more than this: chunks may decode to any number of times their bytes.
const BATCH_KEPT_BYTES: u64 = 2 << 20;

/// The most bytes that may be kept from a batch: places in it have 32 bits.
pub(crate) const MAX_BATCH_BYTES: u64 = 1 << 31;

/// A row that is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The link that it is of, among those of the caller.
    pub(crate) link: u32,
    /// The input that it is of, among those of the link.
    pub(crate) input: u32,
    /// The caller's number of it.
    pub(crate) row: u32,
    /// The first of its values, among those of the input.
    pub(crate) first: u64,
    /// How many it has.
    pub(crate) nnz: u32,
}

/// Elements of a row that are stored together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSegment {
    pub(crate) row: u32,
    /// First of them within the row.
    pub(crate) at: u32,
    /// How many.
    pub(crate) n: u32,
    /// First of them within the elements that its extent has, or that were read of it.
    pub(crate) from: u32,
    /// Whether they are all of the row.
    pub(crate) is_whole: bool,
}

/// Bytes that are read for some segments, and what they are.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) link: u32,
    pub(crate) input: u32,
    pub(crate) role: ArrayRole,
    pub(crate) storage: ElementStorage,
    /// First of the elements, of those of the array; for messages.
    pub(crate) first: u64,
    /// Number of the file among those of the link.
    source_file: u32,
    /// Number of the file among those of the engine.
    file: u32,
    offset_bytes: u64,
    pub(crate) len_bytes: u32,
    /// Where they will be in the slot.
    pub(crate) slot_offset_bytes: u32,
    /// Which of the segments of the batch are in it.
    pub(crate) segments: Range<usize>,
}

/// Reads that fill one slot, and what is in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// The reads, to slot 0.
    pub(crate) reads: Vec<Read>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) segments: Vec<RowSegment>,
    /// Upper bound on the bytes kept from this batch.
    pub(crate) kept_bytes: u64,
}

impl Job {
    /// Number of the file among those of its link.
    pub(super) fn source_file(&self) -> usize {
        self.source_file as usize
    }

    /// First byte in that file.
    pub(super) fn place_in_file(&self) -> u64 {
        self.offset_bytes
    }
}

impl FileRange for Job {
    fn file(&self) -> u32 {
        self.file
    }

    fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    fn len_bytes(&self) -> u32 {
        self.len_bytes
    }
}

/// A link, and the number of its first file among those of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedLink<'a> {
    pub(crate) link: &'a Link,
    pub(crate) first_file: u32,
}

/// Plans the reads for rows, of which those of a link follow each other and ascend.
///
/// # Errors
/// If an index is damaged.
pub(crate) fn plan(
    links: &[PlannedLink<'_>],
    rows: &[Wanted],
    shape: &ReadShape,
) -> Result<Vec<Batch>, FormatError> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut segments: Vec<RowSegment> = Vec::with_capacity(2 * rows.len());
    // By array, input and column of tiles: so the segments of one chunk follow each other.
    let passes = ArrayRole::BOTH.into_iter().flat_map(|role| {
        let of_inputs = rows.chunk_by(|a, b| (a.link, a.input) == (b.link, b.input));
        of_inputs.flat_map(move |rows| {
            let link = links[rows[0].link as usize].link;
            let bands = link.input(rows[0].input).bands(role);
            bands.map(move |band| (role, band, rows))
        })
    });
    for (role, band, rows) in passes {
        for wanted in rows {
            let planned = &links[wanted.link as usize];
            let input = planned.link.input(wanted.input);
            let end = wanted.first + u64::from(wanted.nnz).min(band.end);
            let mut at = wanted.first.saturating_add(band.start).min(end);
            while at < end {
                let stored = planned.link.stored(input, role, at, end)?;
                let segment = RowSegment {
                    row: wanted.row,
                    at: (at - wanted.first) as u32,
                    n: (stored.elements.end - at) as u32,
                    from: stored.from,
                    is_whole: stored.elements.end - at == u64::from(wanted.nnz),
                };
                at = stored.elements.end;
                put(
                    &mut jobs,
                    &mut segments,
                    segment,
                    wanted,
                    role,
                    stored,
                    planned,
                    shape,
                );
            }
        }
    }
    // What was never written comes last: nothing is read for it.
    jobs.sort_unstable_by_key(|job| (job.storage == ElementStorage::Absent, job.file, job.offset_bytes));
    Ok(batches(&jobs, &segments, links, shape))
}

/// Adds a segment to the last job, where it is of the same chunk, or follows what that reads; else to a new one.
#[allow(clippy::too_many_arguments, reason = "one call, of the loop above")]
fn put(
    jobs: &mut Vec<Job>,
    segments: &mut Vec<RowSegment>,
    mut segment: RowSegment,
    &Wanted { link, input, .. }: &Wanted,
    role: ArrayRole,
    stored: Stored,
    planned: &PlannedLink<'_>,
    shape: &ReadShape,
) {
    let array = planned.link.input(input).array(role);
    let file = planned.first_file + stored.file;
    let len_bytes = (stored.bytes.end - stored.bytes.start) as u32;
    if let Some(last) = jobs.last_mut()
        && (last.link, last.input, last.role, last.storage) == (link, input, role, stored.storage)
    {
        let end = last.offset_bytes + u64::from(last.len_bytes);
        let joins = match stored.storage {
            ElementStorage::Chunk { .. } => true,
            ElementStorage::Absent => false,
            ElementStorage::Plain => {
                last.file == file
                    && end == stored.bytes.start
                    && u64::from(last.len_bytes + len_bytes) <= shape.read_bytes
            }
        };
        if joins {
            if stored.storage == ElementStorage::Plain {
                segment.from = last.len_bytes / array.width() as u32;
                last.len_bytes += len_bytes;
            }
            last.segments.end += 1;
            segments.push(segment);
            return;
        }
    }
    jobs.push(Job {
        link,
        input,
        role,
        storage: stored.storage,
        first: match (stored.storage, array.chunk_elements()) {
            (ElementStorage::Chunk { number, .. }, Some(elements)) => number * elements,
            _ => stored.elements.start,
        },
        source_file: stored.file,
        file,
        offset_bytes: stored.bytes.start,
        len_bytes,
        slot_offset_bytes: 0,
        segments: segments.len()..segments.len() + 1,
    });
    segments.push(segment);
}

/// Puts jobs, in the order of the files, into batches.
fn batches(
    jobs: &[Job],
    segments: &[RowSegment],
    links: &[PlannedLink<'_>],
    shape: &ReadShape,
) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut next_free = 0;
    let n_present = jobs.partition_point(|job| job.storage != ElementStorage::Absent);
    let (mut present, mut absent) = jobs.split_at(n_present);
    loop {
        let (now, start, end) = match (present, absent) {
            ([_, ..], _) => {
                let (n, start, end) = first_read(present, shape);
                let (now, later) = present.split_at(n);
                present = later;
                (now, start, end)
            }
            ([], [_, ..]) => {
                let (now, later) = absent.split_at(1);
                absent = later;
                (now, 0, 0)
            }
            ([], []) => break,
        };
        let len_bytes = (end - start) as u32;
        debug_assert!(
            len_bytes <= shape.slot_bytes,
            "the slot holds the longest row and chunk"
        );
        let is_full = batches.last().is_none_or(|batch| {
            next_free + len_bytes > shape.slot_bytes || batch.kept_bytes >= BATCH_KEPT_BYTES
        });
        if is_full {
            batches.push(Batch::default());
            next_free = 0;
        }
        let Some(batch) = batches.last_mut() else { break };
        if len_bytes > 0 {
            batch.reads.push(Read {
                file: now[0].file,
                offset_bytes: start,
                len_bytes,
                slot: 0,
                slot_offset_bytes: next_free,
            });
        }
        for job in now {
            let own = &segments[job.segments.clone()];
            let begin = batch.segments.len();
            batch.segments.extend_from_slice(own);
            let kept = links[job.link as usize]
                .link
                .input(job.input)
                .kept_bytes(job.role) as u64;
            // What is split is put together once more.
            let copies = |segment: &RowSegment| if segment.is_whole { 1 } else { 2 };
            let bytes = |segment: &RowSegment| u64::from(segment.n) * kept * copies(segment);
            batch.kept_bytes += own.iter().map(bytes).sum::<u64>();
            batch.jobs.push(Job {
                slot_offset_bytes: match job.storage {
                    ElementStorage::Absent => 0,
                    _ => next_free + (job.offset_bytes - start) as u32,
                },
                segments: begin..batch.segments.len(),
                ..job.clone()
            });
        }
        next_free = (next_free + len_bytes).next_multiple_of((CACHE_LINE_BYTES as u32).max(shape.alignment));
    }
    batches
}
