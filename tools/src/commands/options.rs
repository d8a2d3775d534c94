//! Options that several commands share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cellring::engine::{Backend, Direct, EngineConfig};
use cellring::plan::{SamplerConfig, SamplerData, StrategyKind};
use cellring::{LoaderConfig, Store};
use cellring_tools::size::parse_size;
use clap::value_parser;

use super::data::{StrategyArgs, SubsetArgs, plain};
use crate::failure::Failure;

/// The store that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArg {
    /// The store, a directory made by `cellring convert`
    #[arg(value_name = "STORE")]
    path: PathBuf,
}

impl StoreArg {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn open(&self) -> Result<Arc<Store>, Failure> {
        Ok(Arc::new(Store::open(&self.path)?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

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

/// The options of the sampler without the block size.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampler options")]
pub(crate) struct OrderArgs {
    /// Order of the cells: sequential, sequential-shuffle, block-shuffle, or one of those that need an option of their own
    /// and are implied by it: weighted, balanced, grouped, custom [default: block-shuffle]
    #[arg(long, value_name = "NAME")]
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
        let config = SamplerConfig {
            block_size,
            batch_size: self.batch_size,
            fetch_factor: self.fetch_factor,
            seed: self.seed,
            drop_last: self.drop_last,
            rank: self.rank,
            world_size: self.world_size,
            ..SamplerConfig::default()
        };
        config
            .validate(n_obs)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }
}

/// How the loader reads and decodes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading options")]
pub(crate) struct ReadArgs {
    /// How bytes are read: auto, uring, plain-uring (without registered buffers), pread or mmap
    #[arg(long, value_name = "NAME", default_value_t)]
    backend: BackendName,
    /// Whether to bypass the page cache (O_DIRECT): auto, on or off
    #[arg(long, value_name = "WHEN", default_value_t)]
    direct: Direct,
    /// The most reads in flight with io_uring [default: by the size of the reads]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=4096))]
    depth: Option<u32>,
    /// Threads that decode [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory for read buffers and waiting minibatches, such as 64MiB or 1GiB
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory: u64,
    /// Obs columns to deliver with each minibatch, separated by commas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    obs_columns: Vec<String>,
    /// Deliver values that f32 cannot hold exactly as the nearest f32
    #[arg(long)]
    allow_rounding: bool,
}

impl ReadArgs {
    pub(crate) fn backend(&self) -> BackendName {
        self.backend
    }

    pub(crate) fn direct(&self) -> Direct {
        self.direct
    }

    pub(crate) fn depth(&self) -> Option<u32> {
        self.depth
    }

    pub(crate) fn decode_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.map_or_else(cores, usize::from)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        usize::try_from(self.memory).unwrap_or(usize::MAX)
    }

    pub(crate) fn engine(&self) -> Result<EngineConfig, Failure> {
        let mut engine = self.backend.engine().ok_or_else(|| {
            Failure::Usage("tokio-uring reads files, not cells: it is for `bench --raw FILE` alone".into())
        })?;
        engine.direct = self.direct;
        engine.depth = self.depth;
        Ok(engine)
    }

    pub(crate) fn loader(&self, sampler: SamplerConfig) -> Result<LoaderConfig, Failure> {
        Ok(LoaderConfig {
            sampler,
            engine: self.engine()?,
            memory_bytes: self.memory_bytes(),
            decode_threads: self.threads.map_or(0, usize::from),
            obs_columns: self.obs_columns.iter().map(|name| name.as_str().into()).collect(),
            allow_rounding: self.allow_rounding,
            ..LoaderConfig::default()
        })
    }
}

/// A backend of the library, or what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendName {
    /// One of the library's.
    Engine(Backend),
    /// The library's ring without registered buffers.
    PlainUring,
    /// The crate tokio-uring, with its own registered buffers.
    TokioUring,
}

impl BackendName {
    /// How the library is asked for it; `None` for what the library does not have.
    pub(crate) fn engine(self) -> Option<EngineConfig> {
        let mut engine = EngineConfig::default();
        engine.backend = match self {
            Self::Engine(backend) => backend,
            Self::PlainUring => Backend::Uring,
            Self::TokioUring => return None,
        };
        engine.no_registered_buffers = self == Self::PlainUring;
        Some(engine)
    }
}

impl Default for BackendName {
    fn default() -> Self {
        Self::Engine(Backend::Auto)
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(backend) => backend.fmt(f),
            Self::PlainUring => f.pad("plain-uring"),
            Self::TokioUring => f.pad("tokio-uring"),
        }
    }
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "plain-uring" => Ok(Self::PlainUring),
            "tokio-uring" => Ok(Self::TokioUring),
            _ => name
                .parse()
                .map(Self::Engine)
                .map_err(|error| format!("{error}, plain-uring, tokio-uring")),
        }
    }
}

/// A length of time in seconds, above 0.
pub(crate) fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is not a time: give seconds, such as 5 or 0.5");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let time = std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if time.is_zero() { Err(wrong()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BackendName, parse_seconds};

    #[test]
    fn backends_go_there_and_back() {
        for name in ["auto", "uring", "plain-uring", "tokio-uring", "pread", "mmap"] {
            assert_eq!(name.parse::<BackendName>().unwrap().to_string(), name);
        }
        let error = "aio".parse::<BackendName>().unwrap_err();
        assert_eq!(
            error,
            r#"invalid backend "aio": expected one of auto, uring, pread, mmap, plain-uring, tokio-uring"#
        );
    }

    #[test]
    fn times_are_positive_and_finite() {
        assert_eq!(parse_seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "nan", "inf", "1e300", "5s"] {
            assert!(parse_seconds(text).unwrap_err().contains(text), "{text}");
        }
    }
}
