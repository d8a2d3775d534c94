//! `user`: orders that users write themselves.

use std::fmt::Debug;
use std::sync::Arc;

use super::custom::Custom;
use super::method::{Arrangement, Method, Prepared};
use crate::Error;
use crate::plan::error::PlanError;
use crate::plan::hash::Fingerprint;
use crate::plan::order::{EpochOrder, OrderConfig};
use crate::plan::settings::SettingsBuilder;
use crate::plan::universe::Universe;

/// An order of obs that you write yourself: for [`Strategy::user`](super::Strategy::user).
///
/// It gives the obs of each epoch as a [`Custom`] list, which may leave obs out, repeat them, and be of another length in
/// each epoch. All else is as with the strategies of this crate: every rank gets the same number of minibatches, an epoch
/// resumes at the very next one, and obs that lie together in the store and come in one fetch are read together. So
/// list stretches of consecutive obs, and let fetches be shuffled, rather than scatter single obs.
///
/// `block_size` is not used. With `drop_last`, obs at the end of the list that do not fill a minibatch for every rank are
/// dropped. There is no subset: the order names its obs itself.
///
/// ```
/// use std::error::Error;
/// use std::ops::Range;
///
/// use cellring::plan::{Custom, Sampler, SamplerConfig, SamplerData, Strategy, UserOrder};
///
/// /// A curriculum: the first epoch takes the easiest cells, each later one harder ones too, until all are taken.
/// #[derive(Debug)]
/// struct Curriculum {
///     /// Stretches of the store, from the easiest to the hardest.
///     stretches: Vec<Range<u64>>,
///     /// In how many epochs all are reached.
///     n_epochs: u64,
/// }
///
/// impl UserOrder for Curriculum {
///     fn name(&self) -> &str {
///         "curriculum"
///     }
///
///     fn fingerprint(&self) -> u64 {
///         let words = self.stretches.iter().flat_map(|stretch| [stretch.start, stretch.end]);
///         words.fold(self.n_epochs, |print, word| (print ^ word).wrapping_mul(0x0100_0000_01b3))
///     }
///
///     fn order(&self, _seed: u64, epoch: u64) -> Result<Custom, Box<dyn Error + Send + Sync>> {
///         let n_epochs = self.n_epochs as usize;
///         let part = n_epochs.min(epoch as usize + 1);
///         let taken = &self.stretches[..self.stretches.len() * part / n_epochs];
///         Ok(Custom::from_ranges(taken.iter().cloned())?.shuffled())
///     }
/// }
///
/// // 1,000 cells in stretches of 50, of which the last are the easiest.
/// let stretches = (0..20).rev().map(|stretch| 50 * stretch..50 * stretch + 50).collect();
/// let config = SamplerConfig::default()
///     .strategy(Strategy::user(Curriculum { stretches, n_epochs: 4 }))
///     .batch_size(10)
///     .fetch_factor(5);
/// let sampler = Sampler::new(1_000, config, SamplerData::default())?;
/// assert_eq!(sampler.plan(0)?.n_minibatches(), 25);
/// assert_eq!(sampler.plan(7)?.n_minibatches(), 100);
/// assert!(sampler.plan(0)?.fetch(0).obs.iter().all(|obs| (950..1_000).contains(obs)));
/// # Ok::<(), Box<dyn Error + Send + Sync>>(())
/// ```
pub trait UserOrder: Debug + Send + Sync {
    /// What messages and saved states call it.
    fn name(&self) -> &str;

    /// A number that changes whenever any of the orders changes: a hash of the data that they are made of, the same on every
    /// machine. A saved state with another fingerprint or name is refused.
    fn fingerprint(&self) -> u64;

    /// The order of an epoch. `seed` is that of the [`SamplerConfig`](crate::plan::SamplerConfig).
    ///
    /// It must be the same list each time it is called with the same arguments, on every rank and machine: ranks ask for it
    /// separately, and so does a job that resumes.
    ///
    /// # Errors
    /// Any reason why the list cannot be made. The epoch is then refused, with the reason in the message.
    fn order(&self, seed: u64, epoch: u64) -> Result<Custom, Box<dyn std::error::Error + Send + Sync>>;
}

impl Method for Arc<dyn UserOrder> {
    fn takes_subset(&self) -> bool {
        false
    }

    fn arrangement(&self) -> Arrangement {
        Arrangement::Given("as its code lists them")
    }

    /// Each order is checked once it is there.
    fn check(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn add_to(&self, print: &mut Fingerprint) {
        print.add(8);
        print.add_text(self.name());
        print.add(self.fingerprint());
    }

    fn describe(&self, settings: &mut SettingsBuilder) {
        settings.add("user order", self.name());
        settings.add_number("order", self.fingerprint());
    }

    fn prepare(&self, members: Universe, _: &OrderConfig) -> Result<Arc<dyn Prepared>, Error> {
        let (order, n_obs) = (self.clone(), members.len());
        Ok(Arc::new(Orders { order, n_obs }))
    }
}

/// The orders of all epochs of a data set.
#[derive(Debug)]
struct Orders {
    order: Arc<dyn UserOrder>,
    n_obs: u64,
}

impl Prepared for Orders {
    /// Epochs may be of any length.
    fn check_fetch(&self, _: &OrderConfig) -> Result<(), Error> {
        Ok(())
    }

    fn order(&self, config: &OrderConfig, epoch: u64) -> Result<EpochOrder, Error> {
        let failed = |reason: String| PlanError::UserOrder {
            name: self.order.name().to_owned(),
            epoch,
            reason,
        };
        let list = self.order.order(config.seed, epoch);
        let list = list.map_err(|error| failed(error.to_string()))?;
        list.check(self.n_obs)
            .map_err(|error| failed(error.to_string()))?;
        list.check_fetch(config)?;
        Ok(list.in_list_order(config, epoch))
    }
}
