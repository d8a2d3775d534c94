//! What is sampled, and by what: checked once, then a plan for every epoch.

use crate::Error;
use std::sync::Arc;

use super::config::{SamplerConfig, SamplerData};
use super::epoch::Plan;
use super::error::PlanError;
use super::hash::Fingerprint;
use super::order::EpochOrder;
use super::partition::Sharding;
use super::settings::{Settings, SettingsBuilder};
use super::state::{Progress, SamplerState};
use super::strategy::{Method, Prepared, check_len};
use super::universe::Universe;

/// A config and data that fit each other: makes the plans of all epochs.
///
/// Copies share the data. See the [module](crate::plan) for an example and for what it takes.
#[derive(Clone, Debug)]
pub struct Sampler {
    n_obs: u64,
    config: SamplerConfig,
    prepared: Arc<dyn Prepared>,
    fingerprint: u64,
    settings: Arc<Settings>,
}

impl Sampler {
    /// Checks config and data against each other and a data set of `n_obs` obs.
    ///
    /// Takes time proportional to the data given, none without.
    ///
    /// # Errors
    /// As [`SamplerConfig::validate`]; if the data of the strategy or the subset is of another length than the data set, or
    /// not what its documentation asks for; if a subset is given to a strategy that takes none.
    pub fn new(n_obs: u64, config: SamplerConfig, data: SamplerData) -> Result<Self, Error> {
        config.validate_sizes(n_obs)?;
        let method = config.strategy.method();
        if data.subset.is_some() && !method.takes_subset() {
            let strategy = config.strategy.name();
            return Err(PlanError::UnusedSubset { strategy }.into());
        }
        if let Some(subset) = &data.subset {
            check_len("the subset", subset.n_obs(), n_obs)?;
        }
        method.check(n_obs)?;
        let fingerprint = fingerprint(n_obs, &config, &data, method);
        let settings = Arc::new(settings(n_obs, &config, &data, method));
        let members = match &data.subset {
            Some(subset) => Universe::Subset(subset.clone()),
            None => Universe::All(n_obs),
        };
        let order = config.order();
        let prepared = method.prepare(members, &order)?;
        prepared.check_fetch(&order)?;
        Ok(Self {
            n_obs,
            config,
            prepared,
            fingerprint,
            settings,
        })
    }

    /// The same for another rank, or another number of ranks.
    ///
    /// # Errors
    /// If the rank does not exist.
    pub fn with_rank(&self, rank: u32, world_size: u32) -> Result<Self, Error> {
        let sampler = Self {
            config: SamplerConfig {
                rank,
                world_size,
                ..self.config.clone()
            },
            ..self.clone()
        };
        sampler.config.validate_sizes(self.n_obs)?;
        Ok(sampler)
    }

    /// The config.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// Obs in the data set.
    pub fn n_obs(&self) -> u64 {
        self.n_obs
    }

    /// A number that tells apart everything that the order of obs depends on, except the epoch: the config without
    /// `rank` and `world_size`, the number of obs and the data. The same on every machine; no protection against intent.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The plan of an epoch.
    ///
    /// Takes some microseconds, except where it draws without replacement by weights: then it looks at every obs twice
    /// (some 20 ns each) and keeps a bit for each. A [`UserOrder`](super::UserOrder) takes the time to make its list.
    ///
    /// # Errors
    /// Only with a [`UserOrder`](super::UserOrder): if it fails, gives obs that the data set does not have, or so many that a
    /// fetch is too large.
    pub fn plan(&self, epoch: u64) -> Result<Plan, Error> {
        self.plan_after(epoch, |_| Ok(Progress::none()))
    }

    /// The plan of the rest of an epoch.
    ///
    /// Under the world size of the last entry of the history, each rank continues with its very next minibatch. Under
    /// another one, what no rank has consumed is divided again: each minibatch keeps its number and its content. Takes
    /// time and memory proportional to the world sizes in the history, besides what [`plan`](Self::plan) takes.
    ///
    /// # Errors
    /// If the state is of another version, of another config or other data, or contradicts itself; else as
    /// [`plan`](Self::plan).
    pub fn resume(&self, state: &SamplerState) -> Result<Plan, Error> {
        state.check(self.fingerprint, &self.settings)?;
        self.plan_after(state.epoch, |sharding| Progress::after(&state.history, sharding))
    }

    fn plan_after(
        &self,
        epoch: u64,
        progress: impl FnOnce(&Sharding) -> Result<Progress, Error>,
    ) -> Result<Plan, Error> {
        let order = self.prepared.order(&self.config.order(), epoch)?;
        let sharding = self.sharding(&order);
        let progress = progress(&sharding)?;
        let print = (self.fingerprint, self.settings.clone());
        Ok(Plan::from_parts(
            order,
            &sharding,
            &self.config,
            epoch,
            print,
            progress,
        ))
    }

    fn sharding(&self, order: &EpochOrder) -> Sharding {
        Sharding {
            n_minibatches: order.n_minibatches(&self.config.order()),
            fetch_factor: self.config.fetch_factor.into(),
            world_size: self.config.world_size.into(),
            drop_last: self.config.drop_last,
        }
    }
}

impl Plan {
    /// Plans `epoch` of all obs of a data set of `n_obs`. A [`Sampler`] plans many epochs, also of a subset, and prepares the
    /// data of the strategy once.
    ///
    /// # Errors
    /// As [`Sampler::new`] and [`Sampler::plan`].
    pub fn new(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Result<Self, Error> {
        Sampler::new(n_obs, config.clone(), SamplerData::default())?.plan(epoch)
    }
}

/// Everything that the order depends on, in a fixed sequence.
fn fingerprint(n_obs: u64, config: &SamplerConfig, data: &SamplerData, method: &dyn Method) -> u64 {
    let mut print = Fingerprint::new(1);
    print.add_text(config.strategy.name());
    let sizes = [
        config.batch_size.into(),
        config.fetch_factor.into(),
        config.drop_last.into(),
    ];
    print.add_all(
        6,
        [n_obs, config.block_size, config.seed].into_iter().chain(sizes),
    );
    print.add(data.identity);
    if let Some(subset) = &data.subset {
        print.add(2);
        subset.add_to(&mut print);
    }
    method.add_to(&mut print);
    print.value()
}

/// The same by name, for the message of a state that does not fit.
fn settings(n_obs: u64, config: &SamplerConfig, data: &SamplerData, method: &dyn Method) -> Settings {
    let mut parts = SettingsBuilder::new(data.notes.clone());
    parts.add("n_obs", n_obs);
    parts.add("strategy", config.strategy.name());
    parts.add("block_size", config.block_size);
    parts.add("batch_size", config.batch_size);
    parts.add("fetch_factor", config.fetch_factor);
    parts.add("seed", config.seed);
    parts.add("drop_last", config.drop_last);
    if data.identity != 0 {
        parts.add_number("data set", data.identity);
    }
    if let Some(subset) = &data.subset {
        let mut print = Fingerprint::new(1);
        subset.add_to(&mut print);
        parts.add_number("subset", print.value());
    }
    method.describe(&mut parts);
    parts.finish()
}
