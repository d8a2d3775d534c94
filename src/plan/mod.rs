//! The plan of an epoch: which obs make up which minibatch, in which order, on which rank.
//!
//! A plan is a pure function of a number of obs, a [`SamplerConfig`] and an epoch: no file, no thread, no clock, no
//! hidden state. The same arguments give the same minibatches on every machine and in every release; what follows is
//! the contract.
//!
//! ```
//! use cellring::plan::{Plan, SamplerConfig};
//!
//! let config = SamplerConfig { batch_size: 4, fetch_factor: 8, block_size: 2, ..SamplerConfig::default() };
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
//! # The global sequence
//! An epoch is one sequence of all `n_obs` obs. Positions `k * batch_size ..` of it are minibatch `k`; positions
//! `f * F ..`, with `F = batch_size * fetch_factor`, are fetch `f`. There are `ceil(n_obs / batch_size)` minibatches,
//! of which the last may be short, or with `drop_last` `floor(n_obs / batch_size)`, all full. The sequence depends
//! neither on `rank` nor on `world_size`.
//!
//! ## `block-shuffle`
//! The sequence depends on `n_obs`, `seed`, `epoch`, `block_size` and `F`.
//!
//! 1. Obs `b * block_size ..` are block `b`; the last block may be short.
//! 2. A permutation keyed by (`seed`, `epoch`) orders the blocks; each is written out in storage order.
//! 3. That sequence is turned by a random number of obs: position `p` takes what stands at `(p + turn) mod n_obs`.
//! 4. Each fetch is shuffled whole. A block that a fetch boundary cuts belongs to both fetches with the parts before
//!    and behind the cut; where the turn cuts a block, its parts are in the last and the first fetch.
//!
//! So obs of one block come together in one fetch and are spread over its minibatches, and every obs is equally
//! likely at every position, whatever the shape: with `drop_last`, chance decides anew in each epoch what is dropped.
//! With `block_size` 1 every order of the obs is possible: true random sampling without replacement.
//!
//! ## `sequential`
//! Storage order: without `drop_last` position `p` is obs `p`, in every epoch. With `drop_last` it is obs
//! `(start + p) mod n_obs`, where `start = floor(n_obs * ((epoch * 0x9e3779b97f4a7c15) mod 2^64) / 2^64)`: 0 in epoch
//! 0, then on by 0.618 of the data set from epoch to epoch. What is dropped lies at the end of the sequence, so no obs
//! that is dropped in one epoch is dropped in the next (as long as at most 38 % of them are), and whatever is kept, all
//! obs are seen within about `2 * n_obs / kept` epochs.
//!
//! # Ranks
//! Every rank gets the same number of minibatches, and the same in every epoch.
//!
//! - Fetches are dealt in rounds: rank `r` takes fetch `round * world_size + r` whole, for as long as the
//!   minibatches of `world_size` whole fetches are there.
//! - The `left` minibatches behind the last complete round are divided contiguously. A share is
//!   `ceil(left / world_size)` minibatches, or with `drop_last` `floor(left / world_size)`; rank `r` takes those from
//!   `r * share` on. With `drop_last` the rest, fewer than `world_size` minibatches, is dropped.
//! - Without `drop_last`, shares that reach beyond the end are padded: padding minibatch `j` of `p` repeats minibatch
//!   `(epoch * p + j) mod M` of the `M` in the global sequence, so that over `M` epochs each is repeated equally
//!   often. It is marked as [`padding`](PlannedMinibatch::padding).
//!
//! Leaving padding aside, each minibatch of the global sequence belongs to exactly one rank (or, with `drop_last`, to
//! none), and holds the same obs in the same order whatever the world size. With fewer minibatches than ranks, some
//! ranks hold padding alone; with `drop_last`, nobody gets any.
//!
//! A rank's fetch holds the minibatches of one fetch of the global sequence that are this rank's. At the tail that may
//! be only some of them; padding has fetches of its own.
//!
//! # Randomness
//! A stream is the key stream of ChaCha8 (64-bit counter from 0, zero nonce) read as little-endian 32-bit words. Its
//! key is four little-endian 64-bit fields: `seed`, `epoch`, eight ASCII bytes of purpose, and an index.
//!
//! - `below(n)`: take a word `w`; if `(w * n) mod 2^32 < 2^32 mod n`, take another; the result is
//!   `floor(w * n / 2^32)`.
//!   Where 64 bits are asked for, two words make one, the low one first, and 64 takes the place of 32.
//! - To shuffle a list, for `i` from its last index down to 1, exchange entries `i` and `below(i + 1)`.
//! - Fetch `f` is shuffled by the stream with purpose `fetch..1` and index `f`.
//! - The turn is 64-bit `below(n_obs)` from the stream with purpose `turn...1` and index 0.
//! - The order of `n` blocks comes from the stream with purpose `blocks.1` and index 0. Up to 4,096 blocks it is the
//!   shuffled list of block numbers.
//! - Beyond, it is a Feistel network. Eight 64-bit keys are drawn from the stream. With
//!   `h = floor(floor(log2 n) / 2)` and `a = ceil(n / 2^h)`, a number `x` below `a * 2^h` is split into
//!   `left = floor(x / 2^h)` and `right = x mod 2^h`; for each pair of keys `k`, `l` in turn,
//!   `left = (left + floor(mix(right, k) * a / 2^64)) mod a`, then
//!   `right = (right + floor(mix(left, l) / 2^(64 - h))) mod 2^h`; the image is `left * 2^h + right`. Here
//!   `mix(v, k) = (z ^ floor(z / 2^32)) * 0x94d049bb133111eb` with `z = (v ^ k) * 0xbf58476d1ce4e5b9`, modulo 2^64.
//!   The block at place `x` is the first number below `n` among the image of `x`, the image of that, and so on.

mod bits;
mod circle;
mod classes;
mod config;
mod draws;
mod entropy;
mod epoch;
mod error;
mod groups;
mod hash;
mod list;
mod order;
mod partition;
mod permutation;
mod sampler;
mod split;
mod state;
mod stream;
mod subset;
#[cfg(test)]
mod testing;
mod universe;
mod weights;

pub use classes::{MISSING, combine_codes};
pub use config::{MAX_FETCH_OBS, MAX_OBS, SamplerConfig, Strategy};
pub use entropy::{MinibatchEntropy, entropy_bits, mean_entropy};
pub use epoch::{Fetch, Plan, PlannedMinibatch};
pub use error::PlanError;
pub use groups::{Controls, Grouped};
pub use sampler::{Balanced, Custom, Sampler, SamplerData, Weighted};
pub use state::{Leg, SamplerState};
pub use subset::Subset;
