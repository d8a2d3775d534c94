//! `custom`: an order given as a list of obs.

use std::ops::Range;
use std::sync::Arc;

use super::method::{Arrangement, Method, Prepared};
use crate::Error;
use crate::plan::error::PlanError;
use crate::plan::hash::Fingerprint;
use crate::plan::limits::MAX_OBS;
use crate::plan::list::{ObsList, Runs};
use crate::plan::order::{Drawn, EpochOrder, Order, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;

/// What messages call the list.
const WHAT: &str = "the custom order";

/// A list of obs, which may repeat, in order: for [`Strategy::Custom`](super::Strategy::Custom), or an epoch of a
/// [`UserOrder`](super::UserOrder).
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
    pub fn from_ids(ids: impl IntoIterator<Item = u64>) -> Result<Self, Error> {
        Self::from_ranges(ids.into_iter().map(|obs| obs..obs.saturating_add(1)))
    }

    /// The obs in these ranges, in this order.
    ///
    /// # Errors
    /// If there are too many to be planned or a range reaches beyond any data set.
    pub fn from_ranges(ranges: impl IntoIterator<Item = Range<u64>>) -> Result<Self, Error> {
        let mut runs = Runs::default();
        for range in ranges {
            if range.end > MAX_OBS {
                let (what, obs) = (WHAT, range.end - 1);
                let n_obs = MAX_OBS;
                return Err(PlanError::ObsOutOfRange { what, obs, n_obs }.into());
            }
            runs.push(range);
            if runs.len() > MAX_OBS {
                return Err(PlanError::TooManyDraws { n_draws: runs.len() }.into());
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

    /// The list from its first obs on, in every epoch.
    pub(super) fn in_list_order(&self, config: &OrderConfig, epoch: u64) -> EpochOrder {
        Order::listed(self.list.clone(), self.shuffle, config, epoch)
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

impl Method for Custom {
    fn takes_subset(&self) -> bool {
        false
    }

    fn arrangement(&self) -> Arrangement {
        Arrangement::Given("as listed")
    }

    fn check(&self, n_obs: u64) -> Result<(), Error> {
        match self.list.last_obs().filter(|obs| *obs >= n_obs) {
            Some(obs) => {
                let what = WHAT;
                Err(PlanError::ObsOutOfRange { what, obs, n_obs }.into())
            }
            None => Ok(()),
        }
    }

    fn add_to(&self, print: &mut Fingerprint) {
        print.add(7);
        print.add(self.shuffle.into());
        print.add_all(self.len(), self.list.iter());
    }

    fn describe(&self, settings: &mut SettingsBuilder) {
        settings.add_words("order", self.list.iter());
        settings.add("shuffle", self.shuffle);
    }

    fn prepare(&self, _: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

impl Prepared for Custom {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_fetch(self.len())
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        Ok(Order::ascending(
            Drawn::Listed(self.list.clone()),
            self.shuffle,
            config,
            epoch,
        ))
    }
}
