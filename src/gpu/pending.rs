//! Copies that are under way, and the thread that waits for them.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::stage::{Stages, lock};
use super::stream::{Event, Stream};

/// Copies under way, and what they read from.
pub(super) struct PendingCopies<S> {
    pub(super) sources: Vec<S>,
    pub(super) stream: Stream,
    pub(super) began: Event,
    pub(super) copied: Arc<Event>,
    /// Whether `copied` comes after all copies.
    pub(super) is_recorded: bool,
    pub(super) is_lost: Arc<AtomicBool>,
}

/// Ends copies one after the other, in the order of their stream, as their events occur.
pub(super) fn end_in_order<S>(pending: &Receiver<PendingCopies<S>>, shared: &Stages) {
    for mut copies in pending {
        if copies.finish() {
            let took = copies.copied.elapsed_ns(&copies.began);
            lock(&shared.stats).copy_ns += took.unwrap_or(0);
        }
    }
}

impl<S> PendingCopies<S> {
    /// Waits until all copies are over, and lets go of their sources: drops them where the copies are over, and leaks them
    /// if it is unknown.
    fn finish(&mut self) -> bool {
        let over = match self.is_recorded {
            true => self.copied.wait().or_else(|_| self.stream.synchronize_raw()),
            false => self.stream.synchronize_raw(),
        };
        let sources = mem::take(&mut self.sources);
        match over {
            Ok(()) => drop(sources),
            Err(error) => {
                tracing::error!(
                    "the GPU does not tell whether its copies from {} buffers are over, so that they are never used again: {error}",
                    sources.len()
                );
                mem::forget(sources);
                self.is_lost.store(true, Ordering::Relaxed);
            }
        }
        over.is_ok()
    }
}

impl<S> Drop for PendingCopies<S> {
    fn drop(&mut self) {
        if !self.sources.is_empty() {
            self.finish();
        }
    }
}
