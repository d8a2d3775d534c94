//! The plan of an epoch: which obs make up which minibatch, in which order, on which rank.
//!
//! A plan is a pure function of a number of obs, a [`SamplerConfig`], [`SamplerData`] and an epoch: no file, no thread,
//! no clock, no hidden state. The same arguments give the same minibatches on every machine and in every release: the
//! [specification](#specification) below is the contract.
//!
//! The config holds sizes, the seed, the rank, and the [`Strategy`] with its data: storage order, blocks in random order
//! (the default), draws by weights or balanced by class, sets of groups with controls, a list of obs, or an order that you
//! write yourself, a [`UserOrder`]. The data of the sampler holds what is the same for all strategies, such as a [`Subset`].
//!
//! ```
//! use cellring::plan::{Plan, SamplerConfig};
//!
//! let config = SamplerConfig::default().batch_size(4).fetch_factor(8).block_size(2);
//! let plan = Plan::new(1_000, &config, 0)?;
//! assert_eq!((plan.n_minibatches(), plan.n_fetches()), (250, 32));
//!
//! let mut seen = vec![false; 1_000];
//! for number in 0..plan.n_fetches() {
//!     let fetch = plan.fetch(number); // read `fetch.obs`, then hand out its minibatches
//!     for minibatch in &fetch.minibatches {
//!         for obs in &fetch.obs[minibatch.range.clone()] {
//!             seen[*obs as usize] = true;
//!         }
//!     }
//! }
//! assert!(seen.iter().all(|seen| *seen));
//!
//! // The next epoch is the same call with another number; so is any epoch, at any time.
//! let next = Plan::new(1_000, &config, 1)?;
//! assert_ne!(next.fetch(0), plan.fetch(0));
//!
//! // Resume at the 101st minibatch of the rank, without going through those before it.
//! let (number, index) = plan.locate(100).ok_or("no such minibatch")?;
//! assert_eq!(plan.fetch(number).minibatches[index].global, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Sampler`] plans many epochs, also of a [`Subset`], and prepares the data of its strategy once:
//!
//! ```
//! use cellring::plan::{Balanced, Sampler, SamplerConfig, SamplerData, Subset};
//!
//! let classes = Balanced::new((0..1_000).map(|obs| obs / 900).collect::<Vec<_>>());
//! let config = SamplerConfig::default().strategy(classes).batch_size(10);
//! let data = SamplerData::default().subset(Subset::all(1_000)?.split(&[0.8, 0.2], 7)?.swap_remove(0));
//! let sampler = Sampler::new(1_000, config, data)?;
//! let plan = sampler.plan(3)?;
//! assert_eq!(plan.n_minibatches(), 80);
//!
//! // After 30 minibatches, say, the job is killed. What it saved is a line of JSON.
//! let saved = serde_json::to_string(&plan.state_after(30))?;
//! let rest = sampler.resume(&serde_json::from_str(&saved)?)?;
//! assert_eq!((rest.epoch(), rest.n_before(), rest.n_minibatches()), (3, 30, 50));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The files of this module
//! | what | where |
//! |---|---|
//! | what a plan is asked for; how large it may be; what can go wrong | `config.rs`, `limits.rs`, `error.rs` |
//! | the strategies: the list of them, and a file each | `strategy/mod.rs`, `strategy/*.rs` |
//! | what the rest of the plan knows of a strategy | `strategy/method.rs` |
//! | config and data, checked and prepared; the fingerprint | `sampler.rs`, `settings.rs` |
//! | the order of an epoch, before ranks share it | `order.rs` |
//! | parts that orders are made of: turned blocks, permutations, weighted draws, classes | `shuffled_blocks.rs`, `permutation.rs`, `draws.rs`, `weights.rs`, `classes.rs` |
//! | how ranks share an epoch | `partition/*.rs` |
//! | the plan of an epoch for one rank: fetches and minibatches | `epoch.rs` |
//! | saved states, and how an epoch goes on from one | `state.rs` |
//! | sets of obs, and lists of them, in little memory | `subset/mod.rs`, `split.rs`, `universe.rs`, `sorted.rs`, `list.rs`, `bits.rs` |
//! | randomness | `stream.rs`, `hash.rs` |
//! | how well minibatches are mixed | `entropy.rs` |
//!
//! `CONTRIBUTING.md` in the repository lists what a new strategy takes. For an order of one project alone, implement [`UserOrder`] instead.
//!
#![doc = include_str!("SPEC.md")]

mod bits;
mod classes;
mod config;
mod draws;
mod entropy;
mod epoch;
mod error;
mod hash;
mod limits;
mod list;
mod order;
mod partition;
mod permutation;
mod sampler;
mod settings;
mod shuffled_blocks;
mod sorted;
mod split;
mod state;
mod strategy;
mod stream;
mod subset;
#[cfg(test)]
mod testing;
mod universe;
mod weights;

pub use classes::{MISSING, combine_codes};
pub use config::{SamplerConfig, SamplerData};
pub use entropy::{MinibatchEntropy, entropy_bits, mean_entropy};
pub use epoch::{Plan, PlannedFetch, PlannedMinibatch};
#[doc(hidden)]
pub use error::PlanError;
pub use limits::{MAX_FETCH_OBS, MAX_OBS};
pub use sampler::Sampler;
pub(crate) use settings::{differences, fingerprint_text};
pub use state::{HistoryEntry, SamplerState};
pub use strategy::*;
pub use subset::Subset;
