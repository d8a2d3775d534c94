//! Which minibatches of the global sequence are this rank's, grouped in fetches.

mod minibatch_range;
mod ranges;
mod remaining;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::config::SamplerConfig;
use minibatch_range::{cut, locate_in, skip_in};
use ranges::{select, total};

pub(crate) use minibatch_range::MinibatchRange;
pub(crate) use remaining::{Remaining, Sharding};

/// One rank's part of what is left.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    fetch_factor: u64,
    /// Minibatches between the rank's fetches of two rounds.
    stride: u64,
    /// The rank's share of the stretches, or the rest of a fetch.
    head: Vec<MinibatchRange>,
    /// The rank's minibatch that starts the first round.
    rounds_start: u64,
    /// Complete rounds: in each, every rank takes one whole fetch.
    n_rounds: u64,
    /// The rank's share of the tail; at most six ranges where the epoch was not resumed.
    tail: Vec<MinibatchRange>,
    /// What no rank gets because the ranks would be uneven.
    dropped: Vec<Range<u64>>,
}

impl Partition {
    /// The part of the config's rank.
    pub(crate) fn new(left: &Remaining, sharding: &Sharding, config: &SamplerConfig, epoch: u64) -> Self {
        let Sharding {
            n_minibatches,
            fetch_factor,
            world_size,
            drop_last,
        } = *sharding;
        let rank = u64::from(config.rank);
        let division = left.divide(sharding);
        let mut partition = Self {
            fetch_factor,
            stride: world_size * fetch_factor,
            head: Vec::new(),
            // Without rounds it is not used, and may lie anywhere.
            rounds_start: left.start.saturating_add(rank * fetch_factor),
            n_rounds: division.n_rounds,
            tail: Vec::new(),
            dropped: Vec::new(),
        };
        debug_assert_eq!(
            division.tail_start,
            left.start + division.n_rounds * partition.stride
        );
        let head = rank * division.head_share..(rank + 1) * division.head_share;
        cut(
            select(&left.ragged, std::iter::once(head)),
            fetch_factor,
            false,
            &mut partition.head,
        );

        // Slots `0..share * world_size` of the tail: the first `tail_len` are its minibatches, the rest is padding.
        let (share, tail_len) = (division.tail_share, division.tail_len);
        let (slot, slot_end) = (rank * share, (rank + 1) * share);
        let (real, real_end) = (slot.min(tail_len), slot_end.min(tail_len));
        let mine = select(&division.tail, std::iter::once(real..real_end));
        cut(mine, fetch_factor, false, &mut partition.tail);
        if drop_last {
            partition.dropped = select(&division.tail, std::iter::once(share * world_size..tail_len));
        }

        let n_padding = (share * world_size).saturating_sub(tail_len);
        let rank_padding = (slot_end - slot) - (real_end - real);
        if rank_padding > 0 {
            // There is something left, hence at least one minibatch, and a share of it is at most all of it: the
            // padding of one rank goes round the sequence once at most.
            let turned =
                u128::from(epoch) * u128::from(n_padding) + u128::from(slot.max(tail_len) - tail_len);
            let first = (turned % u128::from(n_minibatches)) as u64;
            let before_wrap = rank_padding.min(n_minibatches - first);
            let padding = [first..first + before_wrap, 0..rank_padding - before_wrap];
            cut(padding, fetch_factor, true, &mut partition.tail);
        }
        partition
    }

    /// Without the first `n` minibatches, which the rank has consumed.
    pub(crate) fn skip(mut self, mut n: u64) -> Self {
        n -= skip_in(&mut self.head, n);
        let rounds = self.n_rounds.min(n / self.fetch_factor);
        n -= rounds * self.fetch_factor;
        self.n_rounds -= rounds;
        self.rounds_start += rounds * self.stride;
        if n > 0 && self.n_rounds > 0 {
            self.head.push(MinibatchRange {
                first: self.rounds_start + n,
                len: self.fetch_factor - n,
                padding: false,
            });
            self.n_rounds -= 1;
            self.rounds_start += self.stride;
        } else {
            skip_in(&mut self.tail, n);
        }
        self
    }

    pub(crate) fn n_minibatches(&self) -> u64 {
        let listed: u64 = self.head.iter().chain(&self.tail).map(|range| range.len).sum();
        self.n_rounds * self.fetch_factor + listed
    }

    pub(crate) fn n_fetches(&self) -> u64 {
        self.n_rounds + (self.head.len() + self.tail.len()) as u64
    }

    /// Minibatches that no rank gets because the ranks would be uneven.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = u64> {
        self.dropped.iter().cloned().flatten()
    }

    /// How many of them.
    pub(crate) fn n_dropped(&self) -> u64 {
        total(&self.dropped)
    }

    /// The minibatches of this rank's fetch number `fetch`; none after the last.
    pub(crate) fn range(&self, fetch: u64) -> Option<MinibatchRange> {
        let n_head = self.head.len() as u64;
        if fetch < n_head {
            return self.head.get(fetch as usize).copied();
        }
        let fetch = fetch - n_head;
        if fetch < self.n_rounds {
            return Some(MinibatchRange {
                first: self.rounds_start + fetch * self.stride,
                len: self.fetch_factor,
                padding: false,
            });
        }
        self.tail
            .get(usize::try_from(fetch - self.n_rounds).ok()?)
            .copied()
    }

    /// The fetch that holds this rank's minibatch number `minibatch`, and its number therein; none after the last.
    pub(crate) fn locate(&self, minibatch: u64) -> Option<(u64, usize)> {
        let mut rest = minibatch;
        if let Some(found) = locate_in(&self.head, 0, &mut rest) {
            return Some(found);
        }
        let n_head = self.head.len() as u64;
        let fetch = rest / self.fetch_factor;
        if fetch < self.n_rounds {
            return Some((n_head + fetch, (rest % self.fetch_factor) as usize));
        }
        rest -= self.n_rounds * self.fetch_factor;
        locate_in(&self.tail, n_head + self.n_rounds, &mut rest)
    }
}
