//! What the memory budget is spent on.

use super::collection::Collection;
use super::config::LoaderConfig;
use crate::Result;
use crate::buffer::DEFAULT_SLOT_BYTES;
use crate::linked::{Link, LinkedError};
use crate::minibatch::{OutputError, ResolvedOutput};

/// A value of a row that is put in order: its column and itself, as narrow as most are.
const REORDERED_VALUE_BYTES: usize = 6;
/// Slots for what is read of linked stores: enough to keep a device busy.
const LINKED_SLOTS: usize = 24;

/// How the memory budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) n_slots: usize,
    pub(super) slot_bytes: usize,
    /// Decoded minibatches that may wait.
    pub(super) ahead: u64,
    /// For rows of linked stores that wait to be decoded.
    pub(super) stage_bytes: u64,
    /// The whole budget.
    pub(super) budget_bytes: usize,
    /// What a minibatch takes, and how many of them are decoded ahead with any budget; if they are as large as half of it, one is enough.
    minibatch_bytes: usize,
    least_ahead: usize,
    /// For rows that are put in order.
    reordered_bytes: usize,
    is_fixed_size: bool,
    /// What chunks of linked stores are decompressed in; 0 without them.
    decoding_bytes: usize,
    /// The share of slots in what is for reading: one in so many.
    per_slot: usize,
}

impl Memory {
    /// `matrices`: the stores of each matrix, and what is made of it.
    pub(super) fn divide(
        matrices: &[(Collection, ResolvedOutput)],
        config: &LoaderConfig,
        threads: usize,
    ) -> Result<Self> {
        let stores = || matrices.iter().flat_map(|(collection, _)| collection.stores());
        let manifests = || stores().map(|store| store.manifest());
        let links = || stores().filter_map(|store| store.link());
        // An obs may begin and end within an aligned unit, so it takes up to two more of them.
        let longest = manifests()
            .map(|manifest| manifest.max_obs_bytes)
            .chain(links().map(Link::longest_read))
            .max()
            .unwrap_or(0) as usize
            + 2 * 4096;
        let slot_bytes = longest.next_multiple_of(DEFAULT_SLOT_BYTES);
        let n_obs = config.sampler.batch_size as usize;
        let bytes = |(collection, resolved): &(Collection, ResolvedOutput)| {
            resolved.minibatch_bytes(n_obs, mean_nnz(collection))
        };
        let minibatch_bytes = matrices.iter().map(bytes).fold(0, usize::saturating_add);
        let fixed = matrices.iter().filter(|(_, resolved)| resolved.is_fixed_size());
        let fixed_bytes = fixed.map(bytes).fold(0, usize::saturating_add);
        let budget_bytes = config.memory_bytes;
        if fixed_bytes > budget_bytes {
            let needed_bytes = fixed_bytes;
            return Err(OutputError::Budget {
                n_obs,
                needed_bytes,
                budget_bytes,
            }
            .into());
        }
        // Each thread has one at work, for which half of the budget may go where they are as large as that.
        let least = match fixed_bytes {
            0 => threads + 1,
            _ => (budget_bytes / 2 / minibatch_bytes).clamp(1, threads + 1),
        };
        // Enough for each thread to be ahead of a consumer that comes in bursts; no more than a quarter of the budget.
        let ahead = (budget_bytes / 4 / minibatch_bytes).clamp(least, 8 * threads + 8);
        // Each thread has the rows of a minibatch once more while it puts them in order.
        let reordered = match links().any(Link::reorders) {
            true => {
                threads
                    * n_obs
                    * matrices
                        .iter()
                        .map(|(collection, _)| mean_nnz(collection))
                        .sum::<usize>()
            }
            false => 0,
        };
        let for_slots =
            budget_bytes.saturating_sub(ahead * minibatch_bytes + reordered * REORDERED_VALUE_BYTES);
        // A small store needs no more buffers than hold it a few times.
        let shards = manifests().flat_map(|manifest| &manifest.shards);
        let shard_bytes: u64 = shards.map(|shard| shard.bytes).sum();
        let sources = links().flat_map(Link::sources);
        let source_bytes: u64 = sources.map(|source| source.linked().bytes).sum();
        let store_bytes = shard_bytes.saturating_add(source_bytes) as usize;
        let enough = (4 + 3 * store_bytes.div_ceil(slot_bytes / 2)).max(2);
        let Some(decoding_bytes) = links().map(Link::decoding_bytes).max() else {
            return Ok(Self {
                n_slots: (for_slots / slot_bytes).clamp(2, enough),
                slot_bytes,
                ahead: ahead as u64,
                stage_bytes: 0,
                budget_bytes,
                minibatch_bytes,
                least_ahead: threads + 1,
                reordered_bytes: reordered * REORDERED_VALUE_BYTES,
                is_fixed_size: fixed_bytes > 0,
                decoding_bytes: 0,
                per_slot: 1,
            });
        };
        // What is read of linked stores passes through few slots; a fetch of others has to fit them.
        let share = match shard_bytes {
            0 => (for_slots / 4).min(LINKED_SLOTS * slot_bytes),
            _ => for_slots / 2,
        };
        let n_slots = (share / slot_bytes).clamp(2, enough);
        let decoding_bytes = decoding_bytes.saturating_mul(threads as u64);
        let taken = decoding_bytes.saturating_add((n_slots * slot_bytes) as u64);
        let left = (for_slots as u64).saturating_sub(taken);
        if let Some(store) = stores().find(|store| store.is_linked())
            // Where minibatches take all of it, too.
            && left <= for_slots as u64 / 4
        {
            let (store, chunk_bytes) = (store.path().to_path_buf(), links().map(Link::chunk_bytes).max());
            return Err(LinkedError::Budget {
                store,
                chunk_bytes: chunk_bytes.unwrap_or(0),
                // Of which a quarter may be kept for minibatches, or one for each thread, and a third of the rest is left.
                needed_bytes: decoding_bytes
                    .saturating_add(2 * slot_bytes as u64)
                    .saturating_add(
                        ((threads + 1) * minibatch_bytes + reordered * REORDERED_VALUE_BYTES) as u64,
                    )
                    .saturating_mul(3),
                threads,
                budget_bytes: budget_bytes as u64,
            }
            .into());
        }
        Ok(Self {
            n_slots,
            slot_bytes,
            ahead: ahead as u64,
            stage_bytes: left,
            budget_bytes,
            minibatch_bytes,
            least_ahead: threads + 1,
            reordered_bytes: reordered * REORDERED_VALUE_BYTES,
            is_fixed_size: fixed_bytes > 0,
            decoding_bytes: decoding_bytes as usize,
            per_slot: if shard_bytes == 0 { 4 } else { 2 },
        })
    }

    /// A budget with which there are so many slots.
    pub(super) fn budget_with_slots(&self, n_slots: usize) -> usize {
        self.budget_with(
            n_slots
                .saturating_mul(self.slot_bytes)
                .saturating_mul(self.per_slot),
        )
    }

    /// A budget with which so many bytes of linked stores may wait to be decoded.
    pub(super) fn budget_with_stage(&self, bytes: usize) -> usize {
        let rest = bytes.saturating_add(self.decoding_bytes);
        // Slots take their share of the whole, and two of them at least.
        let beside_share = rest
            .saturating_mul(self.per_slot)
            .div_ceil((self.per_slot - 1).max(1));
        self.budget_with(beside_share.max(rest.saturating_add(2 * self.slot_bytes)))
    }

    /// A budget of which so many bytes are for what is read. Minibatches take a quarter of it, or more where fewer than the least would fit into that; if they
    /// have a fixed size, half of it or one of them.
    fn budget_with(&self, bytes: usize) -> usize {
        let kept = bytes.saturating_add(self.reordered_bytes);
        let with = |n: usize| kept.saturating_add(n.saturating_mul(self.minibatch_bytes));
        let enough = with(self.least_ahead).div_ceil(3).saturating_mul(4);
        match self.is_fixed_size {
            true => enough.min(with(1).max(kept.saturating_mul(2))),
            false => enough,
        }
    }
}

/// Values of an obs, on average.
fn mean_nnz(collection: &Collection) -> usize {
    let manifests = collection.stores().iter().map(|store| store.manifest());
    let (nnz, n_obs) = manifests.fold((0, 0), |(nnz, n_obs), manifest| {
        (nnz + u128::from(manifest.nnz), n_obs + u128::from(manifest.n_obs))
    });
    nnz.div_ceil(n_obs.max(1)) as usize
}
