//! What a pool and its slots have in common: the memory, and which slots are free.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::arena::Arena;

/// What pools and slots hold in common.
pub(super) struct Shared {
    pub(super) arena: Arena,
    pub(super) state: Mutex<FreeSlots>,
    pub(super) changed: Condvar,
}

/// Which slots are free, and whose turn it is to take some.
pub(super) struct FreeSlots {
    /// Indices of the free slots; the one used last is taken first, because its bytes may still be in a CPU
    /// cache.
    pub(super) free: Vec<u32>,
    /// The number that the next waiter draws, and the number whose turn it is: first come, first served, so
    /// that a caller who wants many slots is not starved by callers who want one.
    pub(super) next_ticket: u64,
    pub(super) turn: u64,
    /// Numbers above `turn` whose waiters have gone: they are skipped.
    pub(super) given_up: BTreeSet<u64>,
    pub(super) closed: bool,
}

impl FreeSlots {
    /// The next waiter that is still there has its turn.
    pub(super) fn next_turn(&mut self) {
        self.turn += 1;
        while self.given_up.remove(&self.turn) {
            self.turn += 1;
        }
    }

    /// The waiter with this number goes.
    pub(super) fn give_up(&mut self, ticket: u64) {
        match self.turn == ticket {
            true => self.next_turn(),
            false => {
                self.given_up.insert(ticket);
            }
        }
    }

    pub(super) fn split(&mut self, n: usize) -> Vec<u32> {
        let rest = self.free.len() - n;
        self.free.split_off(rest)
    }
}

impl Shared {
    pub(super) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// No code that holds the lock can panic half-way, so that a poisoned lock still guards a sound state.
    pub(super) fn lock(&self) -> MutexGuard<'_, FreeSlots> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the slot of this index; called when the one [`Slot`](super::Slot) of that index is dropped.
    pub(super) fn give_back(&self, index: u32) {
        let mut state = self.lock();
        state.free.push(index);
        let somebody_waits = state.turn != state.next_ticket;
        drop(state);
        if somebody_waits {
            self.changed.notify_all();
        }
    }
}
