//! What is asked of an engine, what comes back, and the rules that a read must keep.

use super::error::EngineError;
use super::file::FileSet;
use crate::buffer::{Pool, Slot};

/// One read: a byte range of a file, into a place in one of the submission's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Index of the file in the list that the engine was started with.
    pub file: u32,
    /// First byte in the file, a multiple of [`Engine::alignment`](super::Engine::alignment).
    pub offset_bytes: u64,
    /// How many bytes, a multiple of the alignment. The range may reach past the end of the file only as far
    /// as the alignment demands; what the slot holds for bytes past the end means nothing.
    pub len_bytes: u32,
    /// Index of the slot in [`Submission::slots`].
    pub slot: u32,
    /// First byte in the slot, a multiple of the alignment.
    pub slot_offset_bytes: u32,
}

/// Reads that belong together, and the slots that they fill.
#[derive(Debug)]
pub struct Submission {
    /// Whatever tells the caller's submissions apart; comes back in the [`Completion`].
    pub tag: u64,
    /// Where the bytes go; they belong to the engine until the submission completes.
    pub slots: Vec<Slot>,
    /// The reads, in the order in which they are started. They may not overlap in a slot.
    pub reads: Vec<Read>,
}

/// A submission that is over: every one comes back exactly once, whatever happened.
#[derive(Debug)]
pub struct Completion {
    /// The tag of the submission.
    pub tag: u64,
    /// The slots of the submission; after an error what they hold means nothing. Empty only after
    /// [`EngineError::Ring`].
    pub slots: Vec<Slot>,
    /// The reads of the submission.
    pub reads: Vec<Read>,
    /// Whether every byte of every read is in its place; else what went wrong first.
    pub result: Result<(), EngineError>,
}

impl Submission {
    /// Checks every rule that the engine and the kernel rely on.
    ///
    /// # Errors
    /// Names the first read that breaks one.
    pub(super) fn check(&self, files: &FileSet, pool: &Pool) -> Result<(), EngineError> {
        if let Some(slot) = self.slots.iter().position(|slot| !pool.owns(slot)) {
            return Err(EngineError::ForeignSlot { slot });
        }
        let slot_bytes = pool.slot_bytes() as u64;
        let mut ascending = true;
        let mut end = (0, 0);
        for (i, read) in self.reads.iter().enumerate() {
            check_read(read, self.slots.len(), slot_bytes, files)
                .map_err(|problem| EngineError::InvalidRead { read: i, problem })?;
            let start = (read.slot, u64::from(read.slot_offset_bytes));
            ascending &= end <= start;
            end = (start.0, start.1 + u64::from(read.len_bytes));
        }
        // Two threads must never write to the same bytes. Plans are made in ascending order, which one pass
        // proves.
        if ascending { Ok(()) } else { self.check_overlap() }
    }

    fn check_overlap(&self) -> Result<(), EngineError> {
        let range = |i: usize| {
            let read = &self.reads[i];
            let start = u64::from(read.slot_offset_bytes);
            (read.slot, start, start + u64::from(read.len_bytes))
        };
        let mut order: Vec<usize> = (0..self.reads.len())
            .filter(|&i| self.reads[i].len_bytes > 0)
            .collect();
        order.sort_unstable_by_key(|&i| range(i));
        for pair in order.windows(2) {
            let ((slot, _, end), (next_slot, next_start, _)) = (range(pair[0]), range(pair[1]));
            if slot == next_slot && next_start < end {
                let problem = format!("it overlaps read {} at byte {next_start} of slot {slot}", pair[0]);
                return Err(EngineError::InvalidRead {
                    read: pair[1],
                    problem,
                });
            }
        }
        Ok(())
    }
}

fn check_read(read: &Read, n_slots: usize, slot_bytes: u64, files: &FileSet) -> Result<(), String> {
    let &Read {
        file,
        offset_bytes,
        len_bytes,
        slot,
        slot_offset_bytes,
    } = read;
    let alignment = files.alignment();
    let misaligned =
        (offset_bytes | u64::from(len_bytes) | u64::from(slot_offset_bytes)) & u64::from(alignment - 1);
    if misaligned != 0 {
        return Err(format!(
            "its offset {offset_bytes}, length {len_bytes} and slot offset {slot_offset_bytes} must be multiples of {alignment}"
        ));
    }
    if slot as usize >= n_slots {
        return Err(format!("it goes to slot {slot} of {n_slots}"));
    }
    if u64::from(slot_offset_bytes) + u64::from(len_bytes) > slot_bytes {
        return Err(format!(
            "{len_bytes} bytes at byte {slot_offset_bytes} do not fit a slot of {slot_bytes}"
        ));
    }
    let Some(file_bytes) = files.len_bytes(file) else {
        return Err(format!("it is from file {file} of {}", files.len()));
    };
    let readable = file_bytes.next_multiple_of(u64::from(alignment));
    if offset_bytes
        .checked_add(u64::from(len_bytes))
        .is_none_or(|end| end > readable)
    {
        return Err(format!(
            "{len_bytes} bytes at byte {offset_bytes} lie past the end of a file of {file_bytes}"
        ));
    }
    Ok(())
}
