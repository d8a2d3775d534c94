//! The plan of an epoch: which obs make up which minibatch, in which order, on which rank.
//!
//! A plan is a pure function of a number of obs, a [`SamplerConfig`], [`SamplerData`] and an epoch: no file, no thread,
//! no clock, no hidden state. The same arguments give the same minibatches on every machine and in every release; what
//! follows is the contract.
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
//! Strategies that need more than a number of obs, and subsets, go through a [`Sampler`], which checks the data once:
//!
//! ```
//! use cellring::plan::{Balanced, Sampler, SamplerConfig, SamplerData, Strategy, Subset};
//!
//! let config = SamplerConfig { strategy: Strategy::Balanced, batch_size: 10, ..SamplerConfig::default() };
//! let data = SamplerData {
//!     subset: Some(Subset::all(1_000)?.split(&[0.8, 0.2], 7)?.swap_remove(0)), // the training part
//!     balanced: Some(Balanced { codes: (0..1_000).map(|obs| obs / 900).collect(), n_draws: None, global: false }),
//!     ..SamplerData::default()
//! };
//! let sampler = Sampler::new(1_000, config, data)?;
//! let plan = sampler.plan(3);
//! assert_eq!(plan.n_minibatches(), 80);
//!
//! // After 30 minibatches, say, the job is killed. What it saved is a line of JSON.
//! let saved = serde_json::to_string(&plan.state_after(30))?;
//! let rest = sampler.resume(&serde_json::from_str(&saved)?)?;
//! assert_eq!((rest.epoch(), rest.n_before(), rest.n_minibatches()), (3, 30, 50));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The global sequence
//! An epoch is one sequence of `n` obs, or for some strategies of draws that may repeat an obs. Positions
//! `k * batch_size ..` of it are minibatch `k`; positions `f * F ..`, with `F = batch_size * fetch_factor`, are fetch
//! `f`. There are `ceil(n / batch_size)` minibatches, of which the last may be short, or with `drop_last`
//! `floor(n / batch_size)`, all full. The sequence depends neither on `rank` nor on `world_size`.
//!
//! The obs sampled from are the *members*: all obs, or those of a [`Subset`], numbered in storage order. What follows
//! says "member `i`"; without a subset that is obs `i`.
//!
//! ## `block-shuffle`
//! The sequence holds each of the `n` members once. It depends on them, `seed`, `epoch`, `block_size` and `F`.
//!
//! 1. Members `b * block_size ..` are block `b`; the last block may be short.
//! 2. A permutation keyed by (`seed`, `epoch`) orders the blocks; each is written out in storage order.
//! 3. That sequence is turned by a random number of members: position `p` takes what stands at `(p + turn) mod n`.
//! 4. Each fetch is shuffled whole. A block that a fetch boundary cuts belongs to both fetches with the parts before
//!    and behind the cut; where the turn cuts a block, its parts are in the last and the first fetch.
//!
//! So obs of one block come together in one fetch and are spread over its minibatches, and every obs is equally
//! likely at every position, whatever the shape: with `drop_last`, chance decides anew in each epoch what is dropped.
//! With `block_size` 1 every order of the obs is possible: true random sampling without replacement.
//!
//! ## `sequential` and `sequential-shuffle`
//! Storage order: without `drop_last` position `p` is member `p`, in every epoch. With `drop_last` it is member
//! `(start + p) mod n`, where `start = floor(n * ((epoch * 0x9e3779b97f4a7c15) mod 2^64) / 2^64)`: 0 in epoch 0, then on
//! by 0.618 of the data set from epoch to epoch. What is dropped lies at the end of the sequence, so no obs that is
//! dropped in one epoch is dropped in the next (as long as at most 38 % of them are), and whatever is kept, all obs are
//! seen within about `2 * n / kept` epochs. `sequential-shuffle` then shuffles each fetch whole.
//!
//! ## `weighted`
//! Members are the obs of positive weight. Without replacement, the epoch is the `block-shuffle` of `n_draws` of them,
//! drawn one after another with probability proportional to the weights of those not yet drawn: those with the smallest
//! `-ln(u) / weight` (Efraimidis and Spirakis, 2006). Draws lie as far apart in the store as they are few.
//!
//! - `u = (floor(h(obs) / 2^12) + 1/2) / 2^52` with the hash of the stream with purpose `keys...1`. The logarithm is
//!   taken in double precision: `u = m * 2^e` with `m` in `(sqrt(1/2), sqrt(2)]`, `f = (m - 1) / (m + 1)`,
//!   `ln u = e * ln 2 + 2 f * (1 + f^2/3 + .. + f^20/21)`, the series by Horner's scheme. Of equal keys the lower obs.
//!
//! With replacement, `n_draws` draws are made in blocks, so that reading stays in blocks of the store, and the
//! `block-shuffle` of *draws* is the epoch: draw numbers take the place of members above.
//!
//! - Weights become whole numbers: `q = max(1, floor(weight * 2^(61 - e)))`, where `e = floor(log2 sum)` of the sum of
//!   the members' weights, added in storage order in double precision. `W` is the sum of all `q`. The members, each `q`
//!   long, lie end to end on an axis from 0 to `W`.
//! - Draws `k * block_size ..` are block `k`. If it holds `l` draws from number `d` on, it stands for the part of the
//!   axis from `x = floor(W * d / n_draws)` to `y = floor(W * (d + l) / n_draws)`, and takes the point
//!   `x + floor(h1(k) * (y - x) / 2^64)`. The block of members (`block_size` of them, as above) that covers the point is
//!   the one drawn.
//! - That block covers `from .. to` of the axis. With `c(j) = floor((to - from) * j / l)`, draw `d + j` is the member at
//!   point `from + c(j) + floor(h2(d + j) * (c(j + 1) - c(j)) / 2^64)`.
//! - `h1` and `h2` are the hashes with the first and the second pair of keys of the stream with purpose `draws..1`.
//!
//! So an epoch holds obs `i` exactly `n_draws * q_i / W` times on average, whatever the shape, and with less variance
//! than independent draws: a block that is to be drawn `x` times is drawn at least `floor(x) - 1` and at most
//! `ceil(x) + 1` times. Draws of one block share a block of the store as those of `block-shuffle` do; with `block_size` 1
//! they are independent but for being spread evenly.
//!
//! ## `balanced`
//! As `weighted` with replacement. Members are the obs that have a class. With `C` classes, `q` of an obs is
//! `max(1, floor(floor(2^62 / C) / m))`, where `m` is the size of its class: classes and sizes are counted among the
//! members, or with `global` in the whole data set.
//!
//! ## `grouped`
//! The epoch is made of sets. Obs without a group (or match code) are left out. Groups ascend by match code, then by
//! group code (two obs of one group code with different match codes are in different groups), their obs are in storage
//! order; group `g` has `s` members.
//!
//! - Without `n_per_group` a set is a whole group, in storage order.
//! - With it, a group gives `ceil(s / n_per_group)` sets. Its members, in blocks of `block_size`, are put in order and
//!   turned as in `block-shuffle` (streams with purposes `gblock.1` and `gturn..1` and index `g`). Set `j` takes
//!   positions `j * n_per_group ..`, going round: a short last set is filled up with others of its group, other ones in
//!   each epoch, and in a group smaller than `n_per_group` members repeat. With `drop_last` there are
//!   `max(1, floor(s / n_per_group))` sets: other obs are left out in each epoch, and no group vanishes.
//! - Sets are numbered group by group. The permutation of their numbers from the stream with purpose `sets...1`, made as
//!   that of blocks, is the sequence of sets. Minibatch `k` is sets `k * m ..` of it, one behind the other, `m` being
//!   `sets_per_minibatch`, or `floor(batch_size / L)` for the largest set of `L` obs, controls included. There are
//!   `ceil(sets / m)` minibatches, with `drop_last` `floor(sets / m)`. Nothing is shuffled within a fetch.
//! - With controls, each set is followed by `n_per_set` controls of the same match code. Match codes are numbered in
//!   ascending order among those that have controls, and so are their controls in storage order. Those of match code
//!   `c` are put in order and turned as the members of a group are (`cblock.1`, `cturn..1`, index `c`). If the set is the
//!   `i`-th (from 0, in the order of set numbers) of its match code, it takes positions `i * n_per_set ..`, going round:
//!   no control comes twice before all have come.
//!
//! ## `custom`
//! As `sequential` or, if so asked, `sequential-shuffle`, with the list given in place of the members.
//!
//! # Splits
//! [`Subset::split`] orders the members by the permutation from the stream with `seed`, epoch 0, purpose `split..1` and
//! index 0, made as that of blocks: member `i` takes the place that the permutation has at `i`.
//! [`Subset::split_by_group`] orders groups, which ascend by code, with index 1: the group at place `p` is the entry at `p`.
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
//! # Resume
//! Ranks consume in step. A state is a history of legs (world size, minibatches consumed by each rank), one for each
//! change of the world size. Under the world size of the last leg, the partition stays as it is and each rank goes on
//! behind what it has consumed. Under another, what no rank has consumed, padding aside, is divided anew:
//!
//! - If the last leg ended within a round, the rests of that round's fetches are *stretches*, and whole fetches follow.
//!   The stretches, in global order, are divided contiguously, `floor(stretches / world_size)` minibatches each; the
//!   rest of them goes to the tail.
//! - Then come rounds of whole fetches as above, and then the tail, which is divided and padded as above.
//!
//! What is left of stretches or of a tail, when the world size changes while they are consumed, are stretches again.
//! Fetches and minibatches keep their numbers and contents. So over all legs each minibatch of the global sequence
//! comes exactly once, padding aside, or with `drop_last` at most once, with as many for each rank. An epoch that was
//! consumed to its end has nothing left under any world size.
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
//! - The turn is 64-bit `below(n)` from the stream with purpose `turn...1` and index 0.
//! - The order of `n` blocks comes from the stream with purpose `blocks.1` and index 0. Up to 4,096 blocks it is the
//!   shuffled list of block numbers.
//! - Beyond, it is a Feistel network. Eight 64-bit keys are drawn from the stream. With
//!   `h = floor(floor(log2 n) / 2)` and `a = ceil(n / 2^h)`, a number `x` below `a * 2^h` is split into
//!   `left = floor(x / 2^h)` and `right = x mod 2^h`; for each pair of keys `k`, `l` in turn,
//!   `left = (left + floor(mix(right, k) * a / 2^64)) mod a`, then
//!   `right = (right + floor(mix(left, l) / 2^(64 - h))) mod 2^h`; the image is `left * 2^h + right`. Here
//!   `mix(v, k) = (z ^ floor(z / 2^32)) * 0x94d049bb133111eb` with `z = (v ^ k) * 0xbf58476d1ce4e5b9`, modulo 2^64.
//!   The block at place `x` is the first number below `n` among the image of `x`, the image of that, and so on.
//! - A hash `h` has two 64-bit keys from a stream: `h(x) = s(s(x * 0x9e3779b97f4a7c15 + k) ^ l)`, where `s` is the output
//!   function of SplitMix64: `z = (z ^ floor(z / 2^30)) * 0xbf58476d1ce4e5b9`,
//!   `z = (z ^ floor(z / 2^27)) * 0x94d049bb133111eb`, `z ^ floor(z / 2^31)`, modulo 2^64.

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
mod settings;
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
pub(crate) use settings::{differences, print};
pub use state::{Leg, SamplerState};
pub use subset::Subset;
