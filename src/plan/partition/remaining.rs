//! What no rank has consumed, and how ranks divide it.

use std::ops::Range;

use super::ranges::{push_range, select, total};

/// How ranks share a sequence of minibatches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharding {
    pub(crate) n_minibatches: u64,
    pub(crate) fetch_factor: u64,
    pub(crate) world_size: u64,
    pub(crate) drop_last: bool,
}

/// The minibatches of the global sequence that no rank has consumed: some stretches, ascending, then all from a fetch on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    pub(super) ragged: Vec<Range<u64>>,
    /// At the start of a fetch, or the end of the sequence; no stretch reaches beyond it.
    pub(super) start: u64,
}

/// How `world_size` ranks divide what is left: a share of the stretches each, then whole fetches in rounds, then a share
/// of the tail, which is what the first two leave.
pub(super) struct Division {
    pub(super) head_share: u64,
    pub(super) n_rounds: u64,
    /// Where the rounds end.
    pub(super) tail_start: u64,
    /// The tail, and how many minibatches it has.
    pub(super) tail: Vec<Range<u64>>,
    pub(super) tail_len: u64,
    pub(super) tail_share: u64,
}

impl Division {
    fn n_minibatches(&self, sharding: &Sharding) -> u64 {
        self.head_share + self.n_rounds * sharding.fetch_factor + self.tail_share
    }
}

impl Remaining {
    /// Everything.
    pub(crate) fn all() -> Self {
        let (ragged, start) = (Vec::new(), 0);
        Self { ragged, start }
    }

    pub(super) fn divide(&self, sharding: &Sharding) -> Division {
        let Sharding {
            n_minibatches,
            fetch_factor,
            world_size,
            drop_last,
        } = *sharding;
        let ragged_len = total(&self.ragged);
        let head_share = ragged_len / world_size;
        let n_rounds = (n_minibatches - self.start) / fetch_factor / world_size;
        let tail_start = self.start + n_rounds * world_size * fetch_factor;
        let head = head_share * world_size;
        let mut tail = select(&self.ragged, std::iter::once(head..ragged_len));
        push_range(&mut tail, tail_start..n_minibatches);
        let tail_len = total(&tail);
        Division {
            head_share,
            n_rounds,
            tail_start,
            tail,
            tail_len,
            tail_share: match drop_last {
                true => tail_len / world_size,
                false => tail_len.div_ceil(world_size),
            },
        }
    }

    /// Minibatches of each rank, padding included.
    pub(crate) fn n_minibatches(&self, sharding: &Sharding) -> u64 {
        self.divide(sharding).n_minibatches(sharding)
    }

    /// What is left once each rank has consumed `consumed` of its minibatches, at most all of them. Takes time and
    /// memory proportional to the world size. Where everything was consumed the epoch is over, and nothing is left, not
    /// even what `drop_last` dropped.
    pub(crate) fn after(&self, sharding: &Sharding, consumed: u64) -> Self {
        let Sharding {
            n_minibatches,
            fetch_factor,
            world_size,
            ..
        } = *sharding;
        if consumed == 0 {
            return self.clone();
        }
        let division = self.divide(sharding);
        if consumed == division.n_minibatches(sharding) {
            let (ragged, start) = (Vec::new(), n_minibatches);
            return Self { ragged, start };
        }
        let ragged_len = total(&self.ragged);
        let head_share = division.head_share;
        if consumed < head_share {
            let shares = (0..world_size).map(|rank| rank * head_share + consumed..(rank + 1) * head_share);
            let rest = head_share * world_size..ragged_len;
            let (ragged, start) = (select(&self.ragged, shares.chain([rest])), self.start);
            return Self { ragged, start };
        }
        let consumed = consumed - head_share;
        let (round, part) = (consumed / fetch_factor, consumed % fetch_factor);
        if round < division.n_rounds || (round == division.n_rounds && part == 0) {
            let mut ragged = select(&self.ragged, std::iter::once(head_share * world_size..ragged_len));
            let mut start = self.start + round * world_size * fetch_factor;
            if part > 0 {
                for rank in 0..world_size {
                    let fetch = start + rank * fetch_factor;
                    push_range(&mut ragged, fetch + part..fetch + fetch_factor);
                }
                start += world_size * fetch_factor;
            }
            return Self { ragged, start };
        }
        let consumed = consumed - division.n_rounds * fetch_factor;
        let (share, tail_len) = (division.tail_share, division.tail_len);
        let shares = (0..world_size)
            .map(|rank| (rank * share + consumed).min(tail_len)..((rank + 1) * share).min(tail_len))
            .take_while(|slots| slots.start < tail_len);
        let dropped = (share * world_size).min(tail_len)..tail_len;
        Self {
            ragged: select(&division.tail, shares.chain([dropped])),
            start: n_minibatches,
        }
    }
}
