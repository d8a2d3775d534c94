//! The threads of an epoch: one submits the reads of fetches, which it plans itself or takes from others that plan; the others bring rows of
//! linked stores together, and decode.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::decode::{DecodeContext, DecodeScratch, decode_task};
use super::error::LoaderError;
use super::extents::FetchReads;
use super::gather::{explained, gather};
use super::memory::Memory;
use super::pending::{PendingBatch, PendingFetch, StagedBatch};
use super::pipeline::{DecodeWork, Pipeline};
use super::planner::{FetchSource, Planned, PlannedPart};
use super::stage_memory::{Refusal, StageMemory};
use crate::Error;
use crate::buffer::{Pool, Slot};
use crate::engine::{Completion, Engine, Submission};
use crate::linked::plan::{Batch, MAX_BATCH_BYTES};
use crate::linked::stage::{self, stage};

/// Fetches of which slots are out: one is decoded, the others are read or have just been.
const FETCHES_AHEAD: usize = 4;
/// Where fetches are small, slots of so many bytes are filled ahead, but so many slots at least: what keeps fast devices busy.
const AHEAD_BYTES: usize = 64 << 20;
const AHEAD_SLOTS: usize = 32;

/// How many slots of the pool may be out: more than a few fetches ahead gain nothing, and cost memory and the cache.
struct Ahead {
    /// Out before the epoch began: in reads of an earlier one, or kept by a caller.
    before: usize,
    least: usize,
    /// Of the largest fetch so far.
    largest: usize,
}

impl Ahead {
    fn new(pool: &Pool) -> Self {
        Self {
            before: pool.n_slots() - pool.free(),
            least: AHEAD_BYTES.div_ceil(pool.slot_bytes()).max(AHEAD_SLOTS),
            largest: 0,
        }
    }

    /// With those of a fetch of `n_slots`.
    fn most(&mut self, n_slots: usize) -> usize {
        self.largest = self.largest.max(n_slots);
        self.before + (self.largest * FETCHES_AHEAD).max(self.largest + self.least)
    }
}

/// The epoch that each completion belongs to, by its tag.
pub(super) type Routes = Arc<Mutex<HashMap<u64, Arc<Pipeline>>>>;

/// Hands a completion to the epoch that its fetch belongs to.
pub(super) fn route(routes: &Routes, completion: Completion) {
    let pipeline = routes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&completion.tag);
    if let Some(pipeline) = pipeline {
        pipeline.complete(completion);
    }
}

/// Submits the reads of fetches, some fetches ahead.
pub(super) struct Submitter {
    pub(super) fetches: FetchSource,
    /// Number of them, and of the first minibatch.
    pub(super) n_fetches: u64,
    pub(super) first: u64,
    pub(super) engine: Arc<Engine>,
    pub(super) pool: Pool,
    pub(super) routes: Routes,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) memory: Memory,
    pub(super) stage_memory: StageMemory,
    /// Each submission of the loader has a tag of its own.
    pub(super) next_tag: Arc<AtomicU64>,
    /// Whether whole fetches are handed out, which the caller may keep: then all slots may be out.
    pub(super) hands_out: bool,
    pub(super) span: Span,
}

impl Submitter {
    pub(super) fn run(self) {
        let mut first = self.first;
        let mut ahead = Ahead::new(&self.pool);
        for number in 0..self.n_fetches {
            let span =
                tracing::debug_span!(parent: &self.span, "fetch", number, n_obs = Empty, n_reads = Empty);
            let _entered = span.enter();
            // Its thread has said why it ended.
            let Some(planned) = self.fetches.take(number) else {
                return;
            };
            let Planned { parts, elapsed } = planned;
            let parts = match parts {
                Ok(parts) => parts,
                Err(error) => return self.pipeline.fail_at(first, error.into()),
            };
            span.record("n_obs", parts.iter().map(PlannedPart::n_obs).sum::<usize>());
            span.record(
                "n_reads",
                parts.iter().map(|part| part.reads.reads.len()).sum::<usize>(),
            );
            if let Err(error) = self.check_budget(&parts) {
                return self.pipeline.fail_at(first, error.into());
            }
            self.pipeline.planned(elapsed, Duration::ZERO);
            for part in parts {
                let n_minibatches = part.fetch.minibatches.len() as u64;
                if !self.read(part, first, &mut ahead) {
                    return;
                }
                first += n_minibatches;
            }
        }
    }

    /// Refuses a fetch of which a part does not fit the buffers, before any of it is read.
    fn check_budget(&self, parts: &[PlannedPart]) -> Result<(), LoaderError> {
        let n_slots = parts.iter().map(PlannedPart::n_slots).max().unwrap_or(0);
        if n_slots <= self.pool.n_slots() {
            return Ok(());
        }
        Err(LoaderError::Budget {
            n_obs: parts.iter().map(PlannedPart::n_obs).sum(),
            needed_bytes: n_slots * self.pool.slot_bytes(),
            left_bytes: self.pool.n_slots() * self.pool.slot_bytes(),
            budget_bytes: self.memory.budget_bytes,
            // Another fetch may need a little more.
            enough_bytes: self.memory.budget_with_slots(n_slots + n_slots.div_ceil(8)),
        })
    }

    /// Has a part of a fetch read as soon as there are slots for it; `first` is its first minibatch. False if the epoch is over.
    fn read(&self, part: PlannedPart, first: u64, ahead: &mut Ahead) -> bool {
        let since = Instant::now();
        let stopped = || self.pipeline.is_stopped();
        let (n_obs, n_slots) = (part.n_obs(), part.n_slots());
        let PlannedPart { fetch, reads } = part;
        let most = match self.hands_out || reads.n_slots == 0 {
            true => usize::MAX,
            false => ahead.most(n_slots),
        };
        let Some(slots) = self.pool.take_unless(reads.n_slots, most, stopped) else {
            self.give_up(first);
            return false;
        };
        self.pipeline.planned(Duration::ZERO, since.elapsed());
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let FetchReads {
            reads,
            placed,
            batches,
            ..
        } = reads;
        let pending = PendingFetch {
            fetch,
            placed,
            first,
            n_open: 1 + batches.len(),
            slots: Vec::new(),
            staged: Vec::new(),
        };
        if !self.pipeline.announce(tag, pending) {
            return false;
        }
        self.submit(Submission { tag, slots, reads });
        batches
            .into_iter()
            .all(|batch| self.read_batch(tag, first, n_obs, batch))
    }

    /// Has a batch read as soon as there is memory for what it brings. False if the epoch is over.
    fn read_batch(&self, fetch: u64, first: u64, n_obs: usize, mut batch: Batch) -> bool {
        let since = Instant::now();
        let stopped = || self.pipeline.is_stopped();
        let reserved = match batch.kept_bytes > MAX_BATCH_BYTES {
            // Some obs come very often in this fetch.
            true => Err(Refusal::TooLarge {
                needed_bytes: batch.kept_bytes,
            }),
            false => self.stage_memory.reserve(fetch, batch.kept_bytes, stopped),
        };
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Refusal::Stopped) => return false,
            Err(Refusal::TooLarge { needed_bytes }) => {
                let needed_bytes = needed_bytes as usize;
                let error = LoaderError::Budget {
                    n_obs,
                    needed_bytes,
                    left_bytes: self.stage_memory.budget_bytes() as usize,
                    budget_bytes: self.memory.budget_bytes,
                    enough_bytes: self
                        .memory
                        .budget_with_stage(needed_bytes + needed_bytes.div_ceil(8)),
                };
                self.pipeline.fail_at(first, error.into());
                return false;
            }
        };
        let Some(slots) = self.pool.take_unless(1, usize::MAX, stopped) else {
            self.give_up(first);
            return false;
        };
        self.pipeline.planned(Duration::ZERO, since.elapsed());
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let reads = std::mem::take(&mut batch.reads);
        let batch = PendingBatch {
            fetch,
            batch,
            reservation,
        };
        if !self.pipeline.announce_batch(tag, batch) {
            return false;
        }
        self.submit(Submission { tag, slots, reads });
        true
    }

    fn submit(&self, submission: Submission) {
        self.routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(submission.tag, self.pipeline.clone());
        self.engine.submit(submission);
    }

    /// The epoch was stopped; or not, but the pool closed: the engine broke down.
    fn give_up(&self, first: u64) {
        if let Some(error) = self.engine.breakdown() {
            self.pipeline.fail_at(first, error.into());
        }
    }
}

/// Brings rows of linked stores together, and decodes minibatches, until the epoch ends.
pub(super) fn work(pipeline: &Pipeline, context: &DecodeContext, epoch: &Span) {
    let nanos = |since: Instant| u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let links = context.links();
    let (mut scratch, mut stage_scratch) = (DecodeScratch::default(), stage::Scratch::default());
    while let Some(work) = pipeline.next_work() {
        let since = Instant::now();
        match work {
            DecodeWork::Decode(task) => {
                let number = task.number;
                let result = tracing::trace_span!(parent: epoch, "decode", number)
                    .in_scope(|| decode_task(context, &mut scratch, &task));
                // The slots of a fetch are free as soon as its last minibatch is decoded, whether or not it has been taken.
                drop(task);
                pipeline.put(number, result, nanos(since));
            }
            DecodeWork::Stage(pending, slots) => {
                let PendingBatch {
                    fetch,
                    batch,
                    mut reservation,
                } = *pending;
                let slot = slots.first().map_or(&[][..], Slot::as_slice);
                let staged = stage(&batch, slot, |link| links[link as usize], &mut stage_scratch);
                drop(slots);
                let staged = staged.map(|staged| {
                    reservation.settle(staged.held_bytes);
                    StagedBatch {
                        staged,
                        reservation: Some(reservation),
                    }
                });
                pipeline.staged(
                    fetch,
                    staged.map_err(|error| explained(&links, error.into())),
                    nanos(since),
                );
            }
            DecodeWork::Explain(first, error) => pipeline.fail_at(first, explained(&links, error)),
            DecodeWork::Gather(tag, pending) => {
                let first = pending.first;
                let gathered = gather(&links, *pending).map_err(|error| (first, error));
                pipeline.gathered(tag, gathered, nanos(since));
            }
        }
    }
}

/// The threads of an epoch. Dropping it ends them.
pub(super) struct Running {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) pool: Pool,
    pub(super) stage_memory: StageMemory,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&Pipeline) + Send + 'static,
    ) -> Result<(), Error> {
        let pipeline = self.pipeline.clone();
        let body = move || {
            // Without this a panic would leave the consumer waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| work(&pipeline))).is_err() {
                pipeline.fail_at(0, LoaderError::Panicked.into());
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(LoaderError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pipeline.stop(None);
        // The submitter may be waiting for memory that somebody keeps.
        self.pool.wake();
        self.stage_memory.wake();
        for thread in self.threads.drain(..) {
            // Panics were caught in the thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_fetches_are_ahead_whatever_is_kept_and_however_short_the_last_one_is() {
        let pool = Pool::new(200, 2 << 20).unwrap();
        let kept = pool.take(5).unwrap();
        let mut ahead = Ahead::new(&pool);
        assert_eq!((ahead.least, ahead.most(1)), (32, 5 + 33));
        assert_eq!(ahead.most(20), 5 + 80);
        assert_eq!(ahead.most(1), 5 + 80);
        drop(kept);
        // Long obs make long slots: some of them are ahead all the same.
        let pool = Pool::new(8, 64 << 20).unwrap();
        assert_eq!(Ahead::new(&pool).most(1), 33);
    }
}
