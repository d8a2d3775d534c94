//! The plan of one epoch for one rank.

use std::ops::Range;
use std::sync::Arc;

use super::config::SamplerConfig;
use super::order::EpochOrder;
use super::partition::{Partition, Sharding};
use super::settings::Settings;
use super::state::{Progress, SamplerState};

/// The minibatches of one rank in one epoch, or in the rest of one, in fetches.
///
/// It takes a few kilobytes whatever the size of the data set (16 KiB at most) besides the data it shares with its
/// [`Sampler`](super::Sampler), and a bit for each obs where it drew without replacement by weights. It is never changed after it was
/// made, and may be shared by threads. See the [module](crate::plan) for the order it stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    order: EpochOrder,
    partition: Partition,
    n_minibatches: u64,
    batch_size: u64,
    fetch_factor: u64,
    world_size: u32,
    drop_last: bool,
    epoch: u64,
    fingerprint: u64,
    settings: Arc<Settings>,
    progress: Progress,
}

/// One fetch: the obs to read together and how they make up minibatches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedFetch {
    /// Numbers of the obs, one minibatch after the other.
    pub obs: Vec<u64>,
    /// The minibatches, in the order in which the rank consumes them; their ranges cover `obs` without gaps.
    pub minibatches: Vec<PlannedMinibatch>,
}

impl PlannedFetch {
    /// The obs of the minibatch number `index` of this fetch.
    ///
    /// # Panics
    /// If the fetch has no such minibatch.
    pub fn obs_of(&self, index: usize) -> &[u64] {
        &self.obs[self.minibatches[index].range.clone()]
    }

    /// Leaves the first `n` minibatches here, and gives the others.
    pub(crate) fn split_off(&mut self, n: usize) -> Self {
        let mut minibatches = self.minibatches.split_off(n);
        let first = minibatches
            .first()
            .map_or(self.obs.len(), |minibatch| minibatch.range.start);
        for minibatch in &mut minibatches {
            minibatch.range = minibatch.range.start - first..minibatch.range.end - first;
        }
        Self {
            obs: self.obs.split_off(first),
            minibatches,
        }
    }
}

/// A minibatch within a [`PlannedFetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMinibatch {
    /// Its place in [`PlannedFetch::obs`].
    pub range: Range<usize>,
    /// Its number in the global sequence of the epoch, the same for every world size.
    pub global: u64,
    /// Whether it repeats a minibatch that another fetch holds already, only to give every rank as many. A metric
    /// over the epoch should leave it out.
    pub padding: bool,
}

impl Plan {
    pub(crate) fn from_parts(
        order: EpochOrder,
        sharding: &Sharding,
        config: &SamplerConfig,
        epoch: u64,
        (fingerprint, settings): (u64, Arc<Settings>),
        progress: Progress,
    ) -> Self {
        let partition = Partition::new(&progress.left, sharding, config, epoch);
        Self {
            partition: partition.skip(progress.skipped),
            order,
            n_minibatches: sharding.n_minibatches,
            batch_size: config.batch_size.into(),
            fetch_factor: sharding.fetch_factor,
            world_size: config.world_size,
            drop_last: sharding.drop_last,
            epoch,
            fingerprint,
            settings,
            progress,
        }
    }

    /// Minibatches of this rank, padding included; the same for every rank, and for whole epochs the same in every
    /// epoch (a [`UserOrder`](super::UserOrder) may give another number in each). Those consumed before the plan was resumed are not among them.
    ///
    /// 0 for an empty data set, with `drop_last` also where there is not one full minibatch for every rank, and where
    /// the epoch was consumed to its end.
    pub fn n_minibatches(&self) -> u64 {
        self.partition.n_minibatches()
    }

    /// Minibatches that this rank has consumed of the epoch before this plan was resumed; 0 for a whole epoch. The
    /// plan's minibatch number `i`, from 0, is number `n_before() + i` of the rank in the epoch.
    pub fn n_before(&self) -> u64 {
        self.progress.n_before()
    }

    /// Minibatches of the global sequence of the whole epoch, before ranks share it.
    pub fn n_global_minibatches(&self) -> u64 {
        self.n_minibatches
    }

    /// Fetches of this rank.
    pub fn n_fetches(&self) -> u64 {
        self.partition.n_fetches()
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the ranks are once each has consumed `minibatches` of this plan's minibatches: what
    /// [`Sampler::resume`](super::Sampler::resume) goes on from. The same on every rank.
    ///
    /// # Panics
    /// If the plan has fewer minibatches.
    pub fn state_after(&self, minibatches: u64) -> SamplerState {
        let available = self.n_minibatches();
        assert!(
            minibatches <= available,
            "{minibatches} minibatches consumed of {available}"
        );
        let history = self.progress.history(self.world_size, minibatches);
        SamplerState::new(self.fingerprint, self.epoch, history, (*self.settings).clone())
    }

    /// Obs of a whole fetch; about so many where minibatches are made one by one.
    pub(crate) fn fetch_obs(&self) -> u64 {
        self.fetch_factor.saturating_mul(self.batch_size)
    }

    /// Obs (or draws, where an obs may be drawn more than once) that no rank sees in this epoch: 0 without `drop_last`.
    /// In sets of groups, controls are not counted. A resumed plan counts what is dropped under its world size.
    pub fn n_dropped_obs(&self) -> u64 {
        match &self.order {
            _ if !self.drop_last => 0,
            // What is kept are full minibatches.
            EpochOrder::Sequence(order) => {
                let kept = self.n_minibatches - self.partition.n_dropped();
                order.len() - kept * self.batch_size
            }
            EpochOrder::Minibatches(minibatches) => minibatches.n_dropped(&mut self.partition.dropped()),
        }
    }

    /// This rank's fetch number `fetch`, in time proportional to the fetch, wherever in the epoch it is.
    ///
    /// # Panics
    /// If `fetch` is not below [`n_fetches`](Self::n_fetches).
    pub fn fetch(&self, fetch: u64) -> PlannedFetch {
        let mut filled = PlannedFetch::default();
        self.fetch_into(fetch, &mut filled);
        filled
    }

    /// As [`fetch`](Self::fetch), into the allocations of an earlier one, whose contents are replaced.
    ///
    /// # Panics
    /// If `fetch` is not below [`n_fetches`](Self::n_fetches).
    pub fn fetch_into(&self, fetch: u64, into: &mut PlannedFetch) {
        into.obs.clear();
        into.minibatches.clear();
        let mine = self.partition.range(fetch);
        assert!(
            mine.is_some(),
            "fetch {fetch} of a rank that has {}",
            self.n_fetches()
        );
        let Some(mine) = mine else { return };

        let mut add = |global: u64, range: Range<usize>| {
            let padding = mine.padding;
            into.minibatches.push(PlannedMinibatch {
                range,
                global,
                padding,
            });
        };
        match &self.order {
            EpochOrder::Minibatches(minibatches) => {
                for global in mine.first..mine.first + mine.len {
                    let start = into.obs.len();
                    minibatches.fill(global, &mut into.obs);
                    add(global, start..into.obs.len());
                }
            }
            EpochOrder::Sequence(order) => {
                let global_fetch = mine.first / self.fetch_factor;
                let fetch_obs = self.fetch_factor * self.batch_size;
                let first = global_fetch * fetch_obs;
                let end = order.len().min(first.saturating_add(fetch_obs));
                into.obs.reserve((end - first) as usize);
                order.fill(global_fetch, first, end, &mut into.obs);

                // The tail of an epoch, or its first fetch when it was resumed, may give this rank only a part.
                let kept_from = (mine.first * self.batch_size - first) as usize;
                let kept_end =
                    ((mine.first + mine.len).saturating_mul(self.batch_size).min(end) - first) as usize;
                into.obs.copy_within(kept_from..kept_end, 0);
                into.obs.truncate(kept_end - kept_from);
                let (n_obs, batch_size) = (into.obs.len(), self.batch_size as usize);
                (mine.first..mine.first + mine.len)
                    .zip((0..).step_by(batch_size))
                    .for_each(|(global, start)| add(global, start..n_obs.min(start + batch_size)));
            }
        }
    }

    /// The fetch that holds this plan's minibatch number `minibatch`, and its index therein. None if the plan has no such
    /// minibatch.
    pub fn locate(&self, minibatch: u64) -> Option<(u64, usize)> {
        self.partition.locate(minibatch)
    }
}
