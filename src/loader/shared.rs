//! What a loader is made of, and shares with its epochs.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::collection::Collection;
use super::config::LoaderConfig;
use super::decode::DecodeContext;
use super::delivered::Delivered;
use super::epoch_threads::Routes;
use super::memory::Memory;
use super::pipeline::Pipeline;
use super::row_reader::RowReader;
use super::stage_memory::StageMemory;
use crate::buffer::Pool;
use crate::engine::Engine;
use crate::plan::Sampler;

/// Loads epochs of a store, or of several as one. The read buffers and the engine live as long as the loader.
///
/// A running [`Epoch`](crate::Epoch) shares them: it may be stored, sent to another thread, and outlive the loader.
pub struct Loader {
    pub(super) shared: Arc<Shared>,
}

/// What a loader and its epochs share.
pub(super) struct Shared {
    // Declared first, so dropped first: the engine waits for its reads before the pool goes.
    pub(super) engine: Arc<Engine>,
    pub(super) pool: Pool,
    pub(super) routes: Routes,
    pub(super) collection: Collection,
    pub(super) sampler: Sampler,
    pub(super) config: LoaderConfig,
    pub(super) context: Arc<DecodeContext>,
    pub(super) delivered: Delivered,
    pub(super) warning: Option<String>,
    /// Of all matrices and stores, in the order of the engine's files.
    pub(super) shard_paths: Vec<PathBuf>,
    pub(super) next_tag: Arc<AtomicU64>,
    /// The epoch that uses the read buffers.
    pub(super) running: Mutex<Weak<Pipeline>>,
    /// Those that no call uses.
    pub(super) row_readers: Mutex<Vec<RowReader>>,
    /// For each chosen obs column, what its codes stand for.
    pub(super) labels: Vec<OnceLock<Vec<String>>>,
    pub(super) memory: Memory,
    /// For rows of linked stores that wait to be decoded.
    pub(super) stage_memory: StageMemory,
    pub(super) threads: usize,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("engine", &self.shared.engine)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Another handle of the same loader, for its epochs.
    pub(super) fn handle(&self) -> Self {
        let shared = self.shared.clone();
        Self { shared }
    }
}
