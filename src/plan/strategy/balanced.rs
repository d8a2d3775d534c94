//! `balanced`: draws with replacement such that each class comes equally often, in blocks.

use std::sync::Arc;

use super::method::{Arrangement, Method, Prepared, check_draws, check_len};
use super::weighted::WithReplacement;
use crate::Error;
use crate::plan::hash::Fingerprint;
use crate::plan::order::OrderConfig;
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;
use crate::plan::weights::Weights;
use cellring_core::setters;

/// Classes to balance: for [`Strategy::Balanced`](super::Strategy::Balanced).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Balanced {
    /// The class of each obs of the data set; obs that are [`MISSING`](crate::plan::MISSING) are never drawn. See
    /// [`combine_codes`](crate::plan::combine_codes) for classes by several columns.
    pub codes: Arc<[u32]>,
    /// Draws per epoch. Defaults to the number of obs that have a class (in the subset).
    pub n_draws: Option<u64>,
    /// Balance the classes of the whole data set rather than those of the subset: obs are weighted by one over the size
    /// of their class in the data set.
    pub global: bool,
}

impl Balanced {
    /// Balances these classes within the subset; an epoch has as many draws as there are obs with a class.
    pub fn new(codes: impl Into<Arc<[u32]>>) -> Self {
        Self {
            codes: codes.into(),
            n_draws: None,
            global: false,
        }
    }

    setters! {
        codes: into Arc<[u32]>,
        n_draws: into Option<u64>,
        global: as bool,
    }
}

impl Method for Balanced {
    fn arrangement(&self) -> Arrangement {
        Arrangement::DrawnBlocks
    }

    fn check(&self, n_obs: u64) -> Result<(), Error> {
        check_len("the list of classes", self.codes.len() as u64, n_obs)
    }

    fn add_to(&self, print: &mut Fingerprint) {
        print.add(4);
        print.add_codes(&self.codes);
        print.add_option(self.n_draws);
        print.add(self.global.into());
    }

    fn describe(&self, settings: &mut SettingsBuilder) {
        settings.add_codes("classes", &self.codes);
        settings.add_option("n_draws", self.n_draws);
        settings.add("global", self.global);
    }

    fn prepare(&self, members: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        let (members, weights) = Weights::per_class(members, &self.codes, self.global)?;
        let n_draws = check_draws(self.n_draws.unwrap_or(members.len()))?;
        Ok(Arc::new(WithReplacement::new(members, weights, n_draws)))
    }
}
