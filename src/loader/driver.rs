//! The threads of an epoch: one plans fetches and submits their reads, the others decode.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tracing::Span;
use tracing::field::Empty;

use super::decode::{DecodeContext, decode_minibatch};
use super::error::LoaderError;
use super::extents::{ReadShape, plan_reads};
use super::pipeline::{self, Pipeline};
use super::reads::{GAP_BYTES, read_bytes};
use crate::Error;
use crate::buffer::Pool;
use crate::engine::{Completion, Engine, Submission};
use crate::minibatch::Scratch;
use crate::plan::Plan;

/// The epoch that each completion belongs to, by its tag.
pub(super) type Routes = Arc<Mutex<HashMap<u64, Arc<Pipeline>>>>;

/// Hands a completion to the epoch that its fetch belongs to.
pub(super) fn route(routes: &Routes, completion: Completion) {
    let pipeline = routes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&completion.tag);
    if let Some(pipeline) = pipeline {
        pipeline.complete(completion);
    }
}

/// Plans fetches and submits their reads, as far ahead as there are free slots.
pub(super) struct Driver {
    pub(super) plan: Plan,
    pub(super) context: Arc<DecodeContext>,
    pub(super) engine: Arc<Engine>,
    pub(super) pool: Pool,
    pub(super) routes: Routes,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) first_tag: u64,
    pub(super) span: Span,
}

impl Driver {
    pub(super) fn run(self) {
        let shape = ReadShape {
            alignment: self.engine.alignment(),
            slot_bytes: self.pool.slot_bytes() as u32,
            gap_bytes: GAP_BYTES,
            read_bytes: read_bytes(self.engine.max_request_bytes()),
        };
        let sources = self.context.read_sources();
        let mut first = self.plan.n_before();
        for number in 0..self.plan.n_fetches() {
            let since = Instant::now();
            let span =
                tracing::debug_span!(parent: &self.span, "fetch", number, n_obs = Empty, n_reads = Empty);
            let _entered = span.enter();
            let fetch = self.plan.fetch(number);
            let reads = match plan_reads(&sources, &fetch.obs, &shape) {
                Ok(reads) => reads,
                Err(error) => return self.pipeline.fail_at(first, error.into()),
            };
            let planned = since.elapsed();
            span.record("n_obs", fetch.obs.len());
            span.record("n_reads", reads.reads.len());
            if reads.n_slots > self.pool.n_slots() {
                let error = LoaderError::Budget {
                    n_obs: fetch.obs.len(),
                    needed_bytes: reads.n_slots * self.pool.slot_bytes(),
                    budget_bytes: self.pool.n_slots() * self.pool.slot_bytes(),
                };
                return self.pipeline.fail_at(first, error.into());
            }
            let stopped = || self.pipeline.is_stopped();
            let Some(slots) = self.pool.take_unless(reads.n_slots, stopped) else {
                // Not stopped, but the pool closed: the engine broke down.
                if let Some(error) = self.engine.breakdown() {
                    self.pipeline.fail_at(first, error.into());
                }
                return;
            };
            self.pipeline.planned(planned, since.elapsed() - planned);
            let tag = self.first_tag + number;
            let n_minibatches = fetch.minibatches.len() as u64;
            let (pending, reads) = pipeline::split(fetch, reads, first);
            if !self.pipeline.announce(tag, pending) {
                return;
            }
            self.routes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(tag, self.pipeline.clone());
            self.engine.submit(Submission { tag, slots, reads });
            first += n_minibatches;
        }
    }
}

/// Decodes minibatches until the epoch ends.
pub(super) fn decode(pipeline: &Pipeline, context: &DecodeContext, epoch: &Span) {
    let mut scratch = Scratch::default();
    while let Some(task) = pipeline.next_task() {
        let since = Instant::now();
        let number = task.number;
        let result = tracing::trace_span!(parent: epoch, "decode", number)
            .in_scope(|| decode_minibatch(context, &context.recycler, &mut scratch, &task));
        // The slots of a fetch are free as soon as its last minibatch is decoded, whether or not it has been taken.
        drop(task);
        pipeline.put(
            number,
            result,
            u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX),
        );
    }
}

/// The threads of an epoch. Dropping it ends them.
pub(super) struct Running {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) pool: Pool,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&Pipeline) + Send + 'static,
    ) -> Result<(), Error> {
        let pipeline = self.pipeline.clone();
        let body = move || {
            // Without this a panic would leave the consumer waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| work(&pipeline))).is_err() {
                pipeline.fail_at(0, LoaderError::Panicked.into());
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(LoaderError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pipeline.stop(None);
        // The driver may be waiting for slots that somebody keeps.
        self.pool.wake();
        for thread in self.threads.drain(..) {
            // Panics were caught in the thread.
            let _ = thread.join();
        }
    }
}
