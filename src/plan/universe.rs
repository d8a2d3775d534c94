//! What is drawn from: all obs, or a subset of them.

use crate::Error;
use std::ops::Range;

use super::subset::Subset;

/// All obs of a data set, or a subset of them, in storage order.
#[derive(Clone, Debug)]
pub(crate) enum Universe {
    All(u64),
    Subset(Subset),
}

impl Universe {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::All(n_obs) => *n_obs,
            Self::Subset(subset) => subset.len(),
        }
    }

    /// Appends members number `places`.
    pub(crate) fn extend(&self, places: Range<u64>, obs: &mut Vec<u64>) {
        match self {
            Self::All(_) => obs.extend(places),
            Self::Subset(subset) => subset.extend(places, obs),
        }
    }

    /// Calls `visit` with each member in storage order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u64)) {
        match self {
            Self::All(n_obs) => (0..*n_obs).for_each(visit),
            Self::Subset(subset) => subset.runs().for_each(|run| run.for_each(&mut visit)),
        }
    }

    /// The members that `is_member` tells: itself where that is all of them.
    pub(crate) fn filter(self, n_obs: u64, mut is_member: impl FnMut(u64) -> bool) -> Result<Self, Error> {
        let subset = match &self {
            Self::All(_) => Subset::from_fn(n_obs, is_member)?,
            Self::Subset(subset) => subset.filter(&mut is_member),
        };
        Ok(if subset.len() == self.len() {
            self
        } else {
            Self::Subset(subset)
        })
    }
}
