//! Memory of minibatches, used again once a minibatch is dropped.

use std::sync::{Mutex, PoisonError};

use super::{Matrix, ObsColumn};

/// The memory of one minibatch.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) obs: Vec<u64>,
    pub(crate) matrices: Vec<Matrix>,
    pub(crate) columns: Vec<ObsColumn>,
}

/// A shelf of buffers. Locked twice per minibatch.
#[derive(Debug)]
pub(crate) struct Recycler {
    shelf: Mutex<Vec<Buffers>>,
    most: usize,
}

impl Recycler {
    /// A shelf for at most `most` buffers; more are freed.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shelf: Mutex::new(Vec::with_capacity(most)),
            most,
        }
    }

    /// Buffers from the shelf, or new ones.
    pub(crate) fn take(&self) -> Buffers {
        self.shelf
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    pub(crate) fn give_back(&self, buffers: Buffers) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.len() < self.most {
            shelf.push(buffers);
        }
    }
}
