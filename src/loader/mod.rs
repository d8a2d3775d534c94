//! Epochs of shuffled minibatches, read ahead of the consumer.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let loader = Loader::new(store, LoaderConfig::default().obs_columns(["cell_type"]))?;
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
//! let config = LoaderConfig::default()
//!     .sampler(SamplerConfig::default().strategy(weighted))
//!     .obs_columns(vec!["cell_type".into(), ColumnChoice::codes("donor_id"), ColumnChoice::from("age").or_missing()]);
//! let loader = Loader::new(collection.clone(), config)?;
//! for (code, cell_type) in loader.categories("cell_type").into_iter().flatten().enumerate() {
//!     println!("{code} {cell_type}"); // merged: what the codes of every minibatch stand for
//! }
//! for minibatch in loader.epoch(0)? {
//!     let (store, obs) = collection.locate(minibatch?.obs()[0]);
//!     println!("the minibatch begins with obs {obs} of {}", collection.stores()[store].path().display());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What minibatches look like is the choice of [`LoaderConfig::output`]: see [`minibatch`](crate::minibatch).
//!
//! [`Epoch::stats`] tells where the time goes. There are spans for `tracing` too: `epoch` and, in it, `fetch` (planning it, where no other thread does,
//! waiting for buffers and submitting its reads) at level DEBUG, `decode` (of a minibatch) at level TRACE; none per cell.
//!
#![doc = include_str!("PERFORMANCE.md")]

mod arriving;
mod collection;
mod columns;
mod config;
mod decode;
mod delivered;
mod epoch;
mod epoch_threads;
mod error;
mod extents;
mod fetches;
mod fitness;
mod gather;
mod memory;
mod on_device;
mod pending;
mod pipeline;
mod planner;
mod reads;
mod row_reader;
mod rows;
mod setup;
mod shared;
mod stage_memory;
mod stats;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock};

use arrow_array::ArrayRef;

#[doc(hidden)]
pub use collection::CollectionError;
pub use collection::{Collection, Join};
pub use config::{LoaderConfig, MatrixChoice};
pub use epoch::{Epoch, Epochs};
#[doc(hidden)]
pub use error::LoaderError;
pub use fetches::{DeviceFetch, DeviceRows, Fetch, Fetches, RowTable};
#[doc(hidden)]
pub use reads::{FetchExtents, extents_of};
#[doc(hidden)]
pub use setup::check_outputs;
pub use shared::Loader;
use stage_memory::StageMemory;
pub use stats::EpochStats;

use crate::buffer::Pool;
use crate::engine::{Choice, Engine, EngineStats};
use crate::minibatch::Recycler;
use crate::plan::{Sampler, SamplerData, SamplerState, Subset};
use crate::{Result, Store};
use decode::{DecodeContext, DecodeMatrix};
use epoch_threads::Routes;
use memory::Memory;
use shared::Shared;

impl Loader {
    /// Prepares read buffers, engine and columns for a store, or for several as one [`Collection`].
    ///
    /// Everything that refers to obs by number (a subset, weights, classes, a custom order, [`Minibatch::obs`]) means numbers of
    /// the collection.
    ///
    /// [`Minibatch::obs`]: crate::Minibatch::obs
    ///
    /// # Errors
    /// If a setting cannot be met, a column is missing, or a store cannot be read; if stores have different types of values, or obs
    /// columns of different kinds, that do not go together in the requested form.
    pub fn new(data: impl Into<Collection>, config: LoaderConfig) -> Result<Self> {
        Self::load(data.into(), config)
    }

    fn load(collection: Collection, config: LoaderConfig) -> Result<Self> {
        let stores = collection.stores();
        let is_empty = config.data.subset.as_ref().is_some_and(Subset::is_empty);
        if is_empty && collection.n_obs() > 0 {
            let n_obs = collection.n_obs();
            return Err(LoaderError::NothingSelected { n_obs }.into());
        }
        let data = SamplerData {
            identity: collection.identity(),
            ..config.data.clone()
        };
        let sampler = Sampler::new(collection.n_obs(), config.sampler.clone(), data)?;
        let delivered = delivered::delivered(&collection, &config);
        let matrices = setup::matrices(&collection, &config)?;
        let subset = config.data.subset.as_ref();
        let warning = matrices
            .iter()
            .find_map(|(matrix, resolved)| fitness::warning(matrix, subset, resolved.normalize?));
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        let columns = columns::readers(stores, &config.obs_columns)?;
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
        for ((matrix, resolved), output) in matrices.into_iter().zip(outputs) {
            let sources = setup::sources(
                &matrix,
                output.genes.as_ref(),
                paths.len() as u32,
                config.allow_rounding,
            );
            paths.extend(matrix.stores().iter().flat_map(|store| store.shard_paths()));
            decoded.push(DecodeMatrix { sources, resolved });
        }
        let completions = routes.clone();
        let engine = Engine::start(&paths, &pool, &config.engine, move |completion| {
            epoch_threads::route(&completions, completion);
        })?;
        // The engine has opened the files now; what was put in their place before that would be taken for damage.
        setup::check_shards(&decoded, &engine)?;
        tracing::debug!(reading = ?engine.choice(), threads, ?memory, n_stores = stores.len(), "loader is ready");
        let recycler = Arc::new(Recycler::new(memory.ahead as usize + threads + 2));
        let context = Arc::new(DecodeContext {
            matrices: decoded,
            columns,
            recycler,
            gpu: config.gpu.clone(),
        });
        let labels = config.obs_columns.iter().map(|_| OnceLock::new()).collect();
        let shared = Shared {
            engine: Arc::new(engine),
            pool,
            routes,
            collection,
            sampler,
            config,
            context,
            delivered,
            warning,
            shard_paths: paths,
            next_tag: Arc::default(),
            running: Mutex::default(),
            row_readers: Mutex::default(),
            labels,
            memory,
            stage_memory: StageMemory::new(memory.stage_bytes),
            threads,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How bytes are read, and why so.
    pub fn choice(&self) -> &Choice {
        self.shared.engine.choice()
    }

    /// What the engine has read since the loader was made.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.engine.stats()
    }

    /// What is doubtful about the settings, in one sentence: [`Normalize`](crate::minibatch::Normalize) is asked for, and in a few
    /// rows, looked at when the loader was made, there are values that are not whole numbers. It is an event of `tracing` at level
    /// WARN, too.
    pub fn warning(&self) -> Option<&str> {
        self.shared.warning.as_deref()
    }

    /// Number of decoding threads.
    pub fn decode_threads(&self) -> usize {
        self.shared.threads
    }

    /// The stores, as one.
    pub fn collection(&self) -> &Collection {
        &self.shared.collection
    }

    /// The store; of several the first.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.collection.stores()[0]
    }

    /// Names of the columns of a minibatch's matrix before genes are selected: those of the store, or those that the stores are joined by.
    ///
    /// # Errors
    /// If the var table of the first store cannot be read.
    pub fn var_names(&self) -> Result<Vec<String>> {
        self.shared.collection.var_names()
    }

    /// What the codes of a chosen obs column stand for, by code; numbers and booleans are written as text. `None` for a column that
    /// was not chosen, or is not delivered as codes.
    ///
    /// If several stores have different categories, the lists are merged: those of the first store in its order, then those
    /// that the second adds, and so on. If no store has categories (see [`ColumnForm::Codes`]), they are sorted.
    ///
    /// [`ColumnForm::Codes`]: crate::minibatch::ColumnForm::Codes
    pub fn categories(&self, column: &str) -> Option<impl ExactSizeIterator<Item = &str>> {
        let place = self.place(column)?;
        let reader = &self.shared.context.columns[place];
        reader.categories()?;
        let labels = self.shared.labels[place].get_or_init(|| reader.labels());
        Some(labels.iter().map(String::as_str))
    }

    /// [`categories`](Self::categories) as an Arrow array, in their own type.
    pub fn categories_array(&self, column: &str) -> Option<ArrayRef> {
        self.shared.context.columns[self.place(column)?].categories()
    }

    fn place(&self, column: &str) -> Option<usize> {
        let columns = &self.shared.config.obs_columns;
        columns.iter().position(|choice| choice.name == column)
    }

    /// What the epochs are planned by: for plans without reading, and for its fingerprint.
    pub fn sampler(&self) -> &Sampler {
        &self.shared.sampler
    }

    /// Starts an epoch: its first reads are under way when this returns. An earlier epoch of this loader that is still running ends
    /// with an error, since both would need the read buffers.
    ///
    /// # Errors
    /// If a thread cannot be started, or a [`UserOrder`](crate::plan::UserOrder) fails. A fetch that does not fit
    /// [`memory_bytes`](LoaderConfig::memory_bytes) is an error of the first minibatch that needs it.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        let plan = self.shared.sampler.plan(epoch)?;
        Epoch::start(self.handle(), plan, self.shared.threads)
    }

    /// These epochs, one after the other: take all minibatches of one before asking for the next, which ends it.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use cellring::{Loader, LoaderConfig, Store};
    /// # let store = Arc::new(Store::open("atlas.cellring")?);
    /// let loader = Loader::new(store, LoaderConfig::default())?;
    /// let training = std::thread::spawn(move || {
    ///     for epoch in loader.into_epochs(0..10) {
    ///         for minibatch in epoch? {
    ///             println!("{} cells", minibatch?.n_obs());
    ///         }
    ///     }
    ///     Ok::<(), cellring::Error>(())
    /// });
    /// # let _ = training.join();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_epochs<I: IntoIterator<Item = u64>>(self, epochs: I) -> Epochs<I::IntoIter> {
        Epochs::new(self, epochs.into_iter())
    }

    /// Continues an epoch after what its ranks have consumed: see [`Epoch::state`].
    ///
    /// The first minibatch is the very next one, bit for bit, in another process and on another machine too; no minibatch
    /// before it is planned or read. With another `world_size` than that of the state, what is left of the epoch is divided
    /// among the ranks there are now. An earlier epoch of this loader ends as with [`epoch`](Self::epoch).
    ///
    /// # Errors
    /// [`ErrorKind::Resume`](crate::ErrorKind::Resume) if the state is that of another store or of other settings of the sampler, or if the
    /// epoch began with minibatches of another form (layout, genes, normalisation, matrices or columns), as far as the state says so;
    /// [`ErrorKind::Version`](crate::ErrorKind::Version) if it is of another version; else as [`epoch`](Self::epoch).
    pub fn resume(&self, state: &SamplerState) -> Result<Epoch> {
        let plan = self.shared.sampler.resume(state)?;
        delivered::check(state, &self.shared.delivered)?;
        Epoch::start(self.handle(), plan, self.shared.threads)
    }
}
