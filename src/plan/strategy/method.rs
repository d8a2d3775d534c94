//! What the rest of the plan knows of a strategy.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Error;
use crate::plan::error::PlanError;
use crate::plan::hash::Fingerprint;
use crate::plan::limits::MAX_OBS;
use crate::plan::order::{EpochOrder, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;

/// Where the obs of a fetch are in the store: what can be said of an order, and of how mixed its minibatches are, without
/// knowing the strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Beside each other. In words.
    Neighbours(&'static str),
    /// In blocks of `block_size` in random order, each obs once.
    Blocks,
    /// In blocks of `block_size`, drawn from another distribution than that of the obs.
    DrawnBlocks,
    /// As the data say. In words.
    Given(&'static str),
}

/// A strategy with its data.
pub(crate) trait Method {
    /// Whether it samples from a subset. An order that names its obs itself does not.
    fn takes_subset(&self) -> bool {
        true
    }

    /// Where the obs of a fetch are in the store.
    fn arrangement(&self) -> Arrangement;

    /// Checks the data against a data set of `n_obs` obs: what [`prepare`](Self::prepare) relies on.
    fn check(&self, n_obs: u64) -> Result<(), Error>;

    /// Adds the data to the fingerprint: a number that starts it, then everything that the order depends on. The name of
    /// the strategy, the config and the subset are in it already.
    fn add_to(&self, print: &mut Fingerprint);

    /// Names the parts of the data, for the message of a saved state that does not fit.
    fn describe(&self, settings: &mut SettingsBuilder);

    /// Makes what is the same in every epoch.
    fn prepare(&self, members: Universe, config: &OrderConfig) -> Result<Arc<dyn Prepared>, Error>;
}

/// A strategy, its members and all that is the same in every epoch.
pub(crate) trait Prepared: Debug + Send + Sync {
    /// Refuses a config under which the largest fetch of an epoch is too large.
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error>;

    /// The order of an epoch: the same for the same config and epoch. Only an order that users write may fail.
    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error>;
}

/// Data for each obs must be as long as the data set.
pub(crate) fn check_len(what: &'static str, found: u64, n_obs: u64) -> Result<(), Error> {
    match found == n_obs {
        true => Ok(()),
        false => Err(PlanError::WrongLength { what, found, n_obs }.into()),
    }
}

/// An epoch must not have more draws than can be planned.
pub(super) fn check_draws(n_draws: u64) -> Result<u64, Error> {
    match n_draws > MAX_OBS {
        true => Err(PlanError::TooManyDraws { n_draws }.into()),
        false => Ok(n_draws),
    }
}
