//! `weighted`: draws by a weight for each obs, in blocks.

use std::sync::Arc;

use super::method::{Arrangement, Method, Prepared, check_draws, check_len};
use crate::Error;
use crate::plan::draws::{Strata, draw_without_replacement};
use crate::plan::error::PlanError;
use crate::plan::hash::Fingerprint;
use crate::plan::order::{Drawn, EpochOrder, Order, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;
use crate::plan::weights::{Axis, Weights};
use cellring_core::setters;

/// Weights to draw by: for [`Strategy::Weighted`](super::Strategy::Weighted).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Weighted {
    /// A weight for each obs of the data set, finite and not negative, in any unit. Obs of weight 0 are never drawn.
    pub weights: Arc<[f32]>,
    /// Draws per epoch. Defaults to the number of obs with a positive weight (in the subset).
    pub n_draws: Option<u64>,
    /// Whether an obs may be drawn more than once in an epoch.
    pub replacement: bool,
}

impl Weighted {
    /// Draws with replacement by these weights, as many as there are obs with a positive weight.
    pub fn new(weights: impl Into<Arc<[f32]>>) -> Self {
        Self {
            weights: weights.into(),
            n_draws: None,
            replacement: true,
        }
    }

    setters! {
        weights: into Arc<[f32]>,
        n_draws: into Option<u64>,
        replacement: as bool,
    }
}

impl Method for Weighted {
    fn arrangement(&self) -> Arrangement {
        Arrangement::DrawnBlocks
    }

    fn check(&self, n_obs: u64) -> Result<(), Error> {
        check_len("the list of weights", self.weights.len() as u64, n_obs)
    }

    fn add_to(&self, print: &mut Fingerprint) {
        print.add(3);
        print.add_weights(&self.weights);
        print.add_option(self.n_draws);
        print.add(self.replacement.into());
    }

    fn describe(&self, settings: &mut SettingsBuilder) {
        let bits = self.weights.iter().map(|weight| u64::from(weight.to_bits()));
        settings.add_words("weights", bits);
        settings.add_option("n_draws", self.n_draws);
        settings.add("replacement", self.replacement);
    }

    fn prepare(&self, members: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        let (members, weights) = Weights::per_obs(members, &self.weights)?;
        let (available, n_draws) = (members.len(), self.n_draws.unwrap_or(members.len()));
        let n_draws = check_draws(n_draws)?;
        if self.replacement {
            return Ok(Arc::new(WithReplacement::new(members, weights, n_draws)));
        }
        if n_draws > available {
            return Err(PlanError::TooFewObs { n_draws, available }.into());
        }
        let weights = self.weights.clone();
        Ok(Arc::new(WithoutReplacement {
            members,
            weights,
            n_draws,
        }))
    }
}

/// Draws with replacement, by weights of any kind.
#[derive(Debug)]
pub(super) struct WithReplacement {
    axis: Arc<Axis>,
    n_draws: u64,
}

impl WithReplacement {
    pub(super) fn new(members: Universe, weights: Weights, n_draws: u64) -> Self {
        let axis = Arc::new(Axis::new(members, weights));
        Self { axis, n_draws }
    }
}

impl Prepared for WithReplacement {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_fetch(self.n_draws)
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        let (block_size, seed) = (config.block_size, config.seed);
        let strata = Strata::new(self.axis.clone(), self.n_draws, block_size, seed, epoch);
        Ok(Order::blocks(Drawn::Draws(strata), config, epoch))
    }
}

/// Draws without replacement by a weight for each obs.
#[derive(Debug)]
struct WithoutReplacement {
    members: Universe,
    weights: Arc<[f32]>,
    n_draws: u64,
}

impl Prepared for WithoutReplacement {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_fetch(self.n_draws)
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        let (members, weights) = (&self.members, &*self.weights);
        let drawn = draw_without_replacement(members, weights, self.n_draws, config.seed, epoch);
        Ok(Order::blocks(
            Drawn::Members(Universe::Subset(drawn)),
            config,
            epoch,
        ))
    }
}
