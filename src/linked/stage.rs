//! Takes the wanted segments out of a batch that was read: chunks are inflated, and the parts of rows that lie in them kept.

use cellring_core::ValueType;

use super::error::LinkedError;
use super::input::Input;
use super::link::Link;
use super::narrow::{self, Counts};
use super::plan::{Batch, Job, RowSegment};
use super::stored::ElementStorage;
use crate::format::encoding::linked::kept_type;
use crate::format::linked::ArrayRole;

/// Elements of a row as they are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodedSegment {
    pub(crate) row: u32,
    pub(crate) role: ArrayRole,
    /// First of them within the row.
    pub(crate) at: u32,
    /// How many they are.
    pub(crate) n: u32,
    /// Whether they are all of the row.
    pub(crate) is_whole: bool,
    /// Their type in the file.
    pub(crate) value_type: ValueType,
    /// Where they are.
    pub(crate) offset_bytes: u32,
    pub(crate) len_bytes: u32,
}

impl DecodedSegment {
    /// The type that values are kept in.
    pub(crate) fn kept_type(&self) -> ValueType {
        kept_type(self.value_type, self.n as usize, self.len_bytes as usize).unwrap_or(self.value_type)
    }
}

/// The parts of rows that came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parts: Vec<DecodedSegment>,
    /// The memory that it takes, and will take: parts of rows that are split are put together once more.
    pub(crate) held_bytes: u64,
}

/// What a thread keeps from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    stored: Vec<u8>,
    decoded: Vec<u8>,
    counts: Counts,
    /// What comes of a batch, before its length is known.
    kept: Vec<u8>,
}

/// Takes the segments of a batch, whose bytes `slot` holds.
///
/// # Errors
/// If a chunk does not decode, or a column is out of range.
pub(crate) fn stage<'a>(
    batch: &Batch,
    slot: &[u8],
    link: impl Fn(u32) -> &'a Link,
    scratch: &mut Scratch,
) -> Result<Staged, LinkedError> {
    let mut parts = Vec::with_capacity(batch.segments.len());
    scratch.kept.clear();
    for job in &batch.jobs {
        let link = link(job.link);
        let segments = &batch.segments[job.segments.clone()];
        let begin = job.slot_offset_bytes as usize;
        let stored = &slot[begin..begin + job.len_bytes as usize];
        let Scratch {
            stored: copy,
            decoded,
            counts,
            kept,
        } = scratch;
        let elements = match job.storage {
            ElementStorage::Plain => stored,
            ElementStorage::Chunk { filter_mask, .. } => {
                decode(link, job, segments, stored, filter_mask, copy, decoded)?;
                decoded.as_slice()
            }
            ElementStorage::Absent => {
                fill(link.input(job.input), job.role, segments, decoded);
                decoded.as_slice()
            }
        };
        for segment in segments {
            parts.push(keep(link, job, segment, elements, counts, kept)?);
        }
    }
    let of_links = batch.jobs.iter().flat_map(|job| {
        let link = link(job.link);
        let parts = parts[job.segments.clone()].iter();
        parts.map(move |part| (link, part))
    });
    let split = of_links.filter(|(_, part)| !part.is_whole);
    let joined = split.map(|(link, part)| match part.role {
        // It may meet wider ones in its row.
        ArrayRole::Values => u64::from(part.n) * u64::from(link.part_width()),
        ArrayRole::Columns => part.len_bytes.into(),
    });
    Ok(Staged {
        held_bytes: scratch.kept.len() as u64 + joined.sum::<u64>(),
        // As much as it takes, which is often half of what it might have taken.
        bytes: scratch.kept.as_slice().to_vec(),
        parts,
    })
}

/// Decodes a chunk, at least what is wanted of it.
fn decode(
    link: &Link,
    job: &Job,
    segments: &[RowSegment],
    stored: &[u8],
    filter_mask: u32,
    copy: &mut Vec<u8>,
    decoded: &mut Vec<u8>,
) -> Result<(), LinkedError> {
    let array = link.input(job.input).array(job.role);
    let decoded_bytes = array.chunk_bytes() as usize;
    let pipeline = array.pipeline();
    let damaged = |detail: String| link.damaged_chunk(job, detail);
    decoded.resize(decoded_bytes, 0);
    let width = array.width();
    let wanted = segments.iter().map(|segment| {
        let from = segment.from as usize * width;
        from..from + segment.n as usize * width
    });
    if pipeline.decode_parts(stored, filter_mask, decoded, wanted) {
        return Ok(());
    }
    if pipeline
        .decode_into(stored, filter_mask, decoded)
        .map_err(damaged)?
    {
        return Ok(());
    }
    copy.clear();
    copy.extend_from_slice(stored);
    pipeline
        .decode(copy, filter_mask, decoded, decoded_bytes)
        .map_err(damaged)
}

/// As many fill values as the longest of the segments has elements.
fn fill(input: &Input, role: ArrayRole, segments: &[RowSegment], decoded: &mut Vec<u8>) {
    let array = input.array(role);
    let n = segments.iter().map(|segment| segment.n).max().unwrap_or(0);
    decoded.clear();
    for _ in 0..n {
        decoded.extend_from_slice(&array.linked().fill[..array.width()]);
    }
}

/// Keeps the elements of a segment.
fn keep(
    link: &Link,
    job: &Job,
    segment: &RowSegment,
    elements: &[u8],
    counts: &mut Counts,
    kept: &mut Vec<u8>,
) -> Result<DecodedSegment, LinkedError> {
    let input = link.input(job.input);
    let array = input.array(job.role);
    let width = array.width();
    let from = segment.from as usize * width;
    let elements = &elements[from..from + segment.n as usize * width];
    let (value_type, big_endian) = (array.value_type(), array.linked().big_endian);
    let begin = kept.len();
    match job.role {
        ArrayRole::Columns => {
            let (n_vars, column_bytes) = (input.n_vars(), input.own_column_bytes());
            narrow::columns(elements, value_type, big_endian, n_vars, column_bytes, kept).map_err(
                |place| {
                    let element = &elements[place * width..][..width];
                    let position = job.first + u64::from(segment.from) + place as u64;
                    link.bad_column(job, position, narrow::integer(element, value_type, big_endian))
                },
            )?;
        }
        ArrayRole::Values => {
            narrow::values(elements, value_type, big_endian, counts, kept);
        }
    }
    let part = DecodedSegment {
        row: segment.row,
        role: job.role,
        at: segment.at,
        n: segment.n,
        is_whole: segment.is_whole,
        value_type,
        offset_bytes: begin as u32,
        len_bytes: (kept.len() - begin) as u32,
    };
    if job.role == ArrayRole::Values && !part.is_whole {
        link.note_part_width(part.kept_type().size_bytes() as u8);
    }
    Ok(part)
}

impl Link {
    #[cold]
    fn damaged_chunk(&self, job: &Job, detail: String) -> LinkedError {
        let number = match job.storage {
            ElementStorage::Chunk { number, .. } => number,
            _ => 0,
        };
        LinkedError::Chunk {
            file: self.source_of(job),
            array: self.input(job.input).array(job.role).linked().path.clone(),
            chunk: number,
            offset_bytes: job.place_in_file(),
            detail,
        }
    }

    #[cold]
    fn bad_column(&self, job: &Job, position: u64, found: i128) -> LinkedError {
        LinkedError::Column {
            file: self.source_of(job),
            array: self.input(job.input).array(job.role).linked().path.clone(),
            position,
            found,
            n_vars: self.input(job.input).n_vars(),
        }
    }

    /// The file that a job reads, or the store if it reads none.
    fn source_of(&self, job: &Job) -> std::path::PathBuf {
        let source = self.sources().get(job.source_file());
        source.map_or_else(
            || self.store().to_path_buf(),
            |source| source.path().to_path_buf(),
        )
    }
}
