//! `block-shuffle`: blocks of consecutive obs in random order.

use std::sync::Arc;

use super::method::{Arrangement, Method, Prepared};
use crate::Error;
use crate::plan::hash::Fingerprint;
use crate::plan::order::{Drawn, EpochOrder, Order, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;

/// Every member once in an epoch, in blocks.
#[derive(Debug)]
pub(super) struct BlockShuffle;

impl Method for BlockShuffle {
    fn arrangement(&self) -> Arrangement {
        Arrangement::Blocks
    }

    fn check(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn add_to(&self, _: &mut Fingerprint) {}

    fn describe(&self, _: &mut SettingsBuilder) {}

    fn prepare(&self, members: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        Ok(Arc::new(Members(members)))
    }
}

#[derive(Debug)]
struct Members(Universe);

impl Prepared for Members {
    fn check_fetch(&self, config: &OrderConfig) -> Result<(), Error> {
        config.check_fetch(self.0.len())
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        Ok(Order::blocks(Drawn::Members(self.0.clone()), config, epoch))
    }
}
