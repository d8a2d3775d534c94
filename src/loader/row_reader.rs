//! Reads chosen obs beside a running epoch.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::config::LoaderConfig;
use super::decode::DecodeScratch;
use super::reads::read_bytes;
use crate::Result;
use crate::buffer::{Pool, Slot};
use crate::engine::coalesce::{GAP_BYTES, ReadShape};
use crate::engine::{Completion, Engine, EngineError, Read, Submission};
use crate::minibatch::Recycler;

/// An engine of its own, so that a running epoch neither waits nor is waited for.
#[derive(Debug)]
pub(super) struct RowReader {
    // Declared first, so dropped first: the engine waits for its reads before the pool goes.
    pub(super) engine: Engine,
    pub(super) pool: Pool,
    pub(super) completions: Receiver<Completion>,
    pub(super) scratch: DecodeScratch,
    /// Keeps the memory of one minibatch: clearing new memory takes as long as decoding into it.
    pub(super) recycler: Arc<Recycler>,
}

impl RowReader {
    /// A reader of these shards with so many slots.
    pub(super) fn start(
        shard_paths: &[PathBuf],
        config: &LoaderConfig,
        n_slots: usize,
        slot_bytes: usize,
    ) -> Result<Self> {
        let pool = Pool::new(n_slots, slot_bytes)?;
        if let Some(gpu) = &config.gpu {
            gpu.pin_pool(&pool);
        }
        let (sender, completions) = channel();
        let engine = Engine::start(shard_paths, &pool, &config.engine, move |completion| {
            // No thread receives it if the reader is being dropped.
            let _ = sender.send(completion);
        })?;
        Ok(Self {
            engine,
            pool,
            completions,
            scratch: DecodeScratch::default(),
            recycler: Arc::new(Recycler::new(1)),
        })
    }

    /// How its reads are made.
    pub(super) fn read_shape(&self) -> ReadShape {
        ReadShape {
            alignment: self.engine.alignment(),
            slot_bytes: self.pool.slot_bytes() as u32,
            gap_bytes: GAP_BYTES,
            read_bytes: read_bytes(self.engine.max_request_bytes()),
        }
    }

    /// Has so many slots filled.
    ///
    /// # Errors
    /// If the engine is gone.
    pub(super) fn submit(&self, tag: u64, n_slots: usize, reads: Vec<Read>) -> Result<()> {
        let slots = self.pool.take(n_slots).ok_or_else(|| self.breakdown())?;
        self.engine.submit(Submission { tag, slots, reads });
        Ok(())
    }

    /// The tag and the slots of the next submission that is done, not always the oldest.
    ///
    /// # Errors
    /// If it cannot be read, or the engine is gone.
    pub(super) fn wait(&self) -> Result<(u64, Vec<Slot>)> {
        let completion = self.completions.recv().map_err(|_| self.breakdown())?;
        completion.result?;
        Ok((completion.tag, completion.slots))
    }

    /// Reads into so many slots.
    ///
    /// # Errors
    /// If they cannot be read, or the engine is gone.
    pub(super) fn read(&self, n_slots: usize, reads: Vec<Read>) -> Result<Vec<Slot>> {
        self.submit(0, n_slots, reads)?;
        Ok(self.wait()?.1)
    }

    /// Why it reads no more.
    pub(super) fn breakdown(&self) -> EngineError {
        self.engine.breakdown().unwrap_or(EngineError::Stopped)
    }
}
