//! The pool: which slots are free, and who waits for them.

use std::collections::BTreeSet;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::arena::{Arena, Guard};
use super::error::BufferError;
use super::layout::SlotLayout;
use super::pages::PageKind;
use super::shared::{FreeSlots, Shared};
use super::slot::{Slot, Target};

/// A fixed number of equal, aligned buffers. Cloning is cheap and gives the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Maps memory for `n_slots` slots of `slot_bytes` bytes each, rounded up to
    /// [`SLOT_ALIGN_BYTES`](super::SLOT_ALIGN_BYTES). The first slots are taken from the kernel now; what is never read into is never taken,
    /// unless it is of the hugetlb pool.
    ///
    /// # Errors
    /// If the shape makes no sense, or is more than the machine's memory, or the kernel gives no memory.
    pub fn new(n_slots: usize, slot_bytes: usize) -> Result<Pool, BufferError> {
        let layout = SlotLayout::new(n_slots, slot_bytes)?;
        let arena = Arena::new(layout)?;
        // The lowest index at the end: taken first.
        let free = (0..n_slots as u32).rev().collect();
        let state = Mutex::new(FreeSlots {
            free,
            next_ticket: 0,
            turn: 0,
            given_up: BTreeSet::new(),
            closed: false,
        });
        Ok(Pool {
            shared: Arc::new(Shared {
                arena,
                state,
                changed: Condvar::new(),
            }),
        })
    }

    /// Has the kernel give all the memory now, for measurements that are not about that. Only slots that are free are touched.
    pub fn touch(&self) {
        for mut slot in self.try_take(self.free()).unwrap_or_default() {
            slot.as_mut_slice().fill(0);
        }
    }

    /// Takes `n` slots: all of them or none. Waits until so many are free, in the order of the calls. Returns
    /// `None` once the pool is closed.
    ///
    /// # Panics
    /// If `n` is more than [`n_slots`](Pool::n_slots): the wait would never end.
    pub fn take(&self, n: usize) -> Option<Vec<Slot>> {
        self.take_unless(n, usize::MAX, || false)
    }

    /// The same, but leaves slots alone while more than `most` would then be out, and gives up, with `None`, once `is_stopped`: asked
    /// whenever slots come back, and on [`wake`](Pool::wake).
    ///
    /// # Panics
    /// As [`take`](Pool::take), and if `n` is more than `most`.
    pub(crate) fn take_unless(
        &self,
        n: usize,
        most: usize,
        is_stopped: impl Fn() -> bool,
    ) -> Option<Vec<Slot>> {
        assert!(n <= most, "{n} slots where at most {most} may be out");
        let least_free = self.n_slots().saturating_sub(most - n).max(n);
        assert!(n <= self.n_slots(), "{n} slots of a pool of {}", self.n_slots());
        let mut state = self.shared.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while !state.closed && (state.turn != ticket || state.free.len() < least_free) {
            // Whatever its turn: the one before it may be waiting for slots that only whoever stopped this one gives back.
            if is_stopped() {
                state.give_up(ticket);
                drop(state);
                self.shared.changed.notify_all();
                return None;
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.next_turn();
        let taken = state.split(n);
        let others_wait = state.turn != state.next_ticket;
        drop(state);
        if others_wait {
            self.shared.changed.notify_all();
        }
        Some(self.slots(&taken))
    }

    /// Takes `n` slots if that many are free now and no thread waits for slots; `None` otherwise, and once the
    /// pool is closed.
    pub fn try_take(&self, n: usize) -> Option<Vec<Slot>> {
        let mut state = self.shared.lock();
        if state.closed || state.turn != state.next_ticket || state.free.len() < n {
            return None;
        }
        let taken = state.split(n);
        drop(state);
        Some(self.slots(&taken))
    }

    /// Ends the pool: every waiting and every later [`take`](Pool::take) returns `None`. Slots that are out
    /// stay valid.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Has those that wait ask again whether they are stopped.
    pub(crate) fn wake(&self) {
        // Under the lock, so that no thread is between asking and waiting.
        let _state = self.shared.lock();
        self.shared.changed.notify_all();
    }

    /// Size of each slot in bytes.
    pub fn slot_bytes(&self) -> usize {
        self.shared.arena.layout().slot_bytes()
    }

    /// Number of slots, free or not.
    pub fn n_slots(&self) -> usize {
        self.shared.arena.layout().n_slots()
    }

    /// Number of slots that are free at this moment.
    pub fn free(&self) -> usize {
        self.shared.lock().free.len()
    }

    /// Number of callers that wait for slots at this moment.
    #[cfg(test)]
    pub(crate) fn n_waiting(&self) -> u64 {
        let state = self.shared.lock();
        state.next_ticket - state.turn - state.given_up.len() as u64
    }

    /// What kind of pages the slots lie on.
    pub fn page_kind(&self) -> PageKind {
        self.shared.arena.page_kind()
    }

    /// Address and length in bytes of the memory of all slots, which stays there as long as the pool or one of its slots lives.
    pub(crate) fn slot_memory(&self) -> (NonNull<u8>, usize) {
        self.shared.arena.slot_memory()
    }

    /// Address and length in bytes of each part of the memory, none over 1 GiB, in the order of
    /// [`Target::region`]: what is registered with a ring. The addresses stay valid as
    /// long as the pool or one of its slots lives.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> + '_ {
        self.shared.arena.regions()
    }

    /// Keeps a guard as long as the pool or one of its slots lives: it is dropped right before the memory is unmapped.
    pub(crate) fn guard(&self, guard: Guard) {
        self.shared.arena.guard(guard);
    }

    /// A target of a page that belongs to no slot and is never read, to prove a way of reading; and its
    /// size in bytes.
    pub(crate) fn probe(&self) -> (Target, usize) {
        let (start, len) = self.shared.arena.probe();
        (Target::probe(start), len)
    }

    /// Whether `slot` is one of this pool.
    pub(crate) fn owns(&self, slot: &Slot) -> bool {
        slot.belongs_to(&self.shared)
    }

    fn slots(&self, taken: &[u32]) -> Vec<Slot> {
        taken
            .iter()
            .map(|&index| Slot::new(&self.shared, index))
            .collect()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("n_slots", &self.n_slots())
            .field("slot_bytes", &self.slot_bytes())
            .field("page_kind", &self.page_kind())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::buffer::{SLACK_BYTES, SLOT_ALIGN_BYTES};

    #[test]
    fn slots_do_not_overlap_and_have_slack() {
        let pool = Pool::new(5, 10_000).unwrap();
        assert_eq!(pool.slot_bytes(), 12_288);
        let mut slots = pool.take(5).unwrap();
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.as_mut_slice().fill(i as u8 + 1);
        }
        for (i, slot) in slots.iter().enumerate() {
            assert_eq!(slot.as_slice().as_ptr() as usize % SLOT_ALIGN_BYTES, 0);
            assert!(slot.as_slice().iter().all(|&byte| byte == i as u8 + 1));
            assert_eq!(slot.as_padded_slice().len(), slot.len() + SLACK_BYTES);
            assert!(slot.as_padded_slice()[slot.len()..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn taking_is_all_or_nothing_and_dropping_gives_back() {
        let pool = Pool::new(4, 4096).unwrap();
        let three = pool.try_take(3).unwrap();
        assert!(pool.try_take(2).is_none());
        assert_eq!(pool.free(), 1);
        drop(three);
        assert_eq!(pool.free(), 4);
        assert_eq!(pool.take(0).unwrap().len(), 0);
    }

    #[test]
    fn waiters_are_served_in_their_order_and_cannot_be_overtaken() {
        let pool = Pool::new(4, 4096).unwrap();
        let mut held = pool.take(4).unwrap();
        let (send, receive) = mpsc::channel();
        let mut threads = Vec::new();
        for (ticket, n) in [(0, 3), (1, 1), (2, 2)] {
            let (waiting, send) = (pool.clone(), send.clone());
            threads.push(thread::spawn(move || {
                let slots = waiting.take(n).unwrap();
                send.send((n, slots)).unwrap();
            }));
            while pool.shared.lock().next_ticket != ticket + 2 {
                thread::yield_now();
            }
        }
        // One slot is free, but the first in line wants three: neither the others nor try_take may jump in.
        held.pop();
        assert!(pool.try_take(1).is_none());
        assert!(receive.try_recv().is_err());
        drop(held);
        // Three and one fit at once; two have to wait for them.
        let mut served = vec![receive.recv().unwrap(), receive.recv().unwrap()];
        served.sort_by_key(|(n, _)| *n);
        assert_eq!(served.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3]);
        drop(served);
        assert_eq!(receive.recv().unwrap().0, 2);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn closing_wakes_every_waiter() {
        let pool = Pool::new(1, 4096).unwrap();
        let slot = pool.take(1).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || pool.take(1).is_none())
            })
            .collect();
        pool.close();
        for thread in threads {
            assert!(thread.join().unwrap());
        }
        assert!(pool.take(1).is_none() && pool.try_take(1).is_none());
        assert!(slot[0].as_slice().len() == 4096);
    }

    /// The one before it may be waiting for slots that only whoever stopped this one gives back.
    #[test]
    fn whoever_is_stopped_goes_whatever_its_turn() {
        let pool = Pool::new(1, 4096).unwrap();
        let held = pool.take(1).unwrap();
        let waiting = pool.clone();
        let first = thread::spawn(move || waiting.take(1).unwrap().len());
        while pool.n_waiting() != 1 {
            thread::yield_now();
        }
        assert!(pool.take_unless(1, 1, || true).is_none());
        assert_eq!(pool.n_waiting(), 1);
        let waiting = pool.clone();
        let third = thread::spawn(move || waiting.take(1).unwrap().len());
        while pool.n_waiting() != 2 {
            thread::yield_now();
        }
        drop(held);
        assert_eq!((first.join().unwrap(), third.join().unwrap()), (1, 1));
        assert_eq!((pool.n_waiting(), pool.free()), (0, 1));
    }

    #[test]
    fn whoever_is_stopped_gives_its_turn_to_the_next() {
        let pool = Pool::new(3, 4096).unwrap();
        let mut held = pool.take(2).unwrap();
        let stopped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (waiting, stop) = (pool.clone(), stopped.clone());
        let first = thread::spawn(move || {
            let is_stopped = || stop.load(std::sync::atomic::Ordering::Acquire);
            waiting.take_unless(3, 3, is_stopped).is_none()
        });
        while pool.n_waiting() != 1 {
            thread::yield_now();
        }
        let waiting = pool.clone();
        let second = thread::spawn(move || waiting.take(2).unwrap().len());
        while pool.n_waiting() != 2 {
            thread::yield_now();
        }
        held.pop();
        assert_eq!(
            pool.n_waiting(),
            2,
            "two are free, and the first in line wants three"
        );
        stopped.store(true, std::sync::atomic::Ordering::Release);
        pool.wake();
        assert!(first.join().unwrap());
        assert_eq!(second.join().unwrap(), 2);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn a_slot_outlives_its_pool_and_a_leaked_one_is_only_lost() {
        let pool = Pool::new(2, 4096).unwrap();
        let mut slots = pool.take(2).unwrap();
        std::mem::forget(slots.pop());
        drop(pool.clone());
        let last = slots.pop().unwrap();
        assert_eq!(pool.free(), 0);
        drop(pool);
        assert!(last.as_slice().iter().all(|&byte| byte == 0));
    }

    #[test]
    #[should_panic(expected = "3 slots of a pool of 2")]
    fn more_slots_than_there_are_is_a_bug() {
        Pool::new(2, 4096).unwrap().take(3);
    }
}
