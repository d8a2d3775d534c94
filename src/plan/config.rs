//! What a plan is asked for.

use crate::Error;
use std::collections::BTreeMap;

use super::error::PlanError;
use super::limits::MAX_OBS;
use super::order::OrderConfig;
use super::strategy::Strategy;
use super::subset::Subset;
use cellring_core::setters;

/// The order of an epoch and how ranks share it.
///
/// The order itself depends on the first five fields alone (and, for some strategies, on `drop_last`); `rank` and
/// `world_size` only say which part of it is this rank's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SamplerConfig {
    /// How the obs are ordered, and by what.
    pub strategy: Strategy,
    /// Consecutive obs drawn together, at least 1; it need not be the block size of the store. The sequential
    /// strategies and [`Strategy::Custom`] ignore it.
    pub block_size: u64,
    /// Obs per minibatch, at least 1.
    pub batch_size: u32,
    /// Minibatches that are read and shuffled together, at least 1.
    pub fetch_factor: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// Drop what would make the last minibatch short or the ranks uneven, rather than keep it and pad.
    pub drop_last: bool,
    /// The number of this rank among `world_size`, from 0.
    pub rank: u32,
    /// How many ranks share the epoch, at least 1.
    pub world_size: u32,
}

/// What a [`Sampler`](super::Sampler) samples from, whatever the strategy.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SamplerData {
    /// A number that tells the data set from others, such as a checksum; it is part of the fingerprint and changes
    /// nothing else.
    pub identity: u64,
    /// How the caller came by the subset and the data of the strategy (a filter, the name of a column), each by a name of
    /// its own. They are saved with a [`SamplerState`](super::SamplerState), whose message names those that differ if it
    /// does not fit, and change nothing else.
    pub notes: BTreeMap<String, String>,
    /// The obs to sample from; all obs without it. [`Strategy::Custom`] and [`Strategy::User`] name their
    /// obs themselves and take none.
    pub subset: Option<Subset>,
}

impl SamplerData {
    setters! {
        identity: as u64,
        notes: as BTreeMap<String, String>,
        subset: into Option<Subset>,
    }
}

impl Default for SamplerConfig {
    /// Block shuffling with 1,024 blocks of 16 obs per fetch, which mixes minibatches of 64 as well as true random
    /// sampling does; seed 0, nothing dropped, one rank.
    fn default() -> Self {
        Self {
            strategy: Strategy::BlockShuffle,
            block_size: 16,
            batch_size: 64,
            fetch_factor: 256,
            seed: 0,
            drop_last: false,
            rank: 0,
            world_size: 1,
        }
    }
}

impl SamplerConfig {
    setters! {
        strategy: into Strategy,
        block_size: as u64,
        batch_size: as u32,
        fetch_factor: as u32,
        seed: as u64,
        drop_last: as bool,
        rank: as u32,
        world_size: as u32,
    }

    /// Obs in a full fetch.
    pub fn fetch_obs(&self) -> u64 {
        u64::from(self.batch_size) * u64::from(self.fetch_factor)
    }

    /// Checks the config against a data set of `n_obs` obs, all but the data of the strategy, which
    /// [`Sampler::new`](super::Sampler::new) checks.
    ///
    /// # Errors
    /// If a size is zero, the rank is not below the world size, or the data set or one fetch of it is too large.
    pub fn validate(&self, n_obs: u64) -> Result<(), Error> {
        self.validate_sizes(n_obs)?;
        self.order().check_fetch(n_obs)
    }

    /// What the order depends on besides the strategy.
    pub(crate) fn order(&self) -> OrderConfig {
        OrderConfig {
            block_size: self.block_size,
            batch_size: self.batch_size,
            fetch_factor: self.fetch_factor,
            seed: self.seed,
            drop_last: self.drop_last,
        }
    }

    /// What does not depend on how many obs an epoch has.
    pub(crate) fn validate_sizes(&self, n_obs: u64) -> Result<(), Error> {
        let sizes = [
            ("block_size", self.block_size),
            ("batch_size", self.batch_size.into()),
            ("fetch_factor", self.fetch_factor.into()),
            ("world_size", self.world_size.into()),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(PlanError::ZeroSize { name }.into());
        }
        if self.rank >= self.world_size {
            return Err(PlanError::RankOutOfRange {
                rank: self.rank,
                world_size: self.world_size,
            }
            .into());
        }
        if n_obs > MAX_OBS {
            return Err(PlanError::TooManyObs { n_obs }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_configs_are_told_in_a_sentence() {
        let refuse = |change: fn(&mut SamplerConfig), n_obs: u64| {
            let mut config = SamplerConfig::default();
            change(&mut config);
            config.validate(n_obs).unwrap_err().to_string()
        };
        let zero = |name| format!("{name} is 0 in the sampler config: it must be at least 1");
        assert_eq!(refuse(|c| c.block_size = 0, 9), zero("block_size"));
        assert_eq!(refuse(|c| c.batch_size = 0, 9), zero("batch_size"));
        assert_eq!(refuse(|c| c.fetch_factor = 0, 9), zero("fetch_factor"));
        assert_eq!(refuse(|c| c.world_size = 0, 0), zero("world_size"));
        assert_eq!(
            refuse(|c| (c.rank, c.world_size) = (2, 2), 9),
            "rank 2 does not exist among 2 ranks: ranks count from 0 to world_size - 1"
        );
        assert_eq!(
            refuse(|_| {}, MAX_OBS + 1),
            "the data set has 281474976710657 obs, more than the 281474976710656 that can be planned"
        );
        assert_eq!(
            refuse(|c| c.fetch_factor = u32::MAX, MAX_OBS),
            "a fetch of 4294967295 minibatches of 64 obs exceeds 67108864 obs: lower fetch_factor or batch_size"
        );
        // A fetch of everything is fine where everything is little.
        let all = SamplerConfig {
            batch_size: u32::MAX,
            fetch_factor: u32::MAX,
            ..SamplerConfig::default()
        };
        all.validate(1000).unwrap();
    }
}
