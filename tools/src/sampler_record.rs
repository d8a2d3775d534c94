//! A sampler as the commands show it.

use cellring::plan::{SamplerConfig, StrategyKind};
use serde::Serialize;

/// The config of a sampler without the data of its strategy.
#[derive(Debug, Serialize)]
pub(crate) struct SamplerRecord {
    pub(crate) strategy: StrategyKind,
    pub(crate) block_size: u64,
    pub(crate) batch_size: u32,
    pub(crate) fetch_factor: u32,
    pub(crate) seed: u64,
    pub(crate) drop_last: bool,
    pub(crate) rank: u32,
    pub(crate) world_size: u32,
}

impl From<&SamplerConfig> for SamplerRecord {
    fn from(config: &SamplerConfig) -> Self {
        Self {
            strategy: config.strategy.kind(),
            block_size: config.block_size,
            batch_size: config.batch_size,
            fetch_factor: config.fetch_factor,
            seed: config.seed,
            drop_last: config.drop_last,
            rank: config.rank,
            world_size: config.world_size,
        }
    }
}
