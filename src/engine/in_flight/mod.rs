//! Submissions and reads in flight: the state that every backend drives in the same way.
//!
//! A backend takes the next read with [`InFlight::next`], carries it out, and reports with [`InFlight::finish`].
//! [`InFlight`] owns the slots all the while, so that nothing that fails or is dropped elsewhere can free memory
//! that is being written. It is not shared: the ring's thread has it to itself, the threads of the others put
//! it behind a lock.

mod job;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::error::{Breakdown, EngineError};
use super::file::FileSet;
use super::judge::{Verdict, judge};
use super::piece::{MAX_PIECE_BYTES, Piece};
use super::share::{Share, Task};
use super::slab::Slab;
use super::stats::EngineStats;
use super::submission::Completion;
use job::{Job, skip_empty};

/// Names a piece in flight to [`InFlight::finish`].
pub(super) type FlightId = u32;

#[derive(Debug)]
struct Flight {
    piece: Piece,
    job: u32,
    /// How many of the bytes lie inside the file as it was opened.
    needed_bytes: u32,
    /// How often in a row it came back with nothing gained.
    fruitless: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight {
    files: Arc<FileSet>,
    jobs: Slab<Job>,
    flights: Slab<Flight>,
    /// Jobs that have reads left to start, first come, first served.
    queue: VecDeque<u32>,
    /// Flights to start again.
    again: VecDeque<FlightId>,
    /// Jobs that are over.
    ready: VecDeque<Job>,
    in_flight: u32,
    in_flight_bytes: u64,
    stopped: bool,
    is_abandoned: bool,
    counts: EngineStats,
}

impl InFlight {
    pub(super) fn new(files: Arc<FileSet>) -> InFlight {
        InFlight {
            files,
            jobs: Slab::default(),
            flights: Slab::default(),
            queue: VecDeque::new(),
            again: VecDeque::new(),
            ready: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            stopped: false,
            is_abandoned: false,
            counts: EngineStats::default(),
        }
    }

    /// Takes in a submission, or a share of one.
    pub(super) fn push(&mut self, task: Task) {
        let Task {
            submission,
            checked,
            share,
        } = task;
        self.counts.submissions += u64::from(share.as_ref().is_none_or(Share::is_first));
        let mut job = Job {
            submission,
            share,
            next_read: 0,
            next_byte: 0,
            open: 0,
            error: checked.err(),
        };
        if self.stopped {
            job.error.get_or_insert(EngineError::Stopped);
        }
        skip_empty(&mut job);
        if job.error.is_some() || job.is_cut_up() {
            self.ready.push_back(job);
        } else {
            self.queue.push_back(self.jobs.insert(job));
        }
    }

    /// The next piece to read; `None` while there is nothing to start.
    pub(super) fn next(&mut self) -> Option<(FlightId, Piece)> {
        let id = match self.again.pop_front() {
            Some(id) => id,
            None => self.cut()?,
        };
        let piece = self.flights.get(id).piece;
        self.in_flight += 1;
        self.in_flight_bytes += u64::from(piece.len_bytes);
        Some((id, piece))
    }

    /// Cuts the next piece from the first job that has one.
    fn cut(&mut self) -> Option<FlightId> {
        let job_id = loop {
            let &job_id = self.queue.front()?;
            if !self.jobs.get(job_id).has_failed_elsewhere() {
                break job_id;
            }
            self.fail(job_id, EngineError::Stopped);
        };
        let job = self.jobs.get_mut(job_id);
        let read = job.submission.reads[job.next_read];
        let len_bytes = (read.len_bytes - job.next_byte).min(MAX_PIECE_BYTES);
        let offset_bytes = read.offset_bytes + u64::from(job.next_byte);
        let slot_offset_bytes = read.slot_offset_bytes + job.next_byte;
        let target = match &job.share {
            Some(share) => share.target(read.slot, slot_offset_bytes),
            None => job.submission.slots[read.slot as usize].target(slot_offset_bytes, len_bytes),
        };
        job.next_byte += len_bytes;
        job.open += 1;
        skip_empty(job);
        if job.is_cut_up() {
            self.queue.pop_front();
        }
        let inside = self
            .files
            .len_bytes(read.file)
            .unwrap_or(0)
            .saturating_sub(offset_bytes);
        let needed_bytes = u32::try_from(inside).unwrap_or(u32::MAX).min(len_bytes);
        let piece = Piece {
            file: read.file,
            offset_bytes,
            len_bytes,
            target,
        };
        Some(self.flights.insert(Flight {
            piece,
            job: job_id,
            needed_bytes,
            fruitless: 0,
        }))
    }

    /// Takes in the result of a piece that [`next`](InFlight::next) gave out; nothing writes to its target any
    /// more.
    pub(super) fn finish(&mut self, id: FlightId, result: io::Result<u32>) {
        let flight = self.flights.get_mut(id);
        let Piece {
            file,
            offset_bytes,
            len_bytes,
            ..
        } = flight.piece;
        self.in_flight -= 1;
        self.in_flight_bytes -= u64::from(len_bytes);
        self.counts.reads += 1;
        self.counts.bytes += u64::from(*result.as_ref().unwrap_or(&0));
        let was_short = result.is_ok();
        let verdict = judge(
            result,
            flight.needed_bytes,
            self.files.alignment(),
            flight.fruitless,
        );
        let job_id = flight.job;
        let error = match verdict {
            Verdict::Done => None,
            Verdict::Again { .. } if self.jobs.get(job_id).error.is_some() => None,
            Verdict::Again { skip_bytes } => {
                flight.fruitless = if skip_bytes == 0 { flight.fruitless + 1 } else { 0 };
                flight.needed_bytes -= skip_bytes;
                flight.piece.offset_bytes += u64::from(skip_bytes);
                flight.piece.len_bytes -= skip_bytes;
                flight.piece.target = flight.piece.target.skip(skip_bytes);
                self.again.push_back(id);
                *(if was_short {
                    &mut self.counts.short_reads
                } else {
                    &mut self.counts.retries
                }) += 1;
                return;
            }
            Verdict::Truncated { found_bytes } => Some(EngineError::Truncated {
                path: self.files.path(file).to_owned(),
                offset_bytes,
                expected_bytes: flight.needed_bytes,
                found_bytes,
                end_bytes: offset_bytes + u64::from(flight.needed_bytes),
            }),
            Verdict::Failed(source) => Some(EngineError::Read {
                path: self.files.path(file).to_owned(),
                offset_bytes,
                len_bytes,
                source,
            }),
        };
        self.flights.remove(id);
        let job = self.jobs.get_mut(job_id);
        job.open -= 1;
        if let Some(error) = error {
            self.counts.errors += 1;
            self.fail(job_id, error);
        } else if job.open == 0 && job.is_cut_up() {
            self.ready.push_back(self.jobs.remove(job_id));
        }
    }

    /// Fails a job: nothing more of it is started, and it completes when its pieces in flight are back.
    fn fail(&mut self, job_id: u32, error: EngineError) {
        let job = self.jobs.get_mut(job_id);
        if !job.is_cut_up() {
            job.next_read = job.submission.reads.len();
            self.queue.retain(|&queued| queued != job_id);
        }
        job.error.get_or_insert(error);
        if let Some(share) = &job.share {
            share.fail();
        }
        if job.open == 0 {
            self.ready.push_back(self.jobs.remove(job_id));
        }
    }

    /// Starts nothing new: submissions that are not wholly in flight fail as stopped.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        while let Some(&job_id) = self.queue.front() {
            self.fail(job_id, EngineError::Stopped);
        }
    }

    /// Ends every job although pieces may be in flight, because their results will never be learnt. Slots
    /// that the kernel may still write to are leaked.
    pub(super) fn abandon(&mut self, breakdown: &Breakdown) {
        self.stopped = true;
        self.is_abandoned = true;
        self.queue.clear();
        self.again.clear();
        self.in_flight = 0;
        self.in_flight_bytes = 0;
        self.flights = Slab::default();
        for mut job in self.jobs.drain() {
            self.counts.errors += 1;
            job.error.get_or_insert_with(|| breakdown.error());
            self.ready.push_back(job);
        }
    }

    /// A submission that is over, to be handed back. What has been counted until then must have been published:
    /// another ring may complete the submission that a share of this one belongs to.
    pub(super) fn pop_ready(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.ready.pop_front()?.end() {
                return Some(completion);
            }
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether every submission is over and handed back.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.ready.is_empty()
    }

    /// How many reads are in flight.
    pub(super) fn n_reads(&self) -> u32 {
        self.in_flight
    }

    /// How many bytes they ask for.
    pub(super) fn bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether [`stop`](InFlight::stop) has been called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether [`abandon`](InFlight::abandon) has been called: nothing may be reported to the table any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    pub(super) fn counts_mut(&mut self) -> &mut EngineStats {
        &mut self.counts
    }

    pub(super) fn counts(&self) -> &EngineStats {
        &self.counts
    }
}
