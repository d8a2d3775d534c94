//! Fetches and batches on their way: submitted, and filled.

use super::extents::PlacedObs;
use super::stage_memory::Reservation;
use crate::buffer::Slot;
use crate::linked::plan::Batch;
use crate::linked::stage::Staged;
use crate::plan::PlannedFetch;

/// A fetch whose reads are submitted.
#[derive(Debug)]
pub(super) struct PendingFetch {
    pub(super) fetch: PlannedFetch,
    /// For each matrix.
    pub(super) placed: Vec<Vec<PlacedObs>>,
    /// Number of its first minibatch among those of the rank.
    pub(super) first: u64,
    /// Submissions that are not done: that of the fetch itself, and those of its batches.
    pub(super) n_open: usize,
    /// What the fetch itself has read.
    pub(super) slots: Vec<Slot>,
    /// What its batches have brought.
    pub(super) staged: Vec<StagedBatch>,
}

/// What a batch has brought.
#[derive(Debug)]
pub(super) struct StagedBatch {
    pub(super) staged: Staged,
    /// The memory that was reserved for it.
    pub(super) reservation: Option<Reservation>,
}

/// A batch whose reads are submitted.
#[derive(Debug)]
pub(super) struct PendingBatch {
    /// The tag of its fetch.
    pub(super) fetch: u64,
    pub(super) batch: Batch,
    pub(super) reservation: Reservation,
}

/// A fetch whose bytes are there. Its slots go back to the pool when the last of its minibatches is decoded.
#[derive(Debug)]
pub(super) struct FilledFetch {
    pub(super) pending: PendingFetch,
    pub(super) slots: Vec<Slot>,
    /// Rows of linked stores.
    pub(super) buffers: Vec<Vec<u8>>,
    /// The memory of these rows, until this is dropped.
    pub(super) _reservations: Vec<Option<Reservation>>,
}
