//! Where in an epoch the ranks are: what is saved to go on later.

use crate::Error;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::limits::MAX_HISTORY_RANKS;
use super::partition::{Remaining, Sharding};
use super::settings::{Settings, differences};

/// The version of [`SamplerState`].
const VERSION: u32 = 1;

/// Where in an epoch the ranks are, all in step: a few numbers and names, the same on every rank.
///
/// Made by [`Plan::state_after`](super::Plan::state_after), taken by [`Sampler::resume`](super::Sampler::resume).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerState {
    /// The version of this layout: 1.
    pub version: u32,
    /// Of the sampler that saved it: [`Sampler::fingerprint`](super::Sampler::fingerprint).
    pub fingerprint: u64,
    /// The epoch under way.
    pub epoch: u64,
    /// What was consumed since the epoch began, one entry for each time the world size changed.
    pub history: Vec<HistoryEntry>,
    /// What the sampler that saved it was made of, each part by name: settings by their values, data by fingerprints, and
    /// [`SamplerData::notes`](super::SamplerData::notes). Only for the message of a state that does not fit. Empty in
    /// states of releases that did not record it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What the loader that saved it made of the cells (layout, genes, normalisation), each setting by name: a loader that makes
    /// something else of them does not resume the epoch. Empty, and not compared, in states that a plan alone or an earlier
    /// release saved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, String>,
}

/// A stretch of an epoch under one world size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    /// How many ranks shared the epoch.
    pub world_size: u32,
    /// How many minibatches each of them consumed meanwhile, padding included.
    pub minibatches: u64,
}

impl SamplerState {
    pub(crate) fn new(fingerprint: u64, epoch: u64, history: Vec<HistoryEntry>, settings: Settings) -> Self {
        let version = VERSION;
        Self {
            version,
            fingerprint,
            epoch,
            history,
            settings,
            output: BTreeMap::new(),
        }
    }

    /// Refuses a state that another sampler or another release saved.
    pub(crate) fn check(&self, fingerprint: u64, settings: &Settings) -> Result<(), Error> {
        if self.version != VERSION {
            let (found, expected) = (self.version, VERSION);
            return Err(PlanError::StateVersion { found, expected }.into());
        }
        if self.fingerprint != fingerprint {
            let (found, expected) = (self.fingerprint, fingerprint);
            let differences = differences(&self.settings, settings);
            return Err(PlanError::StateMismatch {
                found,
                expected,
                differences,
            }
            .into());
        }
        Ok(())
    }
}

/// How an epoch goes on under a world size.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// What happened under other world sizes.
    pub(crate) earlier: Vec<HistoryEntry>,
    /// What that has left.
    pub(crate) left: Remaining,
    /// What each rank has consumed of its part of that.
    pub(crate) skipped: u64,
}

impl Progress {
    /// An epoch that has not begun.
    pub(crate) fn none() -> Self {
        Self {
            earlier: Vec::new(),
            left: Remaining::all(),
            skipped: 0,
        }
    }

    /// After a history, under the world size of `sharding`.
    pub(crate) fn after(history: &[HistoryEntry], sharding: &Sharding) -> Result<Self, Error> {
        let (earlier, skipped) = match history.split_last() {
            Some((last, earlier)) if u64::from(last.world_size) == sharding.world_size => {
                (earlier, last.minibatches)
            }
            _ => (history, 0),
        };
        let found = earlier
            .iter()
            .map(|entry| u64::from(entry.world_size))
            .fold(0, u64::saturating_add);
        if found > MAX_HISTORY_RANKS {
            return Err(PlanError::StateTooLong { found }.into());
        }
        let mut left = Remaining::all();
        for entry in earlier {
            if entry.world_size == 0 {
                return Err(PlanError::ZeroSize { name: "world_size" }.into());
            }
            let sharding = Sharding {
                world_size: entry.world_size.into(),
                ..*sharding
            };
            check_end(&left, &sharding, entry.world_size, entry.minibatches)?;
            left = left.after(&sharding, entry.minibatches);
        }
        check_end(&left, sharding, sharding.world_size as u32, skipped)?;
        Ok(Self {
            earlier: earlier.to_vec(),
            left,
            skipped,
        })
    }

    /// Minibatches that each rank has consumed since the epoch began.
    pub(crate) fn n_before(&self) -> u64 {
        let earlier: u64 = self.earlier.iter().map(|entry| entry.minibatches).sum();
        earlier + self.skipped
    }

    /// The history once each rank has consumed `minibatches` more.
    pub(crate) fn history(&self, world_size: u32, minibatches: u64) -> Vec<HistoryEntry> {
        let mut history = self.earlier.clone();
        let minibatches = self.skipped + minibatches;
        if minibatches > 0 {
            history.push(HistoryEntry {
                world_size,
                minibatches,
            });
        }
        history
    }
}

fn check_end(left: &Remaining, sharding: &Sharding, world_size: u32, found: u64) -> Result<(), Error> {
    let available = left.n_minibatches(sharding);
    match found > available {
        true => Err(PlanError::StateBeyondEnd {
            world_size,
            found,
            available,
        }
        .into()),
        false => Ok(()),
    }
}
