//! A sampler as the commands show it.

use cellring::plan::{SamplerConfig, StrategyKind};
use serde::Serialize;

/// The config of a sampler without the data of its strategy.
#[derive(Debug, Serialize)]
pub(super) struct SamplerRecord {
    pub(super) strategy: StrategyKind,
    pub(super) block_size: u64,
    pub(super) batch_size: u32,
    pub(super) fetch_factor: u32,
    pub(super) seed: u64,
    pub(super) drop_last: bool,
    pub(super) rank: u32,
    pub(super) world_size: u32,
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
