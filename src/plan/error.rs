//! Why an epoch cannot be planned.

use super::limits::{MAX_FETCH_OBS, MAX_HISTORY_RANKS, MAX_OBS};

/// Why an epoch cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A size is zero.
    #[error("{name} is 0 in the sampler config: it must be at least 1")]
    ZeroSize {
        /// The field.
        name: &'static str,
    },
    /// The rank does not exist.
    #[error("rank {rank} does not exist among {world_size} ranks: ranks count from 0 to world_size - 1")]
    RankOutOfRange {
        /// The rank asked for.
        rank: u32,
        /// How many ranks there are.
        world_size: u32,
    },
    /// The data set has more obs than can be planned.
    #[error("the data set has {n_obs} obs, more than the {MAX_OBS} that can be planned")]
    TooManyObs {
        /// Obs in the data set.
        n_obs: u64,
    },
    /// An epoch would have more draws than can be planned.
    #[error("an epoch of {n_draws} draws is more than the {MAX_OBS} that can be planned: ask for fewer")]
    TooManyDraws {
        /// Draws of an epoch.
        n_draws: u64,
    },
    /// A fetch would hold too many obs.
    #[error(
        "a fetch of {fetch_factor} minibatches of {batch_size} obs exceeds {MAX_FETCH_OBS} obs: lower fetch_factor or batch_size"
    )]
    FetchTooLarge {
        /// Obs per minibatch.
        batch_size: u32,
        /// Minibatches per fetch.
        fetch_factor: u32,
    },
    /// The name of a strategy is not known.
    #[error("unknown sampling strategy {found:?}: expected one of {known}")]
    UnknownStrategy {
        /// The name as given.
        found: String,
        /// All names.
        known: String,
    },
    /// A subset was given, and the strategy names its obs itself.
    #[error(
        "the sampler data holds subset, which strategy {strategy} does not use: leave it out or change the strategy"
    )]
    UnusedSubset {
        /// The name of the strategy.
        strategy: &'static str,
    },
    /// Data for each obs has another length.
    #[error("{what} has {found} entries for a data set of {n_obs} obs: give one for each obs")]
    WrongLength {
        /// What was given.
        what: &'static str,
        /// Its entries.
        found: u64,
        /// Obs in the data set.
        n_obs: u64,
    },
    /// An obs does not exist.
    #[error("{what} names obs {obs} of a data set of {n_obs} obs, which count from 0")]
    ObsOutOfRange {
        /// What was given.
        what: &'static str,
        /// The obs.
        obs: u64,
        /// Obs in the data set.
        n_obs: u64,
    },
    /// Two subsets belong to data sets of different sizes.
    #[error(
        "a subset of {found} obs cannot be combined with one of {expected} obs: both must be of one data set"
    )]
    OtherDataSet {
        /// Obs in the data set of the first.
        expected: u64,
        /// Obs in the data set of the second.
        found: u64,
    },
    /// An order that the user wrote failed, or gave obs that do not exist.
    #[error("the order {name:?} failed for epoch {epoch}: {reason}")]
    UserOrder {
        /// Its name.
        name: String,
        /// The epoch.
        epoch: u64,
        /// Why.
        reason: String,
    },
    /// A weight is negative, infinite or not a number.
    #[error("the weight of obs {obs} is {found}: weights must be finite and not negative")]
    BadWeight {
        /// The obs.
        obs: u64,
        /// The weight.
        found: String,
    },
    /// There is nothing to draw from.
    #[error("none of the {n_obs} obs to draw from has {what}: nothing can be drawn")]
    NothingToDraw {
        /// Obs of the subset, or of the data set.
        n_obs: u64,
        /// What an obs must have.
        what: &'static str,
    },
    /// More obs are to be drawn without replacement than there are.
    #[error(
        "{n_draws} obs cannot be drawn without replacement from the {available} that have a weight: lower n_draws or allow replacement"
    )]
    TooFewObs {
        /// Draws asked for.
        n_draws: u64,
        /// Obs of positive weight.
        available: u64,
    },
    /// Not even one set of a group fits into a minibatch.
    #[error(
        "a set of {set_obs} obs{} does not fit into a minibatch of {batch_size}: raise batch_size or ask for smaller sets", of_controls(*.n_controls)
    )]
    SetTooLarge {
        /// Obs in the (largest) set, controls included.
        set_obs: u64,
        /// Controls among them.
        n_controls: u64,
        /// Obs per minibatch.
        batch_size: u32,
    },
    /// A match code has obs but no control.
    #[error(
        "{n_obs} obs of one group, such as obs {example}, have no control with the same match code ({match_code}) among the obs that are sampled: \
         keep controls in the subset, leave these obs out of it, or match by fewer columns"
    )]
    NoControls {
        /// The match code.
        match_code: u32,
        /// Obs in the first group of that code.
        n_obs: u64,
        /// The first of them.
        example: u64,
    },
    /// Fractions of a split are no fractions.
    #[error("the fractions of a split are {found}: each must be at least 0, and they may sum to 1 at most")]
    BadFractions {
        /// The fractions.
        found: String,
    },
    /// Columns combine to too many different codes.
    #[error(
        "the columns combine to more than {} classes: combine fewer columns",
        u32::MAX
    )]
    TooManyClasses,
    /// A saved state is of another version.
    #[error(
        "the sampler state is of version {found}, this release reads version {expected}: resume with the release that saved it"
    )]
    StateVersion {
        /// The version in the state.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// A saved state belongs to another config or other data.
    #[error(
        "the sampler state was saved with another sampler config or other data ({}): resume with the same, or start the epoch again",
        mismatch(*found, *expected, differences)
    )]
    StateMismatch {
        /// The fingerprint in the state.
        found: u64,
        /// The fingerprint of this sampler.
        expected: u64,
        /// The parts that differ, with what they were and are; empty if the state does not tell.
        differences: String,
    },
    /// A saved state says that more was consumed than there was.
    #[error(
        "the sampler state says that each of {world_size} ranks consumed {found} minibatches, but each had only {available}: the state is damaged"
    )]
    StateBeyondEnd {
        /// Ranks.
        world_size: u32,
        /// Minibatches consumed.
        found: u64,
        /// Minibatches that each rank had.
        available: u64,
    },
    /// A saved state has too long a history.
    #[error(
        "the history of the sampler state adds up to {found} ranks, more than the {MAX_HISTORY_RANKS} that can be followed: start the epoch again"
    )]
    StateTooLong {
        /// Sum of its world sizes.
        found: u64,
    },
}

fn mismatch(found: u64, expected: u64, differences: &str) -> String {
    match differences {
        "" => format!("fingerprint {found:016x}, expected {expected:016x}"),
        differences => differences.to_owned(),
    }
}

/// How many of the obs of a set are controls, where some are.
fn of_controls(n_controls: u64) -> String {
    match n_controls {
        0 => String::new(),
        n => format!(" ({n} of them controls)"),
    }
}
