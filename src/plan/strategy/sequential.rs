//! `sequential` and `sequential-shuffle`: storage order.

use std::sync::Arc;

use super::method::{Arrangement, Method, Prepared};
use crate::Error;
use crate::plan::hash::Fingerprint;
use crate::plan::order::{Drawn, EpochOrder, Order, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;

/// Storage order, with or without shuffling each fetch.
#[derive(Debug)]
pub(super) struct Sequential {
    pub(super) shuffle: bool,
}

impl Method for Sequential {
    fn arrangement(&self) -> Arrangement {
        Arrangement::Neighbours("storage order")
    }

    fn check(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn add_to(&self, _: &mut Fingerprint) {}

    fn describe(&self, _: &mut SettingsBuilder) {}

    fn prepare(&self, members: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        let shuffle = self.shuffle;
        Ok(Arc::new(Members { members, shuffle }))
    }
}

#[derive(Debug)]
struct Members {
    members: Universe,
    shuffle: bool,
}

impl Prepared for Members {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_fetch(self.members.len())
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        Ok(Order::ascending(
            Drawn::Members(self.members.clone()),
            self.shuffle,
            config,
            epoch,
        ))
    }
}
