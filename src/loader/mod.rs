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
//! Several stores are loaded as one, a [`Collection`]: their genes, in whatever order each has them, mapped to one list, the
//! categories of their obs columns merged, and each obs known by one number.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::loader::{Collection, Join};
//! use cellring::minibatch::ColumnChoice;
//! use cellring::plan::SamplerConfig;
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let stores = ["lung.cellring", "blood.cellring"].map(|path| Store::open(path).map(Arc::new));
//! let stores = stores.into_iter().collect::<Result<Vec<_>, _>>()?;
//! let collection = Collection::join(stores, &Join::Inner)?;
//! // As many cells from the one as from the other, however many each has.
//! let weighted = collection.weighted(&[1.0, 1.0], None)?;
//! let config = LoaderConfig {
//!     sampler: SamplerConfig { strategy: weighted.into(), ..SamplerConfig::default() },
//!     obs_columns: vec!["cell_type".into(), ColumnChoice::codes("donor_id"), ColumnChoice::from("age").or_missing()],
//!     ..LoaderConfig::default()
//! };
//! let mut loader = Loader::of(collection.clone(), config)?;
//! println!("{:?}", loader.categories("cell_type")); // merged: what the codes of every minibatch stand for
//! for minibatch in loader.epoch(0)? {
//!     let (store, obs) = collection.locate(minibatch?.obs()[0]);
//!     println!("the minibatch begins with obs {obs} of {}", collection.stores()[store].path().display());
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

mod collection;
mod config;
mod decode;
mod delivered;
mod extents;
mod fetches;
mod fitness;
mod memory;
mod pipeline;
mod reads;
mod setup;
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

pub use collection::{Collection, CollectionError, Join};
pub use config::{LoaderConfig, LoaderError, MatrixChoice};
pub use fetches::{DeviceFetch, DeviceRows, Fetch, Fetches, RowTable};
pub use pipeline::EpochStats;
pub use reads::{FetchExtents, extents_of};

use crate::Store;
use crate::buffer::Pool;
use crate::engine::{Choice, Completion, Engine, EngineStats, Submission};
use crate::minibatch::{Minibatch, Recycler, Scratch};
use crate::plan::{Plan, Sampler, SamplerData, SamplerState, Subset};
use decode::{DecodeContext, DecodeMatrix, decode_minibatch};
use delivered::Delivered;
use extents::{ReadShape, plan_reads};
use memory::Memory;
use pipeline::Pipeline;

/// Neighbouring obs are read at once where at most this lies between them: reading it costs less than another request.
const GAP_BYTES: u64 = 4096;
/// Longest read of several obs: long enough for full bandwidth, short enough to leave little of a slot unused.
const READ_BYTES: u64 = 512 << 10;
/// Shorter reads would cost more requests than they save, even where the device takes none that are longer.
const LEAST_READ_BYTES: u64 = 64 << 10;

/// Longest read of several obs for a device whose requests are at most this long: one request, so that none is cut into a
/// long part and a short one.
fn read_bytes(max_request_bytes: Option<u64>) -> u64 {
    max_request_bytes.map_or(READ_BYTES, |bytes| bytes.clamp(LEAST_READ_BYTES, READ_BYTES))
}

/// Completions are told apart by their tag, and the tags belong to epochs.
type Routes = Arc<Mutex<HashMap<u64, Arc<Pipeline>>>>;

/// Loads epochs of a store, or of several as one. The read buffers and the engine live as long as the loader.
pub struct Loader {
    // Declared first, so dropped first: the engine waits for its reads before the pool goes.
    engine: Arc<Engine>,
    pool: Pool,
    routes: Routes,
    collection: Collection,
    sampler: Sampler,
    config: LoaderConfig,
    context: Arc<DecodeContext>,
    delivered: Delivered,
    warning: Option<String>,
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
    /// Prepares read buffers, engine and columns for one store.
    ///
    /// # Errors
    /// [`LoaderError`] where a setting cannot be met, a column is missing, or the store cannot be read.
    pub fn new(store: Arc<Store>, config: LoaderConfig) -> Result<Self, LoaderError> {
        Self::of(store.into(), config)
    }

    /// The same for several stores as one.
    ///
    /// Everything that knows obs by number (a subset, weights, classes, a custom order, [`Minibatch::obs`]) means numbers of
    /// the collection.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where stores have different types of values, or obs columns of different kinds, that do not
    /// go together in the form that is asked for.
    pub fn of(collection: Collection, config: LoaderConfig) -> Result<Self, LoaderError> {
        let stores = collection.stores();
        let is_empty = config.data.subset.as_ref().is_some_and(Subset::is_empty);
        if is_empty && collection.n_obs() > 0 {
            let n_obs = collection.n_obs();
            return Err(LoaderError::NothingSelected { n_obs });
        }
        let data = SamplerData {
            identity: setup::identity(stores),
            ..config.data.clone()
        };
        let sampler = Sampler::new(collection.n_obs(), config.sampler.clone(), data)?;
        let delivered = delivered::delivered(&collection, &config);
        let mut matrices = vec![(
            collection.clone(),
            setup::recipe(&collection, &config.output, &config)?,
        )];
        for choice in &config.matrices {
            let matrix = collection.matrix(&choice.name)?;
            let recipe = setup::recipe(&matrix, &choice.output, &config)?;
            matrices.push((matrix, recipe));
        }
        let subset = config.data.subset.as_ref();
        let warning = matrices
            .iter()
            .find_map(|(matrix, recipe)| fitness::warning(matrix, subset, recipe.normalize?));
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        let columns = setup::columns(stores, &config.obs_columns)?;
        let threads = match config.decode_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let memory = Memory::divide(&matrices, &config, threads)?;
        let pool = Pool::new(memory.n_slots, memory.slot_bytes)?;
        if let Some(gpu) = &config.gpu {
            gpu.pin_pool(&pool);
        }
        let routes = Routes::default();
        let (mut paths, mut decoded) = (Vec::new(), Vec::new());
        let outputs =
            std::iter::once(&config.output).chain(config.matrices.iter().map(|choice| &choice.output));
        for ((matrix, recipe), output) in matrices.into_iter().zip(outputs) {
            let sources = setup::sources(&matrix, output.genes.as_ref(), paths.len() as u32);
            paths.extend(matrix.stores().iter().flat_map(|store| store.shard_paths()));
            decoded.push(DecodeMatrix { sources, recipe });
        }
        let completions = routes.clone();
        let engine = Engine::start(&paths, &pool, &config.engine, move |completion| {
            route(&completions, completion)
        })?;
        tracing::debug!(reading = ?engine.choice(), threads, ?memory, n_stores = stores.len(), "loader is ready");
        let recycler = Arc::new(Recycler::new(memory.ahead as usize + threads + 2));
        let context = Arc::new(DecodeContext {
            matrices: decoded,
            columns,
            recycler,
            gpu: config.gpu.clone(),
        });
        let (engine, ahead) = (Arc::new(engine), memory.ahead);
        Ok(Self {
            engine,
            pool,
            routes,
            collection,
            sampler,
            config,
            context,
            delivered,
            warning,
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

    /// What is doubtful about the settings, in one sentence: [`Normalize`](crate::minibatch::Normalize) is asked for, and in a few
    /// rows, looked at when the loader was made, there are values that are not whole numbers. It is an event of `tracing` at level
    /// WARN, too.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Number of decoding threads.
    pub fn decode_threads(&self) -> usize {
        self.threads
    }

    /// The stores, as one.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The store; of several the first.
    pub fn store(&self) -> &Arc<Store> {
        &self.collection.stores()[0]
    }

    /// What the codes of a chosen obs column stand for: an array of which they are places. `None` for a column that has not
    /// been chosen, or does not come as codes.
    ///
    /// Of several stores with different categories the lists are merged: those of the first store in its order, then those
    /// that the second adds, and so on. Where no store has categories (see [`ColumnForm::Codes`]) they are sorted.
    ///
    /// [`ColumnForm::Codes`]: crate::minibatch::ColumnForm::Codes
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
    /// [`LoaderError`] where a thread cannot be started, or a [`UserOrder`](crate::plan::UserOrder) fails.
    pub fn epoch(&mut self, epoch: u64) -> Result<Epoch<'_>, LoaderError> {
        let plan = self.sampler.plan(epoch)?;
        self.start(plan, self.threads)
    }

    /// Goes on with an epoch after what its ranks have consumed: see [`Epoch::state`].
    ///
    /// The first minibatch is the very next one, bit for bit, in another process and on another machine too; no minibatch
    /// before it is planned or read. With another `world_size` than that of the state, what is left of the epoch is divided
    /// among the ranks there are now.
    ///
    /// # Errors
    /// [`LoaderError::Plan`] where the state is that of another store, other settings of the sampler, or another version;
    /// [`LoaderError::OtherOutput`] where the epoch began with minibatches of another form (layout, genes, normalisation, further
    /// matrices or columns), as far as the state says so; else as [`epoch`](Self::epoch).
    pub fn resume(&mut self, state: &SamplerState) -> Result<Epoch<'_>, LoaderError> {
        let plan = self.sampler.resume(state)?;
        delivered::check(state, &self.delivered)?;
        self.start(plan, self.threads)
    }

    /// Starts the threads of an epoch, `threads` of which decode.
    fn start(&mut self, plan: Plan, threads: usize) -> Result<Epoch<'_>, LoaderError> {
        let (first, n_minibatches, n_fetches) = (plan.n_before(), plan.n_minibatches(), plan.n_fetches());
        let epoch = plan.epoch();
        let span = tracing::debug_span!(parent: None, "epoch", epoch, first, n_minibatches, n_fetches);
        let engine_before = self.engine.stats();
        let pipeline = Arc::new(Pipeline::new(first, first + n_minibatches, self.ahead));
        let mut running = Running {
            pipeline: pipeline.clone(),
            pool: self.pool.clone(),
            threads: Vec::with_capacity(threads + 1),
        };
        let first_tag = self.next_tag;
        self.next_tag += n_fetches;
        let driver = Driver {
            plan: plan.clone(),
            context: self.context.clone(),
            engine: self.engine.clone(),
            pool: self.pool.clone(),
            routes: self.routes.clone(),
            pipeline: pipeline.clone(),
            first_tag,
            span: span.clone(),
        };
        running.spawn("cellring-plan", move |_| driver.run())?;
        for _ in 0..threads {
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

/// Plans fetches and submits their reads, as far ahead as there are free slots.
struct Driver {
    plan: Plan,
    context: Arc<DecodeContext>,
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
                return self.pipeline.fail_at(first, error);
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
    pool: Pool,
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
        // The driver may be waiting for slots that somebody keeps.
        self.pool.wake();
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

    /// What to save to go on with the minibatch after those that have been taken: a few numbers, for
    /// [`Loader::resume`].
    ///
    /// Ranks work in step: it is the same on every rank that has taken as many, so one of them may save it for all.
    pub fn state(&self) -> SamplerState {
        SamplerState {
            output: self.loader.delivered.clone(),
            ..self.plan.state_after(self.stats().minibatches)
        }
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
