//! Memory of minibatches, used again once a minibatch is dropped.

use std::sync::{Mutex, PoisonError};

use super::ObsColumn;
use super::typed::{AnyIndices, AnyValues};
use crate::gpu::Gpu;

/// The memory of one minibatch. All parts are as long as the longest minibatch that they held, so that they are not filled
/// with zeros again for each.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) obs: Vec<u64>,
    /// CSR.
    pub(crate) indptr: AnyIndices,
    /// CSR and top k.
    pub(crate) indices: AnyIndices,
    pub(crate) values: AnyValues,
    /// Top k.
    pub(crate) lens: Vec<u32>,
    /// Dense.
    pub(crate) used: Used,
    pub(crate) columns: Vec<ObsColumn>,
}

impl Buffers {
    /// Has the large arrays page-locked, where they are not yet.
    pub(crate) fn pin(&mut self, gpu: &Gpu) {
        self.indptr.pin(gpu);
        self.indices.pin(gpu);
        self.values.pin(gpu);
    }
}

/// The places of a dense minibatch that may not be zero. All others are.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Columns of all rows, one row after the other.
    pub(crate) columns: Vec<i32>,
    /// Where each row ends in `columns`.
    pub(crate) ends: Vec<usize>,
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
