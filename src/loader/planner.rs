//! Plans fetches: which obs, and which reads bring them. A fetch depends on none before it, so where many threads decode, several plan, each
//! every n-th fetch, and the submitter takes them in order.
//!
//! The first fetch of an epoch is read in two parts, its first minibatch before the others: nothing of a part is decoded before all of it is
//! there, and the cells of one minibatch are there long before those of a fetch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::decode::DecodeContext;
use super::extents::{FetchReads, plan_reads};
use crate::engine::coalesce::ReadShape;
use crate::format::FormatError;
use crate::plan::{Plan, PlannedFetch};

/// Planning single obs takes a sixteenth of the time of decoding them, blocks a fiftieth (0.33 and 0.11 of 5.4 µs): with one thread for so many,
/// half of it is to spare.
const DECODE_THREADS_EACH: usize = 8;
/// Ten million single obs a second, more than four drives read. Where the index is not in memory, its pages are read one after the other.
const MOST_THREADS: usize = 4;
/// Each thread may have a fetch planned that was not taken, at some 60 bytes for each obs: larger fetches are planned by one.
const MOST_OBS_AHEAD: u64 = 1 << 18;

/// A first fetch of fewer minibatches is read as a whole: its cells are there soon enough.
const LEAST_MINIBATCHES: usize = 32;

/// A fetch.
pub(super) struct Planned {
    /// What is read of it, one after the other.
    pub(super) parts: Result<Vec<PlannedPart>, FormatError>,
    /// Time spent planning.
    pub(super) elapsed: Duration,
}

/// Minibatches of a fetch that are read together.
pub(super) struct PlannedPart {
    pub(super) fetch: PlannedFetch,
    pub(super) reads: FetchReads,
}

impl PlannedPart {
    pub(super) fn n_obs(&self) -> usize {
        self.fetch.obs.len()
    }

    /// Slots that it takes. Batches of linked stores are read into slots besides those that the fetch keeps.
    pub(super) fn n_slots(&self) -> usize {
        self.reads.n_slots + usize::from(!self.reads.batches.is_empty())
    }
}

/// Plans the fetches of an epoch.
#[derive(Clone)]
pub(super) struct Planner {
    pub(super) plan: Plan,
    pub(super) context: Arc<DecodeContext>,
    pub(super) shape: ReadShape,
    /// Whether a fetch may be read in parts. Not of links, whose chunks would be decoded for each part.
    pub(super) splits: bool,
}

impl Planner {
    fn plan(&self, number: u64) -> Planned {
        let since = Instant::now();
        let mut fetch = self.plan.fetch(number);
        let mut parts = Vec::with_capacity(2);
        if self.splits && number == 0 && fetch.minibatches.len() >= LEAST_MINIBATCHES {
            let others = fetch.split_off(1);
            parts.push(std::mem::replace(&mut fetch, others));
        }
        parts.push(fetch);
        let sources = self.context.read_sources();
        let planned = |fetch: PlannedFetch| {
            let reads = plan_reads(&sources, &fetch.obs, &self.shape)?;
            Ok(PlannedPart { fetch, reads })
        };
        Planned {
            parts: parts.into_iter().map(planned).collect(),
            elapsed: since.elapsed(),
        }
    }
}

/// Where the submitter takes fetches from.
pub(super) enum FetchSource {
    /// It plans each itself.
    Own(Box<Planner>),
    /// Fetch i comes from thread i modulo their number.
    Threads(Vec<Receiver<Planned>>),
}

impl FetchSource {
    /// Fetch `number`; they are taken in order. `None` if the thread that was to plan it has panicked.
    pub(super) fn take(&self, number: u64) -> Option<Planned> {
        match self {
            Self::Own(planner) => Some(planner.plan(number)),
            Self::Threads(threads) => {
                let thread = number % threads.len() as u64;
                threads[thread as usize].recv().ok()
            }
        }
    }
}

/// A thread that plans every `step`-th fetch from `first` on, each when the one before it has been taken.
pub(super) struct PlanningThread {
    planner: Planner,
    first: u64,
    step: usize,
    to: SyncSender<Planned>,
}

impl PlanningThread {
    /// Until the last fetch, or until the submitter has ended.
    pub(super) fn run(self) {
        for number in (self.first..self.planner.plan.n_fetches()).step_by(self.step) {
            if self.to.send(self.planner.plan(number)).is_err() {
                return;
            }
        }
    }
}

/// How many threads plan fetches of at most so many obs.
fn n_threads(decode_threads: usize, fetch_obs: u64) -> usize {
    let n_ahead = usize::try_from(MOST_OBS_AHEAD / fetch_obs.max(1)).unwrap_or(usize::MAX);
    let n = decode_threads / DECODE_THREADS_EACH;
    n.min(MOST_THREADS).min(n_ahead).max(1)
}

/// Where the submitter takes fetches from when so many threads decode, and the threads that have to run for that.
pub(super) fn spread(planner: Planner, decode_threads: usize) -> (FetchSource, Vec<PlanningThread>) {
    let n = n_threads(decode_threads, planner.plan.fetch_obs());
    if n < 2 {
        return (FetchSource::Own(Box::new(planner)), Vec::new());
    }
    let thread = |first: usize| {
        // A fetch waits until it is taken: what is planned ahead takes memory.
        let (to, from) = sync_channel(0);
        let planner = planner.clone();
        let thread = PlanningThread {
            planner,
            first: first as u64,
            step: n,
            to,
        };
        (from, thread)
    };
    let (from, threads) = (0..n).map(thread).unzip();
    (FetchSource::Threads(from), threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_plan_where_many_decode() {
        let threads = [1, 2, 15, 16, 24, 40, 512].map(|decode_threads| n_threads(decode_threads, 16_384));
        assert_eq!(threads, [1, 1, 1, 2, 3, 4, 4]);
        let of_large_fetches = [1, 1 << 17, 1 << 18, 1 << 24].map(|fetch_obs| n_threads(64, fetch_obs));
        assert_eq!(of_large_fetches, [4, 2, 1, 1]);
    }
}
