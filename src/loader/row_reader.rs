//! Reads chosen obs beside a running epoch.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use super::config::LoaderConfig;
use crate::Result;
use crate::buffer::Pool;
use crate::engine::{Completion, Engine};
use crate::minibatch::Scratch;

/// An engine of its own, so that a running epoch neither waits nor is waited for.
#[derive(Debug)]
pub(super) struct RowReader {
    // Declared first, so dropped first: the engine waits for its reads before the pool goes.
    pub(super) engine: Engine,
    pub(super) pool: Pool,
    pub(super) completions: Receiver<Completion>,
    pub(super) scratch: Scratch,
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
            // Nobody receives it if the reader is being dropped.
            let _ = sender.send(completion);
        })?;
        Ok(Self {
            engine,
            pool,
            completions,
            scratch: Scratch::default(),
        })
    }
}
