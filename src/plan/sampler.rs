//! What is sampled, and by what: checked once, then a plan for every epoch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::config::{MAX_FETCH_OBS, MAX_OBS, SamplerConfig, Strategy};
use super::draws::{Strata, draw_without_replacement};
use super::epoch::{EpochOrder, Plan};
use super::error::PlanError;
use super::groups::{GroupOrder, Grouped, Groups};
use super::hash::Fingerprint;
use super::list::{ObsList, Runs};
use super::order::{Drawn, Order};
use super::partition::Shape;
use super::settings::{Settings, settings};
use super::state::{Progress, SamplerState};
use super::subset::Subset;
use super::universe::Universe;
use super::weights::{Axis, Weights};

/// What a [`Sampler`] samples from and by. The strategy of the config tells which of it is needed.
#[derive(Clone, Debug, Default)]
pub struct SamplerData {
    /// A number that tells the data set from others, such as a checksum; it is part of the fingerprint and changes
    /// nothing else.
    pub identity: u64,
    /// How the caller came by what follows (a filter, the name of a column), each by a name of its own. They are saved with a
    /// [`SamplerState`], whose message names those that differ if it does not fit, and change nothing else.
    pub notes: BTreeMap<String, String>,
    /// The obs to sample from, for all strategies but [`Strategy::Custom`]; all obs without it.
    pub subset: Option<Subset>,
    /// For [`Strategy::Weighted`].
    pub weighted: Option<Weighted>,
    /// For [`Strategy::Balanced`].
    pub balanced: Option<Balanced>,
    /// For [`Strategy::Grouped`].
    pub grouped: Option<Grouped>,
    /// For [`Strategy::Custom`].
    pub custom: Option<Custom>,
}

/// What [`Strategy::Weighted`] samples by.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// A weight for each obs of the data set, finite and not negative, in any unit. Obs of weight 0 are never drawn.
    pub weights: Arc<[f32]>,
    /// Draws of an epoch; without it as many as there are obs of positive weight (in the subset).
    pub n_draws: Option<u64>,
    /// Whether an obs may be drawn more than once in an epoch.
    pub replacement: bool,
}

/// What [`Strategy::Balanced`] samples by.
#[derive(Clone, Debug)]
pub struct Balanced {
    /// The class of each obs of the data set; obs that are [`MISSING`](super::MISSING) are never drawn. See
    /// [`combine_codes`](super::combine_codes) for classes by several columns.
    pub codes: Arc<[u32]>,
    /// Draws of an epoch; without it as many as there are obs that have a class (in the subset).
    pub n_draws: Option<u64>,
    /// Balance the classes of the whole data set rather than those of the subset: obs are weighted by one over the size
    /// of their class in the data set.
    pub global: bool,
}

/// The order of [`Strategy::Custom`]: obs, which may repeat, one behind the other.
///
/// Held as runs of consecutive obs (16 bytes each) or one by one (4 or 8 bytes each), whichever is smaller.
#[derive(Clone, Debug)]
pub struct Custom {
    list: Arc<ObsList>,
    shuffle: bool,
}

impl Custom {
    /// The obs with these numbers, in this order.
    ///
    /// # Errors
    /// If there are too many to be planned or a number is too large for any data set.
    pub fn from_ids(ids: impl IntoIterator<Item = u64>) -> Result<Self, PlanError> {
        Self::from_ranges(ids.into_iter().map(|obs| obs..obs.saturating_add(1)))
    }

    /// The obs in these ranges, in this order.
    ///
    /// # Errors
    /// If there are too many to be planned or a range reaches beyond any data set.
    pub fn from_ranges(ranges: impl IntoIterator<Item = Range<u64>>) -> Result<Self, PlanError> {
        let mut runs = Runs::default();
        for range in ranges {
            if range.end > MAX_OBS {
                let (what, obs) = ("the custom order", range.end - 1);
                let n_obs = MAX_OBS;
                return Err(PlanError::ObsOutOfRange { what, obs, n_obs });
            }
            runs.push(range);
            if runs.len() > MAX_OBS {
                return Err(PlanError::TooManyDraws { n_draws: runs.len() });
            }
        }
        Ok(Self {
            list: Arc::new(runs.into()),
            shuffle: false,
        })
    }

    /// With each fetch shuffled whole.
    #[must_use]
    pub fn shuffled(self) -> Self {
        let shuffle = true;
        Self { shuffle, ..self }
    }

    /// The obs, one behind the other.
    pub(crate) fn obs(&self) -> impl Iterator<Item = u64> + '_ {
        self.list.iter()
    }

    /// Whether each fetch is shuffled.
    pub(crate) fn is_shuffled(&self) -> bool {
        self.shuffle
    }

    /// Obs in the order.
    pub fn len(&self) -> u64 {
        self.list.len()
    }

    /// Whether there is no obs in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A config and data that fit each other: makes the plans of all epochs.
///
/// Copies share the data. See the [module](crate::plan) for an example and for what it takes.
#[derive(Clone, Debug)]
pub struct Sampler {
    n_obs: u64,
    config: SamplerConfig,
    source: Source,
    fingerprint: u64,
    settings: Arc<Settings>,
}

/// What the strategies draw from, the same in every epoch.
#[derive(Clone, Debug)]
enum Source {
    Members(Universe),
    WithReplacement {
        axis: Arc<Axis>,
        n_draws: u64,
    },
    WithoutReplacement {
        universe: Universe,
        weights: Arc<[f32]>,
        n_draws: u64,
    },
    Groups(Arc<Groups>),
    Custom(Custom),
}

impl Sampler {
    /// Checks config and data against each other and a data set of `n_obs` obs.
    ///
    /// Takes time proportional to the data given, none without.
    ///
    /// # Errors
    /// As [`SamplerConfig::validate`]; if the strategy lacks its data or data is given that it does not use; if data is
    /// of another length than the data set or not what its documentation asks for.
    pub fn new(n_obs: u64, config: SamplerConfig, data: SamplerData) -> Result<Self, PlanError> {
        config.validate_sizes(n_obs)?;
        check_fields(&config, &data)?;
        check_lengths(n_obs, &data)?;
        let fingerprint = fingerprint(n_obs, &config, &data);
        let settings = Arc::new(settings(n_obs, &config, &data));
        let universe = data.subset.map_or(Universe::All(n_obs), Universe::Subset);
        let source = match (data.weighted, data.balanced, data.grouped, data.custom) {
            (Some(weighted), ..) => {
                let (universe, whole) = Weights::per_obs(universe, &weighted.weights)?;
                let n_draws = check_draws(weighted.n_draws.unwrap_or(universe.len()))?;
                if weighted.replacement {
                    let axis = Arc::new(Axis::new(universe, whole));
                    Source::WithReplacement { axis, n_draws }
                } else if n_draws > universe.len() {
                    let available = universe.len();
                    return Err(PlanError::TooFewObs { n_draws, available });
                } else {
                    let weights = weighted.weights;
                    Source::WithoutReplacement {
                        universe,
                        weights,
                        n_draws,
                    }
                }
            }
            (_, Some(balanced), ..) => {
                let (universe, weights) = Weights::per_class(universe, &balanced.codes, balanced.global)?;
                let n_draws = check_draws(balanced.n_draws.unwrap_or(universe.len()))?;
                let axis = Arc::new(Axis::new(universe, weights));
                Source::WithReplacement { axis, n_draws }
            }
            (_, _, Some(grouped), _) => {
                let groups = Groups::new(&universe, &grouped, config.batch_size, config.drop_last)?;
                Source::Groups(Arc::new(groups))
            }
            (.., Some(custom)) => Source::Custom(custom),
            _ => Source::Members(universe),
        };
        let sampler = Self {
            n_obs,
            config,
            source,
            fingerprint,
            settings,
        };
        sampler.check_fetch()?;
        Ok(sampler)
    }

    /// The same for another rank, or another number of ranks.
    ///
    /// # Errors
    /// If the rank does not exist.
    pub fn with_rank(&self, rank: u32, world_size: u32) -> Result<Self, PlanError> {
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
    /// (some 20 ns each) and keeps a bit for each.
    pub fn plan(&self, epoch: u64) -> Plan {
        let order = self.order(epoch);
        let shape = self.shape(&order);
        Plan::from_parts(
            order,
            &shape,
            &self.config,
            epoch,
            (self.fingerprint, self.settings.clone()),
            Progress::none(),
        )
    }

    /// The plan of the rest of an epoch.
    ///
    /// Under the world size of the last entry of the history, each rank continues with its very next minibatch. Under
    /// another one, what no rank has consumed is divided anew: each minibatch keeps its number and its content. Takes
    /// time and memory proportional to the world sizes in the history, besides what [`plan`](Self::plan) takes.
    ///
    /// # Errors
    /// If the state is of another version, of another config or other data, or contradicts itself.
    pub fn resume(&self, state: &SamplerState) -> Result<Plan, PlanError> {
        state.check(self.fingerprint, &self.settings)?;
        let order = self.order(state.epoch);
        let shape = self.shape(&order);
        let progress = Progress::after(&state.history, &shape)?;
        let (config, print) = (&self.config, (self.fingerprint, self.settings.clone()));
        Ok(Plan::from_parts(
            order,
            &shape,
            config,
            state.epoch,
            print,
            progress,
        ))
    }

    fn order(&self, epoch: u64) -> EpochOrder {
        let SamplerConfig {
            strategy,
            block_size,
            seed,
            drop_last,
            ..
        } = self.config;
        let blocks = |drawn| EpochOrder::Sequence(Order::blocks(drawn, block_size, seed, epoch));
        let ascending =
            |drawn, shuffle| EpochOrder::Sequence(Order::ascending(drawn, drop_last, shuffle, seed, epoch));
        match &self.source {
            Source::Members(universe) => {
                let drawn = Drawn::Members(universe.clone());
                match strategy {
                    Strategy::Sequential => ascending(drawn, false),
                    Strategy::SequentialShuffle => ascending(drawn, true),
                    _ => blocks(drawn),
                }
            }
            Source::WithReplacement { axis, n_draws } => {
                let strata = Strata::new(axis.clone(), *n_draws, block_size, seed, epoch);
                blocks(Drawn::Draws(strata))
            }
            Source::WithoutReplacement {
                universe,
                weights,
                n_draws,
            } => {
                let drawn = draw_without_replacement(self.n_obs, universe, weights, *n_draws, seed, epoch);
                blocks(Drawn::Members(Universe::Subset(drawn)))
            }
            Source::Groups(groups) => {
                EpochOrder::Groups(GroupOrder::new(groups.clone(), block_size, seed, epoch))
            }
            Source::Custom(custom) => ascending(Drawn::Listed(custom.list.clone()), custom.shuffle),
        }
    }

    fn shape(&self, order: &EpochOrder) -> Shape {
        let (batch_size, drop_last) = (u64::from(self.config.batch_size), self.config.drop_last);
        Shape {
            n_minibatches: match order {
                EpochOrder::Groups(groups) => groups.n_minibatches(),
                EpochOrder::Sequence(order) if drop_last => order.len() / batch_size,
                EpochOrder::Sequence(order) => order.len().div_ceil(batch_size),
            },
            fetch_factor: self.config.fetch_factor.into(),
            world_size: self.config.world_size.into(),
            drop_last,
        }
    }

    fn check_fetch(&self) -> Result<(), PlanError> {
        match &self.source {
            Source::Members(universe) => self.config.validate_fetch(universe.len()),
            Source::WithReplacement { n_draws, .. } | Source::WithoutReplacement { n_draws, .. } => {
                self.config.validate_fetch(*n_draws)
            }
            Source::Custom(custom) => self.config.validate_fetch(custom.len()),
            Source::Groups(groups) => {
                let n_minibatches = groups.n_minibatches().min(self.config.fetch_factor.into());
                match groups.max_minibatch_obs().saturating_mul(n_minibatches) > MAX_FETCH_OBS {
                    true => Err(PlanError::FetchTooLarge {
                        batch_size: u32::try_from(groups.max_minibatch_obs()).unwrap_or(u32::MAX),
                        fetch_factor: self.config.fetch_factor,
                    }),
                    false => Ok(()),
                }
            }
        }
    }
}

/// The strategy's own data must be there, and no other.
fn check_fields(config: &SamplerConfig, data: &SamplerData) -> Result<(), PlanError> {
    let strategy = config.strategy;
    let fields = [
        (
            "weighted",
            data.weighted.is_some(),
            strategy == Strategy::Weighted,
        ),
        (
            "balanced",
            data.balanced.is_some(),
            strategy == Strategy::Balanced,
        ),
        ("grouped", data.grouped.is_some(), strategy == Strategy::Grouped),
        ("custom", data.custom.is_some(), strategy == Strategy::Custom),
    ];
    for (what, given, needed) in fields {
        if needed && !given {
            return Err(PlanError::MissingData { strategy, what });
        }
        if given && !needed {
            return Err(PlanError::UnusedData { strategy, what });
        }
    }
    // A custom order chooses by itself.
    if strategy == Strategy::Custom && data.subset.is_some() {
        let what = "subset";
        return Err(PlanError::UnusedData { strategy, what });
    }
    Ok(())
}

fn check_lengths(n_obs: u64, data: &SamplerData) -> Result<(), PlanError> {
    let grouped = data.grouped.as_ref();
    let match_codes = grouped
        .and_then(|grouped| grouped.controls.as_ref())
        .and_then(|controls| controls.match_codes.as_ref());
    let lengths = [
        ("the subset", data.subset.as_ref().map(Subset::n_obs)),
        (
            "the list of weights",
            data.weighted.as_ref().map(|w| w.weights.len() as u64),
        ),
        (
            "the list of classes",
            data.balanced.as_ref().map(|b| b.codes.len() as u64),
        ),
        ("the list of groups", grouped.map(|g| g.codes.len() as u64)),
        (
            "the list of match codes",
            match_codes.map(|codes| codes.len() as u64),
        ),
    ];
    for (what, found) in lengths {
        if let Some(found) = found.filter(|found| *found != n_obs) {
            return Err(PlanError::WrongLength { what, found, n_obs });
        }
    }
    let custom = data.custom.as_ref().and_then(|custom| custom.list.last_obs());
    if let Some(obs) = custom.filter(|obs| *obs >= n_obs) {
        let what = "the custom order";
        return Err(PlanError::ObsOutOfRange { what, obs, n_obs });
    }
    Ok(())
}

fn check_draws(n_draws: u64) -> Result<u64, PlanError> {
    match n_draws > MAX_OBS {
        true => Err(PlanError::TooManyDraws { n_draws }),
        false => Ok(n_draws),
    }
}

/// Everything that the order depends on, in a fixed sequence.
fn fingerprint(n_obs: u64, config: &SamplerConfig, data: &SamplerData) -> u64 {
    let mut print = Fingerprint::new(1);
    let name = config.strategy.name();
    print.add_all(name.len() as u64, name.bytes().map(u64::from));
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
    let codes = |print: &mut Fingerprint, codes: &[u32]| {
        print.add_all(codes.len() as u64, codes.iter().map(|code| u64::from(*code)));
    };
    // What is absent, or one more than what is there.
    let option = |value: Option<u64>| value.map_or(0, |value| value.saturating_add(1));
    if let Some(subset) = &data.subset {
        print.add(2);
        subset.add_to(&mut print);
    }
    if let Some(weighted) = &data.weighted {
        print.add(3);
        let bits = weighted.weights.iter().map(|weight| u64::from(weight.to_bits()));
        print.add_all(weighted.weights.len() as u64, bits);
        print.add(option(weighted.n_draws));
        print.add(weighted.replacement.into());
    }
    if let Some(balanced) = &data.balanced {
        print.add(4);
        codes(&mut print, &balanced.codes);
        print.add(option(balanced.n_draws));
        print.add(balanced.global.into());
    }
    if let Some(grouped) = &data.grouped {
        print.add(5);
        codes(&mut print, &grouped.codes);
        print.add(option(grouped.n_per_group.map(u64::from)));
        print.add(option(grouped.sets_per_minibatch.map(u64::from)));
        if let Some(controls) = &grouped.controls {
            print.add(6);
            codes(&mut print, &controls.groups);
            print.add(controls.n_per_set.into());
            codes(&mut print, controls.match_codes.as_deref().unwrap_or_default());
        }
    }
    if let Some(custom) = &data.custom {
        print.add(7);
        print.add(custom.shuffle.into());
        print.add_all(custom.len(), custom.list.iter());
    }
    print.value()
}
