//! The plan of one epoch for one rank.

use std::ops::Range;

use super::config::{PlanError, SamplerConfig};
use super::order::Order;
use super::partition::Partition;

/// The minibatches of one rank in one epoch, in fetches.
///
/// It takes a few kilobytes whatever the size of the data set (16 KiB at most), is never changed after it was made,
/// and may be shared by threads. See the [module](crate::plan) for the order it stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    order: Order,
    partition: Partition,
    n_minibatches: u64,
    batch_size: u64,
    fetch_factor: u64,
    world_size: u64,
    drop_last: bool,
}

/// One fetch: the obs to read together and how they make up minibatches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Numbers of the obs, one minibatch behind the other.
    pub obs: Vec<u64>,
    /// The minibatches, in the order in which the rank consumes them; their ranges cover `obs` without gaps.
    pub minibatches: Vec<PlannedMinibatch>,
}

impl Fetch {
    /// The obs of the minibatch number `index` of this fetch.
    ///
    /// # Panics
    /// If the fetch has no such minibatch.
    pub fn obs_of(&self, index: usize) -> &[u64] {
        &self.obs[self.minibatches[index].range.clone()]
    }
}

/// A minibatch within a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMinibatch {
    /// Its place in [`Fetch::obs`].
    pub range: Range<usize>,
    /// Its number in the global sequence of the epoch, the same for every world size.
    pub global: u64,
    /// Whether it repeats a minibatch that another fetch holds already, only to give every rank as many. A metric
    /// over the epoch should leave it out.
    pub padding: bool,
}

impl Plan {
    /// Plans `epoch` of a data set of `n_obs` obs.
    ///
    /// # Errors
    /// As [`SamplerConfig::validate`].
    pub fn new(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Result<Self, PlanError> {
        config.validate(n_obs)?;
        let order = Order::new(n_obs, config, epoch);
        let batch_size = u64::from(config.batch_size);
        let n_minibatches = if config.drop_last {
            order.len() / batch_size
        } else {
            order.len().div_ceil(batch_size)
        };
        Ok(Self {
            partition: Partition::new(n_minibatches, config, epoch),
            order,
            n_minibatches,
            batch_size,
            fetch_factor: config.fetch_factor.into(),
            world_size: config.world_size.into(),
            drop_last: config.drop_last,
        })
    }

    /// Minibatches of this rank, padding included; the same for every rank and every epoch.
    ///
    /// 0 for an empty data set, and with `drop_last` also where there is not one full minibatch for every rank.
    pub fn n_minibatches(&self) -> u64 {
        self.partition.n_minibatches()
    }

    /// Minibatches of the global sequence, before ranks share it.
    pub fn n_global_minibatches(&self) -> u64 {
        self.n_minibatches
    }

    /// Fetches of this rank.
    pub fn n_fetches(&self) -> u64 {
        self.partition.n_fetches()
    }

    /// Obs that no rank sees in this epoch: 0 without `drop_last`.
    pub fn n_dropped_obs(&self) -> u64 {
        // What is kept with `drop_last` are full minibatches, as many for each rank.
        match self.drop_last {
            true => self.order.len() - self.n_minibatches() * self.world_size * self.batch_size,
            false => 0,
        }
    }

    /// This rank's fetch number `fetch`, in time proportional to the fetch, wherever in the epoch it lies.
    ///
    /// # Panics
    /// If `fetch` is not below [`n_fetches`](Self::n_fetches).
    pub fn fetch(&self, fetch: u64) -> Fetch {
        let mut filled = Fetch::default();
        self.fetch_into(fetch, &mut filled);
        filled
    }

    /// As [`fetch`](Self::fetch), into the allocations of an earlier one, whose contents are replaced.
    ///
    /// # Panics
    /// If `fetch` is not below [`n_fetches`](Self::n_fetches).
    pub fn fetch_into(&self, fetch: u64, into: &mut Fetch) {
        into.obs.clear();
        into.minibatches.clear();
        let run = self.partition.run(fetch);
        assert!(
            run.is_some(),
            "fetch {fetch} of a rank that has {}",
            self.n_fetches()
        );
        let Some(run) = run else { return };

        let global_fetch = run.first / self.fetch_factor;
        let fetch_obs = self.fetch_factor * self.batch_size;
        let first = global_fetch * fetch_obs;
        let end = self.order.len().min(first.saturating_add(fetch_obs));
        into.obs.reserve((end - first) as usize);
        self.order.fill(global_fetch, first, end, &mut into.obs);

        // The tail of an epoch may give this rank only a part of the fetch.
        let kept_from = (run.first * self.batch_size - first) as usize;
        let kept_end = ((run.first + run.len).saturating_mul(self.batch_size).min(end) - first) as usize;
        into.obs.copy_within(kept_from..kept_end, 0);
        into.obs.truncate(kept_end - kept_from);
        let batch_size = self.batch_size as usize;
        into.minibatches.extend(
            (run.first..run.first + run.len)
                .zip((0..).step_by(batch_size))
                .map(|(global, start)| PlannedMinibatch {
                    range: start..into.obs.len().min(start + batch_size),
                    global,
                    padding: run.padding,
                }),
        );
    }

    /// Where to resume: the fetch that holds this rank's minibatch number `minibatch`, and its index therein. None if
    /// the rank has no such minibatch.
    pub fn locate(&self, minibatch: u64) -> Option<(u64, usize)> {
        self.partition.locate(minibatch)
    }
}
