//! Epochs whose minibatches are copied to a GPU ahead of the consumer.

use std::task::Poll;
use std::time::Duration;

use super::epoch::Epoch;
use crate::Error;
use crate::gpu::{Feed, FeedError, OnDevice};
use crate::minibatch::Minibatch;
use crate::plan::SamplerState;

/// What the feed of an epoch yields.
type Item = Result<OnDevice<Minibatch>, FeedError<Error>>;

impl Feed<Epoch, Minibatch, Error> {
    /// As [`next`](Iterator::next), but waits for so long only, as [`Epoch::next_within`]. What has been copied is handed out without
    /// waiting for what comes after it.
    pub fn next_within(&mut self, wait: Duration) -> Poll<Option<Item>> {
        self.poll(|epoch, may_wait| epoch.next_within(if may_wait { wait } else { Duration::ZERO }))
    }

    /// What to save to continue with the minibatch after those that this feed has handed out. (The state of the epoch itself, which is
    /// ahead, leaves out those on their way.)
    pub fn state(&self) -> SamplerState {
        self.sources().state_after(self.n_handed_out())
    }

    /// Minibatches that are still to be handed out.
    pub fn n_left(&self) -> u64 {
        self.sources().n_minibatches().saturating_sub(self.n_handed_out())
    }
}
