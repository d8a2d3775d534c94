//! The global order of an epoch: minibatches cut from one sequence of obs, or made one by one.
//!
//! An arrangement orders numbers `0..n`, fetch by fetch; what they stand for, obs or draws, is another matter. Who
//! consumes them is the business of [`Partition`](super::partition::Partition).

use crate::Error;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use super::draws::Strata;
use super::error::PlanError;
use super::limits::MAX_FETCH_OBS;
use super::list::ObsList;
use super::shuffled_blocks::ShuffledBlocks;
use super::stream::{Purpose, RandomStream};
use super::universe::Universe;

/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, spread over the circle as evenly as any can.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the order of an epoch depends on besides the strategy: the config but for the ranks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderConfig {
    pub(crate) block_size: u64,
    pub(crate) batch_size: u32,
    pub(crate) fetch_factor: u32,
    pub(crate) seed: u64,
    pub(crate) drop_last: bool,
}

impl OrderConfig {
    /// Refuses a sequence of `n` obs whose largest fetch is too large.
    pub(crate) fn check_fetch(&self, n: u64) -> Result<(), Error> {
        let full = u64::from(self.batch_size) * u64::from(self.fetch_factor);
        match full.min(n) > MAX_FETCH_OBS {
            true => Err(PlanError::FetchTooLarge {
                batch_size: self.batch_size,
                fetch_factor: self.fetch_factor,
            }
            .into()),
            false => Ok(()),
        }
    }

    /// Refuses `n_minibatches` of at most `minibatch_obs` obs each whose largest fetch is too large.
    pub(crate) fn check_minibatches(&self, n_minibatches: u64, minibatch_obs: u64) -> Result<(), Error> {
        let n_minibatches = n_minibatches.min(self.fetch_factor.into());
        match minibatch_obs.saturating_mul(n_minibatches) > MAX_FETCH_OBS {
            true => Err(PlanError::FetchTooLarge {
                batch_size: u32::try_from(minibatch_obs).unwrap_or(u32::MAX),
                fetch_factor: self.fetch_factor,
            }
            .into()),
            false => Ok(()),
        }
    }
}

/// The minibatches of one epoch, before ranks share them.
#[derive(Clone, Debug)]
pub(crate) enum EpochOrder {
    /// Cut from one sequence.
    Sequence(Box<Order>),
    /// Made one by one.
    Minibatches(Arc<dyn Minibatches>),
}

/// Minibatches that are made one by one, each in time that does not depend on how many there are.
pub(crate) trait Minibatches: Debug + Send + Sync {
    /// How many there are.
    fn n_minibatches(&self) -> u64;

    /// Appends the obs of one.
    fn fill(&self, minibatch: u64, obs: &mut Vec<u64>);

    /// Obs that are in no minibatch but these `dropped` ones, or in none at all.
    fn n_dropped(&self, dropped: &mut dyn Iterator<Item = u64>) -> u64;
}

impl EpochOrder {
    /// Minibatches of the epoch.
    pub(crate) fn n_minibatches(&self, config: &OrderConfig) -> u64 {
        let batch_size = u64::from(config.batch_size);
        match self {
            Self::Minibatches(minibatches) => minibatches.n_minibatches(),
            Self::Sequence(order) if config.drop_last => order.len() / batch_size,
            Self::Sequence(order) => order.len().div_ceil(batch_size),
        }
    }
}

/// How numbers `0..n` are arranged.
#[derive(Clone, Debug)]
enum Arrangement {
    /// On from `start`, and round.
    Ascending {
        start: u64,
    },
    Blocks(ShuffledBlocks),
}

/// What they stand for.
#[derive(Clone, Debug)]
pub(crate) enum Drawn {
    Members(Universe),
    Draws(Strata),
    Listed(Arc<ObsList>),
}

impl Drawn {
    fn len(&self) -> u64 {
        match self {
            Self::Members(universe) => universe.len(),
            Self::Draws(strata) => strata.len(),
            Self::Listed(list) => list.len(),
        }
    }

    fn extend(&self, range: Range<u64>, obs: &mut Vec<u64>) {
        match self {
            Self::Members(universe) => universe.extend(range, obs),
            Self::Draws(strata) => strata.extend(range, obs),
            Self::Listed(list) => list.extend(range, obs),
        }
    }
}

/// The order of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    drawn: Drawn,
    arrangement: Arrangement,
    /// The seed and the epoch, if each fetch is shuffled whole.
    shuffle: Option<(u64, u64)>,
}

impl Order {
    /// One after the other. An epoch that drops something starts elsewhere each time.
    pub(crate) fn ascending(drawn: Drawn, shuffle: bool, config: &OrderConfig, epoch: u64) -> EpochOrder {
        let start = if config.drop_last {
            start_of(drawn.len(), epoch)
        } else {
            0
        };
        EpochOrder::Sequence(Box::new(Self {
            drawn,
            arrangement: Arrangement::Ascending { start },
            shuffle: shuffle.then_some((config.seed, epoch)),
        }))
    }

    /// A list as it is, from its first obs on in every epoch.
    pub(crate) fn listed(list: Arc<ObsList>, shuffle: bool, config: &OrderConfig, epoch: u64) -> EpochOrder {
        EpochOrder::Sequence(Box::new(Self {
            drawn: Drawn::Listed(list),
            arrangement: Arrangement::Ascending { start: 0 },
            shuffle: shuffle.then_some((config.seed, epoch)),
        }))
    }

    /// Blocks in random order, each fetch shuffled.
    pub(crate) fn blocks(drawn: Drawn, config: &OrderConfig, epoch: u64) -> EpochOrder {
        let stream = |purpose| RandomStream::new(config.seed, epoch, purpose, 0);
        let (order, turn) = (stream(Purpose::BlockOrder), stream(Purpose::Turn));
        let blocks = ShuffledBlocks::new(drawn.len(), config.block_size, order, turn);
        EpochOrder::Sequence(Box::new(Self {
            drawn,
            arrangement: Arrangement::Blocks(blocks),
            shuffle: Some((config.seed, epoch)),
        }))
    }

    /// Positions in the epoch.
    pub(crate) fn len(&self) -> u64 {
        self.drawn.len()
    }

    /// Appends the obs of fetch number `fetch`, which covers positions `first..end`, in global order.
    pub(crate) fn fill(&self, fetch: u64, first: u64, end: u64, obs: &mut Vec<u64>) {
        let from = obs.len();
        match &self.arrangement {
            Arrangement::Ascending { start } => {
                // At the end of the sequence: at most one jump back to the first.
                let behind = self.len() - start;
                let wrap = behind.clamp(first, end);
                if first < wrap {
                    self.drawn.extend(start + first..start + wrap, obs);
                }
                if wrap < end {
                    self.drawn.extend(wrap - behind..end - behind, obs);
                }
            }
            Arrangement::Blocks(blocks) => blocks.visit(first, end, |range| self.drawn.extend(range, obs)),
        }
        if let Some((seed, epoch)) = self.shuffle {
            RandomStream::new(seed, epoch, Purpose::FetchShuffle, fetch).shuffle(&mut obs[from..]);
        }
    }
}

/// Where a sequential epoch of `n` that drops something starts.
fn start_of(n: u64, epoch: u64) -> u64 {
    ((u128::from(epoch.wrapping_mul(GOLDEN_STEP)) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_spreads_over_the_data_set() {
        assert_eq!(start_of(1000, 0), 0);
        assert_eq!(
            [1, 2, 3, 4].map(|epoch| start_of(1000, epoch)),
            [618, 236, 854, 472]
        );
        assert_eq!(start_of(0, 5), 0);
        assert!(start_of(1 << 48, u64::MAX) < 1 << 48);
    }
}
