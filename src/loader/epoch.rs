//! A running epoch.

use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tracing::Span;

use super::epoch_threads::{Running, Submitter, work};
use super::error::LoaderError;
use super::pipeline::Pipeline;
use super::planner::{Planner, spread};
use super::reads::read_bytes;
use super::shared::Loader;
use super::stats::EpochStats;
use crate::engine::EngineStats;
use crate::engine::coalesce::{GAP_BYTES, ReadShape};
use crate::minibatch::Minibatch;
use crate::plan::{Plan, SamplerState};
use crate::{Error, Result};

/// A running epoch: an iterator over its minibatches, in the order of the plan. After an error it ends.
///
/// It shares the loader's buffers and needs no reference to it. Another epoch of the same loader ends it with an error of the kind
/// [`Stopped`](crate::ErrorKind::Stopped), since both would need the buffers. Its [`len`](ExactSizeIterator::len) is the number of minibatches still to
/// come, if none of them fails. Dropping it early stops the reads that have not begun.
pub struct Epoch {
    pub(super) running: Running,
    pub(super) plan: Plan,
    engine_before: EngineStats,
    pub(super) loader: Loader,
    _span: Span,
}

impl Epoch {
    /// Ends the epoch before it, and starts the threads of this one, `threads` of which decode.
    pub(super) fn start(loader: Loader, plan: Plan, threads: usize) -> Result<Self> {
        let shared = &loader.shared;
        let (first, n_minibatches, n_fetches) = (plan.n_before(), plan.n_minibatches(), plan.n_fetches());
        let epoch = plan.epoch();
        let span = tracing::debug_span!(parent: None, "epoch", epoch, first, n_minibatches, n_fetches);
        let engine_before = shared.engine.stats();
        let pipeline = Arc::new(Pipeline::new(first, first + n_minibatches, shared.memory.ahead));
        let mut current = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = std::mem::replace(&mut *current, Arc::downgrade(&pipeline)).upgrade() {
            earlier.stop(Some(LoaderError::Superseded.into()));
            shared.pool.wake();
            shared.stage_memory.wake();
        }
        drop(current);
        let mut running = Running {
            pipeline: pipeline.clone(),
            pool: shared.pool.clone(),
            stage_memory: shared.stage_memory.clone(),
            threads: Vec::with_capacity(threads + 1),
        };
        let planner = Planner {
            plan: plan.clone(),
            context: shared.context.clone(),
            shape: ReadShape {
                alignment: shared.engine.alignment(),
                slot_bytes: shared.pool.slot_bytes() as u32,
                gap_bytes: GAP_BYTES,
                read_bytes: read_bytes(shared.engine.max_request_bytes()),
            },
            splits: threads > 0 && shared.context.links().is_empty(),
        };
        // What is not decoded here goes to a GPU, which is faster than the cores.
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let (fetches, planning) = spread(planner, if threads == 0 { cores() } else { threads });
        for thread in planning {
            running.spawn("cellring-plan", move |_| thread.run())?;
        }
        let submitter = Submitter {
            fetches,
            n_fetches,
            first,
            engine: shared.engine.clone(),
            pool: shared.pool.clone(),
            routes: shared.routes.clone(),
            pipeline,
            memory: shared.memory,
            stage_memory: shared.stage_memory.clone(),
            next_tag: shared.next_tag.clone(),
            hands_out: threads == 0,
            span: span.clone(),
        };
        running.spawn("cellring-submit", move |_| submitter.run())?;
        for _ in 0..threads {
            let (context, span) = (shared.context.clone(), span.clone());
            running.spawn("cellring-decode", move |pipeline| work(pipeline, &context, &span))?;
        }
        Ok(Self {
            running,
            plan,
            engine_before,
            loader,
            _span: span,
        })
    }

    /// Minibatches of the whole epoch, or of what was left of it, for this rank.
    pub fn n_minibatches(&self) -> u64 {
        self.plan.n_minibatches()
    }

    /// What to save to continue with the minibatch after those that have been taken: a few numbers, for
    /// [`Loader::resume`].
    ///
    /// Ranks work in step: it is the same on every rank that has taken as many, so one of them may save it for all.
    pub fn state(&self) -> SamplerState {
        self.state_after(self.stats().minibatches)
    }

    /// The state after so many of its minibatches.
    pub(super) fn state_after(&self, n_minibatches: u64) -> SamplerState {
        SamplerState {
            output: self.loader.shared.delivered.clone(),
            ..self.plan.state_after(n_minibatches)
        }
    }

    /// What has been read, and where the time has gone, so far. May be asked for at any time; takes a lock for a moment.
    pub fn stats(&self) -> EpochStats {
        let (before, now) = (&self.engine_before, self.loader.engine_stats());
        EpochStats {
            reads: now.reads - before.reads,
            read_bytes: now.bytes - before.bytes,
            ..self.running.pipeline.stats()
        }
    }

    /// As [`next`](Iterator::next), but waits for so long only: [`Poll::Pending`] means that it may be asked again. For callers that have to
    /// look after something else meanwhile, such as signals.
    pub fn next_within(&mut self, wait: Duration) -> Poll<Option<Result<Minibatch>>> {
        self.running.pipeline.next_within(wait)
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoch")
            .field("n_minibatches", &self.n_minibatches())
            .finish_non_exhaustive()
    }
}

impl Iterator for Epoch {
    type Item = Result<Minibatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.running.pipeline.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n_left = usize::try_from(self.running.pipeline.n_left()).unwrap_or(usize::MAX);
        (n_left, Some(n_left))
    }
}

impl ExactSizeIterator for Epoch {}

impl std::iter::FusedIterator for Epoch {}

/// Epochs of a loader, one after the other: see [`Loader::into_epochs`]. Asking for the next one ends the one before it.
#[derive(Debug)]
pub struct Epochs<I> {
    loader: Loader,
    epochs: I,
}

impl<I> Epochs<I> {
    pub(super) fn new(loader: Loader, epochs: I) -> Self {
        Self { loader, epochs }
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

impl<I: Iterator<Item = u64>> Iterator for Epochs<I> {
    type Item = Result<Epoch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let epoch = self.epochs.next()?;
        Some(self.loader.epoch(epoch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.epochs.size_hint()
    }
}
