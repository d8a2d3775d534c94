//! Epochs of shuffled minibatches, read ahead of the consumer.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let mut loader = Loader::new(store, LoaderConfig { obs_columns: vec!["cell_type".into()], ..Default::default() })?;
//! for epoch in 0..10 {
//!     for minibatch in loader.epoch(epoch)? {
//!         let minibatch = minibatch?;
//!         let matrix = minibatch.as_sprs(); // n_obs x n_vars, no copy
//!         println!("{} cells, {} values", matrix.rows(), matrix.nnz());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What minibatches look like is the choice of [`LoaderConfig::output`]: see [`minibatch`](crate::minibatch).
//!
//! [`Epoch::stats`] tells where the time goes. There are spans for `tracing` too: `epoch` and, in it, `fetch` (planning it,
//! waiting for buffers and submitting its reads) at level DEBUG, `decode` (of a minibatch) at level TRACE; none per cell.
//!
#![doc = include_str!("PERFORMANCE.md")]

mod config;
mod decode;
mod extents;
mod pipeline;
mod reads;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use arrow_array::ArrayRef;
use tracing::Span;
use tracing::field::Empty;

pub use config::{LoaderConfig, LoaderError};
pub use pipeline::EpochStats;
pub use reads::{FetchExtents, extents_of};

use crate::Store;
use crate::buffer::{DEFAULT_SLOT_BYTES, Pool};
use crate::engine::{Choice, Completion, Engine, EngineStats, Submission};
use crate::format::obs::ObsDecoder;
use crate::minibatch::{Minibatch, OutputError, Recipe, Recycler, Scratch, read_column};
use crate::plan::{Plan, Sampler, SamplerData, SamplerState};
use decode::{DecodeContext, decode_minibatch};
use extents::{ReadShape, plan_reads};
use pipeline::Pipeline;

/// Neighbouring obs are read at once where at most this lies between them: reading it costs less than another request.
const GAP_BYTES: u64 = 4096;
/// Longest read of several obs: long enough for full bandwidth, short enough to leave little of a slot unused.
const READ_BYTES: u64 = 512 << 10;

/// Completions are told apart by their tag, and the tags belong to epochs.
type Routes = Arc<Mutex<HashMap<u64, Arc<Pipeline>>>>;

/// Loads epochs of a store. The read buffers and the engine live as long as the loader.
pub struct Loader {
    // Declared first, so dropped first: the engine waits for its reads before the pool goes.
    engine: Arc<Engine>,
    pool: Pool,
    routes: Routes,
    store: Arc<Store>,
    sampler: Sampler,
    config: LoaderConfig,
    context: Arc<DecodeContext>,
    next_tag: u64,
    ahead: u64,
    threads: usize,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("engine", &self.engine)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Prepares read buffers, engine and columns.
    ///
    /// # Errors
    /// [`LoaderError`] where a setting cannot be met, a column is missing, or the store cannot be read.
    pub fn new(store: Arc<Store>, config: LoaderConfig) -> Result<Self, LoaderError> {
        let manifest = store.manifest();
        let data = SamplerData {
            identity: identity(&manifest.store_id()),
            ..config.data.clone()
        };
        let sampler = Sampler::new(store.n_obs(), config.sampler.clone(), data)?;
        let recipe = config.output.check(store.n_vars(), manifest.value_type)?;
        if !manifest.f32_exact && !config.allow_rounding && !config.output.is_exact() {
            return Err(LoaderError::Rounding {
                value_type: manifest.value_type.numpy_name(),
            });
        }
        let mut columns = Vec::with_capacity(config.obs_columns.len());
        for choice in &config.obs_columns {
            let column = store.obs().column(&choice.name)?;
            let data_type = column.field().data_type().to_string();
            let reader = read_column(choice, column);
            columns.push(reader.ok_or_else(|| LoaderError::ColumnType {
                column: choice.name.clone(),
                data_type,
                form: choice.form,
            })?);
        }
        let threads = match config.decode_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let memory = Memory::divide(&store, &config, &recipe, threads)?;
        let pool = Pool::new(memory.n_slots, memory.slot_bytes)?;
        let routes = Routes::default();
        let paths = store.shard_paths();
        let completions = routes.clone();
        let engine = Engine::start(&paths, &pool, &config.engine, move |completion| {
            route(&completions, completion)
        })?;
        tracing::debug!(reading = ?engine.choice(), threads, ?memory, "loader is ready");
        let recycler = Arc::new(Recycler::new(memory.ahead as usize + threads + 2));
        let decoder = ObsDecoder::new(manifest);
        let context = Arc::new(DecodeContext {
            store: store.clone(),
            decoder,
            recipe,
            columns,
            recycler,
        });
        let (engine, ahead) = (Arc::new(engine), memory.ahead);
        Ok(Self {
            engine,
            pool,
            routes,
            store,
            sampler,
            config,
            context,
            next_tag: 0,
            ahead,
            threads,
        })
    }

    /// How bytes are read, and why so.
    pub fn choice(&self) -> &Choice {
        self.engine.choice()
    }

    /// What the engine has read since the loader was made.
    pub fn engine_stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Number of decoding threads.
    pub fn decode_threads(&self) -> usize {
        self.threads
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What the codes of a chosen obs column stand for: an array of which they are places. `None` for a column that has not
    /// been chosen, or does not come as codes.
    pub fn categories(&self, column: &str) -> Option<ArrayRef> {
        let place = self
            .config
            .obs_columns
            .iter()
            .position(|choice| choice.name == column)?;
        self.context.columns[place].categories()
    }

    /// What the epochs are planned by: for plans without reading, and for its fingerprint.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Starts an epoch: its first reads are under way when this returns.
    ///
    /// # Errors
    /// [`LoaderError`] where a thread cannot be started.
    pub fn epoch(&mut self, epoch: u64) -> Result<Epoch<'_>, LoaderError> {
        let plan = self.sampler.plan(epoch);
        self.start(plan)
    }

    /// Goes on with an epoch behind what its ranks have consumed: see [`Epoch::state`].
    ///
    /// The first minibatch is the very next one, bit for bit, in another process and on another machine too; no minibatch
    /// before it is planned or read. With another `world_size` than that of the state, what is left of the epoch is divided
    /// among the ranks there are now.
    ///
    /// # Errors
    /// [`LoaderError::Plan`] where the state is that of another store, other settings of the sampler, or another version;
    /// else as [`epoch`](Self::epoch).
    pub fn resume(&mut self, state: &SamplerState) -> Result<Epoch<'_>, LoaderError> {
        let plan = self.sampler.resume(state)?;
        self.start(plan)
    }

    fn start(&mut self, plan: Plan) -> Result<Epoch<'_>, LoaderError> {
        let (first, n_minibatches, n_fetches) = (plan.n_before(), plan.n_minibatches(), plan.n_fetches());
        let epoch = plan.epoch();
        let span = tracing::debug_span!(parent: None, "epoch", epoch, first, n_minibatches, n_fetches);
        let engine_before = self.engine.stats();
        let pipeline = Arc::new(Pipeline::new(first, first + n_minibatches, self.ahead));
        let mut running = Running {
            pipeline: pipeline.clone(),
            threads: Vec::with_capacity(self.threads + 1),
        };
        let first_tag = self.next_tag;
        self.next_tag += n_fetches;
        let driver = Driver {
            plan: plan.clone(),
            store: self.store.clone(),
            engine: self.engine.clone(),
            pool: self.pool.clone(),
            routes: self.routes.clone(),
            pipeline: pipeline.clone(),
            first_tag,
            span: span.clone(),
        };
        running.spawn("cellring-plan", move |_| driver.run())?;
        for _ in 0..self.threads {
            let (context, span) = (self.context.clone(), span.clone());
            running.spawn("cellring-decode", move |pipeline| work(pipeline, &context, &span))?;
        }
        Ok(Epoch {
            running,
            plan,
            engine_before,
            loader: self,
            _span: span,
        })
    }
}

/// What tells a store from others, in a sampler's fingerprint.
fn identity(store_id: &[u8; 16]) -> u64 {
    let (low, high) = store_id.split_at(8);
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    word(low) ^ word(high).rotate_left(32)
}

/// Hands a completion to the epoch that its fetch belongs to.
fn route(routes: &Routes, completion: Completion) {
    let pipeline = routes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&completion.tag);
    if let Some(pipeline) = pipeline {
        pipeline.complete(completion);
    }
}

/// How the memory budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    n_slots: usize,
    slot_bytes: usize,
    /// Decoded minibatches that may wait.
    ahead: u64,
}

impl Memory {
    fn divide(
        store: &Store,
        config: &LoaderConfig,
        recipe: &Recipe,
        threads: usize,
    ) -> Result<Self, OutputError> {
        let manifest = store.manifest();
        // An obs may begin and end within an aligned unit, so it takes up to two more of them.
        let longest = manifest.max_obs_bytes as usize + 2 * 4096;
        let slot_bytes = longest.next_multiple_of(DEFAULT_SLOT_BYTES);
        let mean_nnz = manifest.nnz.div_ceil(manifest.n_obs.max(1)) as usize;
        let n_obs = config.sampler.batch_size as usize;
        let minibatch_bytes = recipe.minibatch_bytes(n_obs, mean_nnz);
        let budget_bytes = config.memory_bytes;
        if recipe.is_fixed_size() && minibatch_bytes > budget_bytes {
            let needed_bytes = minibatch_bytes;
            return Err(OutputError::Budget {
                n_obs,
                needed_bytes,
                budget_bytes,
            });
        }
        // Each thread has one at work, for which half of the budget may go where they are as large as that.
        let least = match recipe.is_fixed_size() {
            true => (budget_bytes / 2 / minibatch_bytes).clamp(1, threads + 1),
            false => threads + 1,
        };
        // Enough for each thread to be ahead of a consumer that comes in bursts; no more than a quarter of the budget.
        let ahead = (budget_bytes / 4 / minibatch_bytes).clamp(least, 8 * threads + 8);
        let for_slots = budget_bytes.saturating_sub(ahead * minibatch_bytes);
        // A small store needs no more buffers than hold it a few times.
        let store_bytes = manifest.shards.iter().map(|shard| shard.bytes).sum::<u64>() as usize;
        let enough = 4 + 3 * store_bytes.div_ceil(slot_bytes / 2);
        Ok(Self {
            n_slots: (for_slots / slot_bytes).clamp(2, enough.max(2)),
            slot_bytes,
            ahead: ahead as u64,
        })
    }
}

/// Plans fetches and submits their reads, as far ahead as there are free slots.
struct Driver {
    plan: Plan,
    store: Arc<Store>,
    engine: Arc<Engine>,
    pool: Pool,
    routes: Routes,
    pipeline: Arc<Pipeline>,
    first_tag: u64,
    span: Span,
}

impl Driver {
    fn run(self) {
        let shape = ReadShape {
            alignment: self.engine.alignment(),
            slot_bytes: self.pool.slot_bytes() as u32,
            gap_bytes: GAP_BYTES,
            read_bytes: READ_BYTES,
        };
        let mut first = self.plan.n_before();
        for number in 0..self.plan.n_fetches() {
            let since = Instant::now();
            let span =
                tracing::debug_span!(parent: &self.span, "fetch", number, n_obs = Empty, n_reads = Empty);
            let _entered = span.enter();
            let fetch = self.plan.fetch(number);
            let reads = match plan_reads(self.store.index(), &fetch.obs, &shape) {
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
                return self.pipeline.fail_at(first, error);
            }
            let Some(slots) = self.pool.take(reads.n_slots) else {
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
fn work(pipeline: &Pipeline, context: &DecodeContext, epoch: &Span) {
    let mut scratch = Scratch::default();
    while let Some(task) = pipeline.next_task() {
        let since = Instant::now();
        let number = task.number;
        let result = tracing::trace_span!(parent: epoch, "decode", number)
            .in_scope(|| decode_minibatch(context, &mut scratch, &task));
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
struct Running {
    pipeline: Arc<Pipeline>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&Pipeline) + Send + 'static,
    ) -> Result<(), LoaderError> {
        let pipeline = self.pipeline.clone();
        let body = move || {
            // Without this a panic would leave the consumer waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| work(&pipeline))).is_err() {
                pipeline.fail_at(0, LoaderError::Panicked);
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
        self.pipeline.stop();
        for thread in self.threads.drain(..) {
            // Panics were caught in the thread.
            let _ = thread.join();
        }
    }
}

/// A running epoch: an iterator over its minibatches, in the order of the plan. After an error it ends.
///
/// Dropping it early stops the reads that have not begun; a later epoch of the same loader starts afresh.
pub struct Epoch<'a> {
    running: Running,
    plan: Plan,
    engine_before: EngineStats,
    loader: &'a Loader,
    _span: Span,
}

impl std::fmt::Debug for Epoch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoch")
            .field("n_minibatches", &self.n_minibatches())
            .finish_non_exhaustive()
    }
}

impl Epoch<'_> {
    /// Minibatches of the whole epoch, or of what was left of it, for this rank.
    pub fn n_minibatches(&self) -> u64 {
        self.plan.n_minibatches()
    }

    /// What to save to go on with the minibatch behind those that have been taken: a few numbers, for
    /// [`Loader::resume`].
    ///
    /// Ranks work in step: it is the same on every rank that has taken as many, so one of them may save it for all.
    pub fn state(&self) -> SamplerState {
        self.plan.state_after(self.stats().minibatches)
    }

    /// What has been read, and where the time has gone, so far. May be asked for at any time; takes a lock for a moment.
    pub fn stats(&self) -> EpochStats {
        let (before, now) = (&self.engine_before, self.loader.engine.stats());
        EpochStats {
            reads: now.reads - before.reads,
            read_bytes: now.bytes - before.bytes,
            ..self.running.pipeline.stats()
        }
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        self.loader
    }
}

impl Iterator for Epoch<'_> {
    type Item = Result<Minibatch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.running.pipeline.next()
    }
}
