//! Options of reading and decoding.

use std::fmt;
use std::str::FromStr;

use cellring::LoaderConfig;
use cellring::engine::{Backend, Direct, EngineConfig};
use cellring::plan::SamplerConfig;
use clap::value_parser;

use crate::failure::Failure;
use crate::size::parse_size;

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
        Ok(LoaderConfig::default()
            .sampler(sampler)
            .engine(self.engine()?)
            .memory_bytes(self.memory_bytes())
            .decode_threads(self.threads.map_or(0, usize::from))
            .obs_columns(self.obs_columns.iter().map(String::as_str))
            .allow_rounding(self.allow_rounding))
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

#[cfg(test)]
mod tests {
    use super::BackendName;

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
}
