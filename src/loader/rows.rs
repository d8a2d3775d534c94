//! Random access: chosen obs in the form of a minibatch, whatever the sampler does.

use std::sync::{MutexGuard, PoisonError};

use super::arriving::{ArrivingSlots, PlannedRows};
use super::decode::{DecodeScratch, PlacedMinibatch, Slots, decode_minibatch};
use super::error::LoaderError;
use super::extents::{FetchReads, PlacedObs};
use super::gather::{explained, gather};
use super::pending::{FilledFetch, PendingFetch, StagedBatch};
use super::row_reader::RowReader;
use super::setup::check_shards;
use super::shared::Loader;
use crate::Result;
use crate::linked::plan::MAX_BATCH_BYTES;
use crate::linked::stage::{self, stage};
use crate::minibatch::Minibatch;
use crate::plan::PlannedFetch;

/// The first obs are decoded while others are read: so many are a part, but there are at most [`MOST_PARTS`], as each has slots of
/// its own.
const PART_OBS: usize = 256;
const MOST_PARTS: usize = 4;
/// Files that readers keep open between calls, if there is more than one reader.
const MOST_KEPT_FILES: usize = 64;

impl Loader {
    /// These obs as one minibatch, in this order; an obs may be given several times. The output is that of the epochs: matrices, genes,
    /// normalisation, types, columns.
    ///
    /// It may be called while an epoch runs, and from several threads at once. Each call has a reader of its own, whose buffers hold the bytes
    /// of all its obs; readers are kept for later calls as long as they have few files open, each with the memory of an output that was
    /// dropped. Buffers and output of each call may take
    /// [`LoaderConfig::memory_bytes`](crate::LoaderConfig::memory_bytes) once more.
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
        self.rows_while(obs, &|| true)
    }

    /// As [`rows`](Self::rows), but a call about linked stores ends early with an error once `goes_on` says no: they may take seconds. It is
    /// asked before each batch of their chunks.
    ///
    /// # Errors
    /// As there; and an error of the kind [`Stopped`](crate::ErrorKind::Stopped) if it was ended.
    #[doc(hidden)]
    pub fn rows_while(&self, obs: &[u64], goes_on: &dyn Fn() -> bool) -> Result<Minibatch> {
        let shared = &self.shared;
        let n_obs = shared.collection.n_obs();
        if let Some(&obs) = obs.iter().find(|&&obs| obs >= n_obs) {
            return Err(LoaderError::NoSuchObs { obs, n_obs }.into());
        }
        // An error leaves none: the next call starts another.
        let kept = self.row_readers().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => self.row_reader(1)?,
        };
        let sources = shared.context.read_sources();
        // Besides the slots that are kept until all is decoded, one for the batches of linked stores in turn.
        let n_slots_of =
            |planned: &FetchReads| planned.n_slots.max(1) + usize::from(!planned.batches.is_empty());
        // What linked stores bring is put together when all of it is there.
        let is_linked = !shared.context.links().is_empty();
        let mut n_parts = match is_linked {
            true => 1,
            false => (obs.len() / PART_OBS).clamp(1, MOST_PARTS),
        };
        let planned = loop {
            // As its own engine reads: another one may have found other files in the page cache.
            let planned = PlannedRows::new(&sources, obs, n_parts, &reader.read_shape());
            let planned = planned.and_then(|planned| self.check_budget(&planned.all, 0).map(|()| planned));
            let planned = match planned {
                Ok(planned) => planned,
                Err(_) if n_parts > 1 => {
                    // In one part they take fewer slots.
                    n_parts = 1;
                    continue;
                }
                Err(error) => {
                    // It has not failed.
                    self.keep(reader);
                    return Err(error);
                }
            };
            // A larger reader than this call needs may leave too little for its output.
            let is_kept = self.check_budget(&planned.all, reader.pool.n_slots()).is_ok();
            let n_slots = n_slots_of(&planned.all);
            if n_slots <= reader.pool.n_slots() && (is_kept || n_slots == reader.pool.n_slots()) {
                break planned;
            }
            // Ended before the next one begins: both together would take the memory twice.
            drop(reader);
            let roomy = n_slots.next_power_of_two();
            reader = self.row_reader(match self.check_budget(&planned.all, roomy) {
                Ok(()) => roomy,
                Err(_) => n_slots,
            })?;
        };
        let mut scratch = std::mem::take(&mut reader.scratch);
        let minibatch = match is_linked {
            true => self.linked_rows(&reader, &mut scratch, obs, planned, goes_on)?,
            false => self.stored_rows(&reader, &mut scratch, obs, planned)?,
        };
        reader.scratch = scratch;
        self.keep(reader);
        Ok(minibatch)
    }

    /// Keeps a reader for later calls, unless too many files would stay open.
    fn keep(&self, reader: RowReader) {
        let mut readers = self.row_readers();
        let n_files = (readers.len() + 1) * self.shared.shard_paths.len();
        if readers.is_empty() || n_files <= MOST_KEPT_FILES {
            readers.push(reader);
            return;
        }
        drop(readers);
        // Its threads are waited for.
        drop(reader);
    }

    fn row_readers(&self) -> MutexGuard<'_, Vec<RowReader>> {
        let readers = self.shared.row_readers.lock();
        readers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Decodes obs while others are read.
    fn stored_rows(
        &self,
        reader: &RowReader,
        scratch: &mut DecodeScratch,
        obs: &[u64],
        planned: PlannedRows,
    ) -> Result<Minibatch> {
        let slots = ArrivingSlots::new(reader, &planned);
        for (number, part) in planned.parts.into_iter().enumerate() {
            if part.n_slots > 0 {
                reader.submit(number as u64, part.n_slots, part.reads)?;
            }
        }
        let placed = &planned.all.placed;
        self.decode_rows(reader, scratch, obs, placed, Slots::Arriving(&slots), &[])
    }

    /// Reads obs, puts those of linked stores together, and decodes them.
    fn linked_rows(
        &self,
        reader: &RowReader,
        scratch: &mut DecodeScratch,
        obs: &[u64],
        planned: PlannedRows,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Minibatch> {
        let PlannedRows { all, parts, .. } = planned;
        assert_eq!(parts.len(), 1, "rows of linked stores come in one part");
        let mut slots = Vec::new();
        for part in parts.into_iter().filter(|part| part.n_slots > 0) {
            slots = reader.read(part.n_slots, part.reads)?;
        }
        let links = self.shared.context.links();
        let mut staged = Vec::new();
        let mut stage_scratch = stage::Scratch::default();
        for mut batch in all.batches {
            if !goes_on() {
                return Err(LoaderError::RowsStopped.into());
            }
            let reads = std::mem::take(&mut batch.reads);
            let found = reader.read(1, reads).and_then(|slots| {
                let slot = slots[0].as_slice();
                Ok(stage(
                    &batch,
                    slot,
                    |link| links[link as usize],
                    &mut stage_scratch,
                )?)
            });
            staged.push(StagedBatch {
                staged: found.map_err(|error| explained(&links, error))?,
                // It was compared with the budget before, all at once.
                reservation: None,
            });
        }
        let pending = PendingFetch {
            fetch: PlannedFetch {
                obs: obs.to_vec(),
                minibatches: Vec::new(),
            },
            placed: all.placed,
            first: 0,
            n_open: 0,
            slots,
            staged,
        };
        let FilledFetch {
            pending,
            slots,
            buffers,
            ..
        } = &gather(&links, pending)?;
        let slots = Slots::Filled(slots);
        self.decode_rows(reader, scratch, obs, &pending.placed, slots, buffers)
    }

    fn decode_rows(
        &self,
        reader: &RowReader,
        scratch: &mut DecodeScratch,
        obs: &[u64],
        placed: &[Vec<PlacedObs>],
        slots: Slots<'_>,
        buffers: &[Vec<u8>],
    ) -> Result<Minibatch> {
        let minibatch = PlacedMinibatch {
            obs,
            placed,
            range: 0..obs.len(),
            slots,
            buffers,
        };
        decode_minibatch(
            &self.shared.context,
            &reader.recycler,
            scratch,
            &minibatch,
            (0, 0, false),
        )
    }

    fn row_reader(&self, n_slots: usize) -> Result<RowReader> {
        let shared = &self.shared;
        let slot_bytes = shared.pool.slot_bytes();
        let reader = RowReader::start(&shared.shard_paths, &shared.config, n_slots, slot_bytes)?;
        check_shards(&shared.context.matrices, &reader.engine)?;
        Ok(reader)
    }

    /// Refuses rows whose bytes and values need more than the budget, before either are allocated. `n_slots`: those of the reader, if they
    /// are more than are needed.
    fn check_budget(&self, planned: &FetchReads, n_slots: usize) -> Result<()> {
        let shared = &self.shared;
        let slot_bytes = shared.pool.slot_bytes();
        let kept: u64 = planned.batches.iter().map(|batch| batch.kept_bytes).sum();
        if let Some(batch) = planned
            .batches
            .iter()
            .find(|batch| batch.kept_bytes > MAX_BATCH_BYTES)
        {
            let (needed_bytes, budget_bytes) = (batch.kept_bytes as usize, MAX_BATCH_BYTES as usize);
            let n_obs = planned.placed[0].len();
            return Err(LoaderError::RowsBudget {
                n_obs,
                needed_bytes,
                budget_bytes,
            }
            .into());
        }
        let mut needed_bytes = planned.n_slots.max(n_slots).saturating_mul(slot_bytes);
        needed_bytes = needed_bytes.saturating_add(kept as usize);
        if shared.context.links().iter().any(|link| link.reorders()) {
            // Once more, in order.
            needed_bytes = needed_bytes.saturating_add(kept as usize);
        }
        let mut n_obs = 0;
        for (matrix, placed) in shared.context.matrices.iter().zip(&planned.placed) {
            n_obs = placed.len();
            let nnz: u64 = placed.iter().map(|placed| u64::from(placed.nnz)).sum();
            let mean_nnz = nnz.div_ceil(n_obs.max(1) as u64) as usize;
            needed_bytes = needed_bytes.saturating_add(matrix.resolved.minibatch_bytes(n_obs, mean_nnz));
        }
        // Whatever the setting, a loader has slots enough for a few obs.
        let least_bytes = shared.pool.n_slots() * slot_bytes;
        let budget_bytes = shared.config.memory_bytes.max(least_bytes);
        match needed_bytes > budget_bytes {
            true => Err(LoaderError::RowsBudget {
                n_obs,
                needed_bytes,
                budget_bytes,
            }
            .into()),
            false => Ok(()),
        }
    }
}
