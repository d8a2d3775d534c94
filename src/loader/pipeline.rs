//! What the threads of a running epoch share: fetches on their way in, minibatches on their way out.
//!
//! One thread submits the reads of planned fetches; the engine fills them; workers take minibatches of the oldest
//! fetch that is there, decode them, and put them out in order. Of linked stores a fetch is read in batches: workers take each of them
//! when it is there, and keep the rows that it has parts of. A lock is taken a few times per minibatch and batch, never per cell.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::pending::{FilledFetch, PendingBatch, PendingFetch, StagedBatch};
use super::stats::EpochStats;
use crate::Error;
use crate::buffer::Slot;
use crate::engine::Completion;
use crate::minibatch::Minibatch;

enum FetchState {
    Pending(Box<PendingFetch>),
    /// All of it has been read; a worker puts it together.
    Gathered,
    Filled(Arc<FilledFetch>),
}

/// What a worker is to do.
pub(super) enum DecodeWork {
    /// To decode a minibatch.
    Decode(Task),
    /// To take the rows out of a batch.
    Stage(Box<PendingBatch>, Vec<Slot>),
    /// To put the rows of a fetch together.
    Gather(u64, Box<PendingFetch>),
    /// To find out why a batch could not be read, and end the epoch at this minibatch.
    Explain(u64, Error),
}

/// Once so many decoded minibatches wait, a consumer that sleeps is woken: to be woken for each would take its core from a worker for each. And
/// workers take what was read of linked stores before they decode more.
const READY: usize = 4;

/// What a worker takes: one minibatch of a fetch.
pub(super) struct Task {
    pub(super) fetch: Arc<FilledFetch>,
    pub(super) index: usize,
    pub(super) number: u64,
}

struct State {
    /// Fetches in order, from the oldest one that has minibatches left to decode.
    fetches: VecDeque<(u64, FetchState)>,
    /// Batches that are being read, by their tags.
    batches: HashMap<u64, Box<PendingBatch>>,
    /// What is to be done before a fetch is filled.
    staging: VecDeque<DecodeWork>,
    /// The next minibatch to decode within the oldest fetch.
    next_index: usize,
    /// Number of the next minibatch to decode.
    next_number: u64,
    /// Minibatches that are decoded and not yet taken.
    done: BTreeMap<u64, Result<Minibatch, Error>>,
    /// Number of the next minibatch to hand out.
    next_out: u64,
    /// Decoded minibatches that may wait.
    ahead: u64,
    /// Threads that sleep until there is work, and until there is a minibatch.
    n_idle: usize,
    n_consumers: usize,
    /// Minibatches of the epoch; lowered to the place of an error.
    end: u64,
    error: Option<Error>,
    stop: bool,
    /// The end, or an error, was handed out: nothing follows.
    is_over: bool,
    stats: EpochStats,
}

impl State {
    /// The fetch of this tag, if its reads are not done.
    fn pending(&mut self, tag: u64) -> Option<&mut PendingFetch> {
        let (_, fetch) = self.fetches.iter_mut().find(|(own, _)| *own == tag)?;
        match fetch {
            FetchState::Pending(pending) => Some(pending),
            FetchState::Gathered | FetchState::Filled(_) => None,
        }
    }

    /// One submission of a fetch is done; after the last it is filled, or its rows are put together.
    fn closed(&mut self, tag: u64) {
        let Some((_, fetch)) = self.fetches.iter_mut().find(|(own, _)| *own == tag) else {
            return;
        };
        let FetchState::Pending(mut pending) = std::mem::replace(fetch, FetchState::Gathered) else {
            return;
        };
        pending.n_open -= 1;
        if pending.n_open > 0 {
            *fetch = FetchState::Pending(pending);
        } else if pending.staged.is_empty() {
            *fetch = FetchState::Filled(Arc::new(FilledFetch {
                slots: std::mem::take(&mut pending.slots),
                pending: *pending,
                buffers: Vec::new(),
                _reservations: Vec::new(),
            }));
        } else {
            self.staging.push_back(DecodeWork::Gather(tag, pending));
        }
    }

    /// Whether there is room for another decoded minibatch.
    fn may_decode(&self) -> bool {
        self.next_number < self.next_out + self.ahead
    }

    /// Whether a minibatch can be decoded now.
    fn can_decode(&self) -> bool {
        let is_filled = matches!(self.fetches.front(), Some((_, FetchState::Filled(_))));
        is_filled && self.may_decode() && self.next_number < self.end
    }

    /// Whether a consumer sleeps that should not: enough waits for it, or no more will come soon.
    fn keeps_waiting(&self) -> bool {
        let is_next = |(&number, _): (&u64, _)| number == self.next_out;
        let has_next = self.n_consumers > 0 && self.done.first_key_value().is_some_and(is_next);
        has_next && (self.done.len() >= READY || !self.can_decode())
    }

    /// The error that ended the epoch, or the end. Nothing follows it.
    fn take_end<T>(&mut self) -> Option<Result<T, Error>> {
        self.is_over = true;
        self.error.take().map(Err)
    }
}

/// Shared by the submitter, the engine's completions, the workers and the caller of one epoch.
pub(super) struct Pipeline {
    state: Mutex<State>,
    /// Something to decode, or the end.
    work: Condvar,
    /// Something to hand out, or the end.
    output: Condvar,
    /// What `stop` of the state says, for those who must not wait for its lock.
    is_stopped: AtomicBool,
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Pipeline {
    /// The pipeline of an epoch of minibatches `start..end`, at most `ahead` of them decoded before they are taken.
    pub(super) fn new(start: u64, end: u64, ahead: u64) -> Self {
        let state = State {
            fetches: VecDeque::new(),
            batches: HashMap::new(),
            staging: VecDeque::new(),
            next_index: 0,
            next_number: start,
            done: BTreeMap::new(),
            next_out: start,
            ahead,
            n_idle: 0,
            n_consumers: 0,
            end,
            error: None,
            stop: false,
            is_over: false,
            stats: EpochStats::default(),
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            output: Condvar::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves no half-made change behind: every change is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a fetch before its reads are submitted. False where the epoch has been stopped.
    pub(super) fn announce(&self, tag: u64, pending: PendingFetch) -> bool {
        let mut state = self.lock();
        if !state.stop {
            state
                .fetches
                .push_back((tag, FetchState::Pending(Box::new(pending))));
        }
        !state.stop
    }

    /// Announces a batch of a fetch before its reads are submitted. False where the epoch has been stopped.
    pub(super) fn announce_batch(&self, tag: u64, batch: PendingBatch) -> bool {
        let mut state = self.lock();
        let goes_on = !state.stop;
        if goes_on {
            state.batches.insert(tag, Box::new(batch));
        }
        goes_on
    }

    /// Takes a completion of the engine.
    pub(super) fn complete(&self, completion: Completion) {
        let Completion {
            tag, slots, result, ..
        } = completion;
        let mut state = self.lock();
        let batch = state.batches.remove(&tag);
        let fetch = batch.as_ref().map_or(tag, |batch| batch.fetch);
        if let Err(error) = result {
            // Where the epoch was stopped, the slots go back to the pool.
            let Some(first) = state.pending(fetch).map(|pending| pending.first) else {
                return;
            };
            if batch.is_none() {
                drop(state);
                return self.fail_at(first, error.into());
            }
            state.staging.push_back(DecodeWork::Explain(first, error.into()));
            drop(state);
            return self.work.notify_all();
        }
        match batch {
            Some(batch) => state.staging.push_back(DecodeWork::Stage(batch, slots)),
            None => {
                let Some(pending) = state.pending(tag) else { return };
                pending.slots = slots;
                state.closed(tag);
            }
        }
        drop(state);
        self.work.notify_all();
    }

    /// Takes what a batch has brought.
    pub(super) fn staged(&self, fetch: u64, staged: Result<StagedBatch, Error>, stage_ns: u64) {
        let mut state = self.lock();
        state.stats.decode_ns += stage_ns;
        let Some(pending) = state.pending(fetch) else {
            return;
        };
        match staged {
            Ok(staged) => {
                pending.staged.push(staged);
                state.closed(fetch);
                drop(state);
                self.work.notify_all();
            }
            Err(error) => {
                let first = pending.first;
                drop(state);
                self.fail_at(first, error);
            }
        }
    }

    /// Takes a fetch that has been put together, or the error that its first minibatch ends with.
    pub(super) fn gathered(&self, tag: u64, gathered: Result<FilledFetch, (u64, Error)>, gather_ns: u64) {
        let filled = match gathered {
            Ok(filled) => Arc::new(filled),
            Err((first, error)) => return self.fail_at(first, error),
        };
        let mut state = self.lock();
        state.stats.decode_ns += gather_ns;
        if let Some((_, fetch)) = state.fetches.iter_mut().find(|(own, _)| *own == tag) {
            *fetch = FetchState::Filled(filled);
        }
        drop(state);
        self.work.notify_all();
    }

    /// Ends the epoch with an error in the place of minibatch `number`; those before it are still delivered.
    pub(super) fn fail_at(&self, number: u64, error: Error) {
        let mut state = self.lock();
        if state.is_over {
            return;
        }
        if number < state.end || (number == state.end && state.error.is_none()) {
            state.end = number;
            state.error = Some(error);
        }
        drop(state);
        self.work.notify_all();
        self.output.notify_all();
    }

    /// Ends the epoch at once: nothing is handed out any more but the `error`, if there was more to come; what is on its way is dropped.
    pub(super) fn stop(&self, error: Option<Error>) {
        let mut state = self.lock();
        let has_more = state.next_out < state.end;
        match state.is_over || state.stop {
            true => state.error = None,
            // An error whose turn it is says more than this one.
            false if has_more => state.error = error,
            false => {}
        }
        state.stop = true;
        self.is_stopped.store(true, Ordering::Release);
        let dropped = (
            std::mem::take(&mut state.fetches),
            std::mem::take(&mut state.batches),
            std::mem::take(&mut state.staging),
            std::mem::take(&mut state.done),
        );
        drop(state);
        // Outside the lock: slots go back to the pool, minibatches to the recycler.
        drop(dropped);
        self.work.notify_all();
        self.output.notify_all();
    }

    /// Whether the epoch was ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// What to do next; waits for it. `None` at the end.
    pub(super) fn next_work(&self) -> Option<DecodeWork> {
        let mut state = self.lock();
        loop {
            if state.stop || state.next_number >= state.end {
                return None;
            }
            let can_decode = state.can_decode();
            // The consumer comes first, as long as little waits for it; then what keeps the device busy.
            let is_ahead = state.done.len() >= READY;
            if !state.staging.is_empty() && (is_ahead || !can_decode) {
                return state.staging.pop_front();
            }
            if can_decode {
                return Self::take_task(&mut state).map(DecodeWork::Decode);
            }
            if state.keeps_waiting() {
                self.output.notify_all();
            }
            let may = state.may_decode();
            let since = Instant::now();
            state.n_idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.n_idle -= 1;
            let waited = nanos(since);
            match may {
                true => state.stats.read_wait_ns += waited,
                false => state.stats.output_wait_ns += waited,
            }
        }
    }

    fn take_task(state: &mut State) -> Option<Task> {
        let (number, index) = (state.next_number, state.next_index);
        let (_, FetchState::Filled(fetch)) = state.fetches.front()? else {
            return None;
        };
        let fetch = fetch.clone();
        state.next_number += 1;
        state.next_index += 1;
        if state.next_index == fetch.pending.fetch.minibatches.len() {
            // The last reference is now in the tasks: the slots are free when the last of them is decoded.
            state.fetches.pop_front();
            state.next_index = 0;
        }
        Some(Task { fetch, index, number })
    }

    /// Puts out a decoded minibatch, or the error that is in its place.
    pub(super) fn put(&self, number: u64, result: Result<Minibatch, Error>, decode_ns: u64) {
        let mut state = self.lock();
        state.stats.decode_ns += decode_ns;
        let dropped = match result {
            _ if state.stop => Some(result),
            Ok(minibatch) => state.done.insert(number, Ok(minibatch)),
            Err(error) => {
                drop(state);
                return self.fail_at(number, error);
            }
        };
        let wakes = state.keeps_waiting();
        drop(state);
        drop(dropped);
        if wakes {
            self.output.notify_all();
        }
    }

    /// Adds what the submitter measured.
    pub(super) fn planned(&self, plan: Duration, wait: Duration) {
        let mut state = self.lock();
        state.stats.plan_ns += u64::try_from(plan.as_nanos()).unwrap_or(u64::MAX);
        state.stats.buffer_wait_ns += u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    }

    /// The next minibatch in order; waits for it. `None` at the end, or after an error has been handed out.
    pub(super) fn next(&self) -> Option<Result<Minibatch, Error>> {
        loop {
            // Woken for nothing, or after years: it waits again.
            if let Poll::Ready(next) = self.next_within(Duration::MAX) {
                return next;
            }
        }
    }

    /// As [`next`](Self::next), but waits for so long only.
    pub(super) fn next_within(&self, wait: Duration) -> Poll<Option<Result<Minibatch, Error>>> {
        let mut state = self.lock();
        let mut left = wait;
        loop {
            if state.stop || state.next_out >= state.end {
                return Poll::Ready(state.take_end());
            }
            let number = state.next_out;
            if let Some(result) = state.done.remove(&number) {
                state.next_out += 1;
                state.stats.minibatches += 1;
                // A worker may be waiting for room.
                let wakes = state.n_idle > 0 && state.can_decode();
                drop(state);
                if wakes {
                    self.work.notify_one();
                }
                return Poll::Ready(Some(result));
            }
            if left.is_zero() {
                return Poll::Pending;
            }
            let since = Instant::now();
            state.n_consumers += 1;
            (state, _) = self
                .output
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state.n_consumers -= 1;
            state.stats.consumer_wait_ns += nanos(since);
            left = left.saturating_sub(since.elapsed());
        }
    }

    /// The next fetch in order, undecoded; waits for it. As [`next`](Self::next) at the end. For epochs without decoding threads.
    pub(super) fn next_fetch(&self) -> Option<Result<Arc<FilledFetch>, Error>> {
        let mut state = self.lock();
        loop {
            if state.stop || state.next_number >= state.end {
                return state.take_end();
            }
            if matches!(state.fetches.front(), Some((_, FetchState::Filled(_))))
                && let Some((_, FetchState::Filled(fetch))) = state.fetches.pop_front()
            {
                let n_minibatches = fetch.pending.fetch.minibatches.len() as u64;
                state.next_number += n_minibatches;
                state.next_out = state.next_number;
                state.stats.minibatches += n_minibatches;
                return Some(Ok(fetch));
            }
            let since = Instant::now();
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.stats.consumer_wait_ns += nanos(since);
        }
    }

    /// Minibatches that are still to be handed out, if none of them fails.
    pub(super) fn n_left(&self) -> u64 {
        let state = self.lock();
        let left = match state.stop {
            true => 0,
            // An error may lower the end below what was handed out.
            false => state.end.saturating_sub(state.next_out),
        };
        left + u64::from(state.error.is_some())
    }

    /// Minibatches that are decoded and wait to be taken.
    #[cfg(test)]
    pub(super) fn n_done(&self) -> u64 {
        self.lock().done.len() as u64
    }

    pub(super) fn stats(&self) -> EpochStats {
        self.lock().stats
    }
}
