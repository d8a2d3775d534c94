//! Random access: chosen obs in the form of a minibatch, whatever the sampler does.

use std::sync::{Arc, PoisonError};

use super::decode::decode_minibatch;
use super::error::LoaderError;
use super::extents::{ReadShape, plan_reads};
use super::pipeline::{FilledFetch, PendingFetch, Task};
use super::reads::{GAP_BYTES, read_bytes};
use super::row_reader::RowReader;
use super::shared::Loader;
use crate::Result;
use crate::engine::{EngineError, Submission};
use crate::minibatch::Minibatch;
use crate::plan::{PlannedFetch, PlannedMinibatch};

impl Loader {
    /// These obs as one minibatch, in this order; an obs may be given several times. The output is that of the epochs: matrices, genes,
    /// normalisation, types, columns.
    ///
    /// It may be called while an epoch runs, and from several threads (which take turns). The first call starts a reader of its own, whose
    /// buffers hold the bytes of all obs of the largest call so far; they are limited by
    /// [`LoaderConfig::memory_bytes`](crate::LoaderConfig::memory_bytes).
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use cellring::{Loader, LoaderConfig, Store};
    /// # let store = Arc::new(Store::open("atlas.cellring")?);
    /// let loader = Loader::new(store, LoaderConfig::default())?;
    /// let minibatch = loader.rows(&[70, 3, 3, 41])?;
    /// assert_eq!(minibatch.obs(), [70, 3, 3, 41]);
    /// # Ok::<(), cellring::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an obs does not exist, the obs need more memory than the budget, or they cannot be read.
    pub fn rows(&self, obs: &[u64]) -> Result<Minibatch> {
        let shared = &self.shared;
        let n_obs = shared.collection.n_obs();
        if let Some(&obs) = obs.iter().find(|&&obs| obs >= n_obs) {
            return Err(LoaderError::NoSuchObs { obs, n_obs }.into());
        }
        let slot_bytes = shared.pool.slot_bytes();
        let shape = ReadShape {
            alignment: shared.engine.alignment(),
            slot_bytes: slot_bytes as u32,
            gap_bytes: GAP_BYTES,
            read_bytes: read_bytes(shared.engine.max_request_bytes()),
        };
        let planned = plan_reads(&shared.context.read_sources(), obs, &shape)?;
        let (needed_bytes, budget_bytes) = (planned.n_slots * slot_bytes, shared.config.memory_bytes);
        if needed_bytes > budget_bytes.max(shared.pool.n_slots() * slot_bytes) {
            let n_obs = obs.len();
            return Err(LoaderError::Budget {
                n_obs,
                needed_bytes,
                budget_bytes,
            }
            .into());
        }
        let mut kept = shared.row_reader.lock().unwrap_or_else(PoisonError::into_inner);
        // An error leaves none: the next call starts another.
        let mut reader = match kept.take() {
            Some(reader) if reader.pool.n_slots() >= planned.n_slots => reader,
            _ => {
                let n_slots = planned.n_slots.max(1);
                RowReader::start(&shared.shard_paths, &shared.config, n_slots, slot_bytes)?
            }
        };
        let mut slots = Vec::new();
        if planned.n_slots > 0 {
            let closed = || EngineError::Stopped;
            let submission = Submission {
                tag: 0,
                slots: reader.pool.take(planned.n_slots).ok_or_else(closed)?,
                reads: planned.reads,
            };
            reader.engine.submit(submission);
            let completion = reader.completions.recv().map_err(|_| closed())?;
            completion.result?;
            slots = completion.slots;
        }
        let minibatch = PlannedMinibatch {
            range: 0..obs.len(),
            global: 0,
            padding: false,
        };
        let fetch = FilledFetch {
            pending: PendingFetch {
                fetch: PlannedFetch {
                    obs: obs.to_vec(),
                    minibatches: vec![minibatch],
                },
                placed: planned.placed,
                first: 0,
            },
            slots,
        };
        let task = Task {
            fetch: Arc::new(fetch),
            index: 0,
            number: 0,
        };
        let minibatch = decode_minibatch(&shared.context, &mut reader.scratch, &task)?;
        drop(task);
        *kept = Some(reader);
        Ok(minibatch)
    }
}
