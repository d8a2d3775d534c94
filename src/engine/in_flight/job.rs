//! A submission, or one ring's share of it, while its reads are started and in flight.

use std::mem;

use crate::engine::error::EngineError;
use crate::engine::share::Share;
use crate::engine::submission::{Completion, Submission};

#[derive(Debug)]
pub(super) struct Job {
    pub(super) submission: Submission,
    /// The submission is one ring's share of another, which has the slots.
    pub(super) share: Option<Share>,
    /// The next byte to read: this read, and so far into it.
    pub(super) next_read: usize,
    pub(super) next_byte: u32,
    /// Pieces in flight or waiting to be tried again.
    pub(super) open: u32,
    pub(super) error: Option<EngineError>,
}

impl Job {
    pub(super) fn is_cut_up(&self) -> bool {
        self.next_read == self.submission.reads.len()
    }

    pub(super) fn has_failed_elsewhere(&self) -> bool {
        self.share.as_ref().is_some_and(Share::has_failed)
    }

    /// Hands the submission back, or this share of it: then only the last one becomes a completion.
    pub(super) fn end(mut self) -> Option<Completion> {
        // Only a job that was abandoned ends with pieces in flight.
        let is_lost = self.open > 0;
        if let Some(share) = self.share {
            return share.end(self.error, is_lost);
        }
        if is_lost {
            mem::forget(mem::take(&mut self.submission.slots));
        }
        let Submission { tag, slots, reads } = self.submission;
        Some(Completion {
            tag,
            slots,
            reads,
            result: self.error.map_or(Ok(()), Err),
        })
    }
}

/// Moves past reads of no bytes and to the next read at the end of one.
pub(super) fn skip_empty(job: &mut Job) {
    while let Some(read) = job.submission.reads.get(job.next_read) {
        if job.next_byte < read.len_bytes {
            return;
        }
        job.next_read += 1;
        job.next_byte = 0;
    }
}
