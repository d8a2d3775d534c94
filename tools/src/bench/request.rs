//! What is measured of a store, and how.

use std::time::Duration;

use cellring::engine::{Backend, Direct};

use crate::options::{OrderArgs, ReadArgs, StoreArg};

/// What is measured of a store, and how.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) store: StoreArg,
    pub(crate) block_sizes: Vec<u64>,
    /// If there are none, those that suit the rest.
    pub(crate) fetch_factors: Vec<u32>,
    /// Obs column whose mixture within minibatches is measured.
    pub(crate) column: Option<String>,
    /// Whether every backend reads the shards alone, too.
    pub(crate) every_backend: bool,
    /// Length of each run.
    pub(crate) seconds: Duration,
    pub(crate) order: OrderArgs,
    pub(crate) read: ReadArgs,
}

/// The setting that an engine with this way of reading has been given or has chosen.
pub(super) fn direct(direct: bool, backend: Backend) -> Direct {
    match (direct, backend) {
        (true, _) => Direct::On,
        (false, Backend::Mmap) => Direct::Auto,
        (false, _) => Direct::Off,
    }
}
