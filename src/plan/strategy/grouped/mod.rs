//! `grouped`: minibatches of whole sets, each of obs of one group, alone or followed by matched controls.

mod data;
mod groups;
mod sets;

use std::sync::Arc;

pub use data::{Controls, Grouped};

use super::method::{Arrangement, Method, Prepared, check_len};
use crate::Error;
use crate::plan::error::PlanError;
use crate::plan::hash::Fingerprint;
use crate::plan::order::{EpochOrder, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;
use groups::Groups;
use sets::Sets;

impl Method for Grouped {
    fn arrangement(&self) -> Arrangement {
        Arrangement::Given("whole sets in random order")
    }

    fn check(&self, n_obs: u64) -> Result<(), Error> {
        check_len("the list of groups", self.codes.len() as u64, n_obs)?;
        if let Some(codes) = self.match_codes() {
            check_len("the list of match codes", codes.len() as u64, n_obs)?;
        }
        let n_per_set = self.controls.as_ref().map(|controls| controls.n_per_set);
        let sizes = [
            ("n_per_group", self.n_per_group),
            ("sets_per_minibatch", self.sets_per_minibatch),
            ("n_per_set", n_per_set),
        ];
        match sizes.into_iter().find(|(_, size)| *size == Some(0)) {
            Some((name, _)) => Err(PlanError::ZeroSize { name }.into()),
            None => Ok(()),
        }
    }

    fn add_to(&self, print: &mut Fingerprint) {
        print.add(5);
        print.add_codes(&self.codes);
        print.add_option(self.n_per_group);
        print.add_option(self.sets_per_minibatch);
        if let Some(controls) = &self.controls {
            print.add(6);
            print.add_codes(&controls.groups);
            print.add(controls.n_per_set.into());
            print.add_codes(self.match_codes().unwrap_or_default());
        }
    }

    fn describe(&self, settings: &mut SettingsBuilder) {
        settings.add_codes("groups", &self.codes);
        settings.add_option("n_per_group", self.n_per_group);
        settings.add_option("sets_per_minibatch", self.sets_per_minibatch);
        if let Some(controls) = &self.controls {
            settings.add_codes("controls", &controls.groups);
            settings.add("n_controls", controls.n_per_set);
        }
        if let Some(codes) = self.match_codes() {
            settings.add_codes("match codes", codes);
        }
    }

    fn prepare(&self, members: Universe, config: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        let groups = Groups::new(&members, self, config.batch_size, config.drop_last)?;
        Ok(Arc::new(Sampled(Arc::new(groups))))
    }
}

/// The groups, shared by all epochs.
#[derive(Debug)]
struct Sampled(Arc<Groups>);

impl Prepared for Sampled {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_minibatches(self.0.n_minibatches(), self.0.max_minibatch_obs())
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        let sets = Sets::new(self.0.clone(), config.block_size, config.seed, epoch);
        Ok(EpochOrder::Minibatches(Arc::new(sets)))
    }
}
