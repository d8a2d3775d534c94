//! Submissions and reads in flight: the state that every backend drives in the same way.
//!
//! A backend takes the next read with [`Table::next`], carries it out, and reports with [`Table::finish`].
//! The table owns the slots all the while, so that nothing that fails or is dropped elsewhere can free memory
//! that is being written. It is not shared: the ring's thread has it to itself, the threads of the others put
//! it behind a lock.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;

use super::error::Breakdown;
use super::file::FileSet;
use super::judge::{Verdict, judge};
use super::share::{Order, Share};
use super::slab::Slab;
use super::{Completion, EngineError, EngineStats, Submission};
use crate::buffer::Target;

/// Longer reads are cut into pieces of this many bytes: what one command of the device can carry, and what
/// lets one large read keep several in flight.
pub(super) const MAX_PIECE_BYTES: u32 = 1 << 20;

/// A read for a backend to carry out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) file: u32,
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u32,
    pub(super) target: Target,
}

/// Names a piece in flight to [`Table::finish`].
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

#[derive(Debug)]
struct Job {
    submission: Submission,
    /// The submission is one ring's share of another, which has the slots.
    share: Option<Share>,
    /// The next byte to read: this read, and so far into it.
    next_read: usize,
    next_byte: u32,
    /// Pieces in flight or waiting to be tried again.
    open: u32,
    error: Option<EngineError>,
}

impl Job {
    fn is_cut_up(&self) -> bool {
        self.next_read == self.submission.reads.len()
    }

    fn has_failed_elsewhere(&self) -> bool {
        self.share.as_ref().is_some_and(Share::has_failed)
    }

    /// Hands the submission back, or this share of it: then only the last one becomes a completion.
    fn end(mut self) -> Option<Completion> {
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

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
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

impl Table {
    pub(super) fn new(files: Arc<FileSet>) -> Table {
        Table {
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
    pub(super) fn push(&mut self, order: Order) {
        let Order {
            submission,
            checked,
            share,
        } = order;
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

    /// Takes in the result of a piece that [`next`](Table::next) gave out; nothing writes to its target any
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

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether [`stop`](Table::stop) has been called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether [`abandon`](Table::abandon) has been called: nothing may be reported to the table any more.
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

/// Moves past reads of no bytes and to the next read at the end of one.
fn skip_empty(job: &mut Job) {
    while let Some(read) = job.submission.reads.get(job.next_read) {
        if job.next_byte < read.len_bytes {
            return;
        }
        job.next_read += 1;
        job.next_byte = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use crate::engine::Read;

    /// A table on one file of 3 MiB, with a pool of 4 slots of as many bytes.
    fn table() -> (Table, Pool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let files = FileSet::open_buffered(&[file.path().to_owned()]).unwrap();
        (Table::new(Arc::new(files)), Pool::new(4, 3 << 20).unwrap())
    }

    fn push(table: &mut Table, pool: &Pool, tag: u64, lens: &[u32]) {
        let starts = lens.iter().scan(0, |at, len| Some(mem::replace(at, *at + len)));
        let reads = starts.zip(lens).map(|(start, &len_bytes)| Read {
            file: 0,
            offset_bytes: u64::from(start),
            len_bytes,
            slot: 0,
            slot_offset_bytes: start,
        });
        let submission = Submission {
            tag,
            slots: pool.take(1).unwrap(),
            reads: reads.collect(),
        };
        table.push(Order::whole(submission, Ok(())));
    }

    #[test]
    fn long_reads_are_cut_and_submissions_start_in_their_order_without_a_barrier() {
        let (mut table, pool) = table();
        push(&mut table, &pool, 1, &[0, 100, MAX_PIECE_BYTES + 5, 0]);
        push(&mut table, &pool, 2, &[7]);
        let pieces: Vec<_> = std::iter::from_fn(|| table.next()).collect();
        let cut: Vec<_> = pieces
            .iter()
            .map(|(_, piece)| (piece.offset_bytes, piece.len_bytes))
            .collect();
        assert_eq!(
            cut,
            [
                (0, 100),
                (100, MAX_PIECE_BYTES),
                (100 + u64::from(MAX_PIECE_BYTES), 5),
                (0, 7)
            ]
        );
        assert_eq!(
            (table.in_flight(), table.in_flight_bytes()),
            (4, u64::from(MAX_PIECE_BYTES) + 112)
        );
        // The second submission may be done before the first.
        for &(id, piece) in pieces.iter().rev() {
            table.finish(id, Ok(piece.len_bytes));
        }
        let tags: Vec<_> = std::iter::from_fn(|| table.pop_ready())
            .map(|done| done.tag)
            .collect();
        assert_eq!(tags, [2, 1]);
        assert!(table.is_empty() && pool.free() == 4);
    }

    #[test]
    fn a_failed_submission_waits_for_its_reads_in_flight_and_starts_no_more() {
        let (mut table, pool) = table();
        push(&mut table, &pool, 1, &[10, 10, 10]);
        let ((first, _), (second, _)) = (table.next().unwrap(), table.next().unwrap());
        table.finish(second, Err(io::Error::other("broken")));
        assert!(table.next().is_none() && !table.has_ready());
        // Short, and not to be tried again.
        table.finish(first, Ok(3));
        let done = table.pop_ready().unwrap();
        assert!(matches!(
            done.result,
            Err(EngineError::Read { offset_bytes: 10, .. })
        ));
        assert!(table.is_empty());
    }

    #[test]
    fn a_share_starts_no_more_when_another_has_failed_and_the_last_one_completes_the_submission() {
        let (mut one, pool) = table();
        let mut two = Table::new(Arc::clone(&one.files));
        let read = |i: u32| Read {
            file: 0,
            offset_bytes: u64::from(i) * 10,
            len_bytes: 10,
            slot: 0,
            slot_offset_bytes: i * 10,
        };
        let submission = Submission {
            tag: 1,
            slots: pool.take(1).unwrap(),
            reads: (0..4).map(read).collect(),
        };
        let parts = vec![vec![read(0), read(2)], vec![read(1), read(3)]];
        let orders = Order::divide(submission, parts).into_iter().flatten();
        orders
            .zip([&mut one, &mut two])
            .for_each(|(order, table)| table.push(order));
        let ((first, piece), (second, other)) = (one.next().unwrap(), two.next().unwrap());
        assert_eq!((piece.offset_bytes, other.offset_bytes), (0, 10));
        assert_eq!(
            other.target.as_ptr() as usize - piece.target.as_ptr() as usize,
            10
        );
        one.finish(first, Err(io::Error::other("broken")));
        assert!(one.next().is_none() && two.next().is_none());
        assert!(one.pop_ready().is_none() && one.is_empty() && !two.has_ready());
        two.finish(second, Ok(10));
        let done = two.pop_ready().unwrap();
        assert!(matches!(
            done.result,
            Err(EngineError::Read { offset_bytes: 0, .. })
        ));
        assert_eq!((done.slots.len(), done.reads.len()), (1, 4));
        assert_eq!((one.counts().submissions, two.counts().submissions), (1, 0));
        assert!(two.is_empty());
    }

    #[test]
    fn abandoning_keeps_the_slots_that_may_still_be_written_to() {
        let (mut table, pool) = table();
        for tag in 1..=3 {
            push(&mut table, &pool, tag, &[10]);
        }
        let (first, _) = table.next().unwrap();
        table.next().unwrap();
        table.finish(first, Ok(10));
        table.abandon(&Breakdown::Ring("gone".to_owned()));
        let done: Vec<_> = std::iter::from_fn(|| table.pop_ready()).collect();
        let slots: Vec<_> = done
            .iter()
            .map(|done| (done.tag, done.slots.len(), done.result.is_ok()))
            .collect();
        assert_eq!(slots, [(1, 1, true), (2, 0, false), (3, 1, false)]);
        drop(done);
        assert_eq!(pool.free(), 3);
        push(&mut table, &pool, 4, &[10]);
        assert!(matches!(
            table.pop_ready().unwrap().result,
            Err(EngineError::Stopped)
        ));
    }
}
