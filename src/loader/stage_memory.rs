//! The memory of rows that were brought together and are not decoded yet: a budget that threads reserve parts of.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The budget. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct StageMemory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    budget_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    /// The fetch that reserves now, what it holds, and for how many of its reservations that is not final.
    fetch: u64,
    fetch_bytes: u64,
    n_open: u64,
}

/// A part of the budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    fetch: u64,
    bytes: u64,
    is_open: bool,
}

/// Why there is no reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What it is for was stopped.
    Stopped,
    /// The fetch alone needs more than the budget: so much at the least.
    TooLarge { needed_bytes: u64 },
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a few additions.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StageMemory {
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                budget_bytes,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    pub(super) fn budget_bytes(&self) -> u64 {
        self.shared.budget_bytes
    }

    /// Reserves bytes for a fetch; waits until others give theirs back. One thread at a time that is not stopped, and one fetch after the other.
    ///
    /// # Errors
    /// If it is stopped meanwhile, or waiting is no use.
    pub(super) fn reserve(
        &self,
        fetch: u64,
        bytes: u64,
        is_stopped: impl Fn() -> bool,
    ) -> Result<Reservation, Refusal> {
        let mut state = self.shared.lock();
        // The thread of an epoch that another one has ended may come once more: the fetch that reserves now is that of the other.
        if is_stopped() {
            return Err(Refusal::Stopped);
        }
        if state.fetch != fetch {
            (state.fetch, state.fetch_bytes, state.n_open) = (fetch, 0, 0);
        }
        while state.used_bytes + bytes > self.shared.budget_bytes {
            if is_stopped() {
                return Err(Refusal::Stopped);
            }
            // No other fetch holds anything, and what it holds will not become less.
            if state.used_bytes == state.fetch_bytes && state.n_open == 0 {
                let needed_bytes = state.used_bytes + bytes;
                return Err(Refusal::TooLarge { needed_bytes });
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.used_bytes += bytes;
        state.fetch_bytes += bytes;
        state.n_open += 1;
        Ok(Reservation {
            shared: self.shared.clone(),
            fetch,
            bytes,
            is_open: true,
        })
    }

    /// Has a thread that waits ask again whether it is stopped.
    pub(super) fn wake(&self) {
        // Under the lock, so that no thread is between asking and waiting.
        let _state = self.shared.lock();
        self.shared.changed.notify_all();
    }
}

impl Reservation {
    /// Gives back all but so many bytes: what is kept is known now.
    pub(super) fn settle(&mut self, bytes: u64) {
        self.change(bytes.min(self.bytes));
    }

    fn change(&mut self, bytes: u64) {
        let less = self.bytes - bytes;
        self.bytes = bytes;
        let mut state = self.shared.lock();
        state.used_bytes -= less;
        if state.fetch == self.fetch {
            state.fetch_bytes -= less;
            state.n_open -= u64::from(self.is_open);
        }
        self.is_open = false;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.change(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_waits_for_others_and_is_refused_alone() {
        let memory = StageMemory::new(100);
        let never = || false;
        let mut first = memory.reserve(1, 80, never).unwrap();
        // What the first batch keeps may be little: while that is not known, the second waits.
        let other = memory.clone();
        let waiting = std::thread::spawn(move || other.reserve(1, 60, || false).map(|r| r.bytes));
        first.settle(30);
        assert_eq!(waiting.join().unwrap(), Ok(60));
        // The second has gone again. 30 are left, and they stay.
        let refusal = memory.reserve(1, 71, never).unwrap_err();
        assert_eq!(refusal, Refusal::TooLarge { needed_bytes: 101 });
        // Of another fetch they will go.
        let other = memory.clone();
        let waiting = std::thread::spawn(move || other.reserve(2, 71, || false).map(|r| r.bytes));
        drop(first);
        assert_eq!(waiting.join().unwrap(), Ok(71));
        assert_eq!(memory.reserve(3, 100, never).unwrap().bytes, 100);
    }

    #[test]
    fn who_is_stopped_waits_no_longer() {
        let memory = StageMemory::new(10);
        let held = memory.reserve(1, 10, || false).unwrap();
        assert_eq!(memory.reserve(2, 1, || true).unwrap_err(), Refusal::Stopped);
        drop(held);
    }
}
