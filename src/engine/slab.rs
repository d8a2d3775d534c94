//! Values under small numbers that are used again.

use std::mem;

/// See the module.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "`InFlight` looks up only what it has inserted and not removed"
)]
impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(value);
            return id;
        }
        self.entries.push(Some(value));
        u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 submissions at a time")
    }

    pub(super) fn get(&self, id: u32) -> &T {
        self.entries[id as usize].as_ref().expect("an entry in use")
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        self.entries[id as usize].as_mut().expect("an entry in use")
    }

    pub(super) fn remove(&mut self, id: u32) -> T {
        let value = self.entries[id as usize].take().expect("an entry in use");
        self.free.push(id);
        value
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    pub(super) fn drain(&mut self) -> Vec<T> {
        self.free.clear();
        mem::take(&mut self.entries).into_iter().flatten().collect()
    }
}
