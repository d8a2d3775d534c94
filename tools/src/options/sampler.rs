//! Options of the sampler: which cells make up which minibatch.

use cellring::Store;
use cellring::plan::{SamplerConfig, SamplerData, StrategyKind};
use clap::value_parser;

use super::strategy::{StrategyArgs, plain};
use super::subset::SubsetArgs;
use crate::failure::Failure;

/// Which cells make up which minibatch.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampler options")]
pub(crate) struct SamplerArgs {
    /// Consecutive cells drawn together; it need not be the block size of the store
    #[arg(long, value_name = "N", default_value_t = SamplerConfig::default().block_size, value_parser = value_parser!(u64).range(1..))]
    block_size: u64,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    by: StrategyArgs,
    #[command(flatten)]
    subset: SubsetArgs,
}

impl SamplerArgs {
    pub(crate) fn epoch(&self) -> u64 {
        self.order.epoch
    }

    /// The sampler and what it samples from and by, checked against the store.
    pub(crate) fn sampler(&self, store: &Store) -> Result<(SamplerConfig, SamplerData), Failure> {
        let kind = self.by.kind(self.order.strategy)?;
        let mut config = self.order.sizes(self.block_size, store.n_obs())?;
        let data = self.by.data(&self.subset, store)?;
        config.strategy = self.by.strategy(kind, store, data.subset.as_ref())?;
        Ok((config, data))
    }
}

fn strategy_help() -> String {
    let (plain, with_data): (Vec<StrategyKind>, Vec<StrategyKind>) = StrategyKind::ALL
        .iter()
        .partition(|kind| kind.without_data().is_some());
    let names = |kinds: &[StrategyKind]| {
        kinds
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "Order of the cells: {}, or one of those that need an option of their own and are implied by it: {} [default: {}]",
        names(&plain),
        names(&with_data),
        StrategyKind::default()
    )
}

/// The options of the sampler without the block size.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampler options")]
pub(crate) struct OrderArgs {
    /// Order of the cells
    #[arg(long, value_name = "NAME", help = strategy_help())]
    strategy: Option<StrategyKind>,
    /// Cells in a minibatch
    #[arg(long, value_name = "N", default_value_t = SamplerConfig::default().batch_size, value_parser = value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Minibatches that are read and shuffled together
    #[arg(long, value_name = "N", default_value_t = SamplerConfig::default().fetch_factor, value_parser = value_parser!(u32).range(1..))]
    fetch_factor: u32,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Number of the (first) epoch, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
    /// Number of this rank, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    rank: u32,
    /// How many ranks share the epoch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    world_size: u32,
    /// Drop a short last minibatch, and minibatches that would make the ranks uneven
    #[arg(long)]
    drop_last: bool,
}

impl OrderArgs {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The sampler with this block size, of a strategy that takes no data, checked against the store.
    pub(crate) fn config(&self, block_size: u64, n_obs: u64) -> Result<SamplerConfig, Failure> {
        let mut config = self.sizes(block_size, n_obs)?;
        config.strategy = plain(self.strategy.unwrap_or_default())?;
        Ok(config)
    }

    /// All but the strategy.
    fn sizes(&self, block_size: u64, n_obs: u64) -> Result<SamplerConfig, Failure> {
        let config = SamplerConfig::default()
            .block_size(block_size)
            .batch_size(self.batch_size)
            .fetch_factor(self.fetch_factor)
            .seed(self.seed)
            .drop_last(self.drop_last)
            .rank(self.rank)
            .world_size(self.world_size);
        config
            .validate(n_obs)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }
}
