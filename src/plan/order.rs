//! The global order of an epoch: which obs stands at which position, fetch by fetch.
//!
//! This is the seam for further strategies. An order knows how many positions an epoch has and lists the obs of any
//! one fetch; who consumes them is the business of [`Partition`](super::partition::Partition). Weighted, balanced or
//! grouped sampling is another variant with a length of its own; a selection of obs is a map applied to what
//! [`fill`](Order::fill) has listed.

use super::config::{SamplerConfig, Strategy};
use super::permutation::Permutation;
use super::stream::{Purpose, Stream};

/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, spread over the circle as evenly as any can.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The order of one epoch.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Sequential { n_obs: u64, start: u64 },
    BlockShuffle(BlockShuffle),
}

impl Order {
    /// The order of `n_obs` obs; the config has been validated.
    pub(crate) fn new(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Self {
        match config.strategy {
            Strategy::Sequential if config.drop_last => Self::Sequential {
                n_obs,
                start: start_of(n_obs, epoch),
            },
            Strategy::Sequential => Self::Sequential { n_obs, start: 0 },
            Strategy::BlockShuffle => {
                Self::BlockShuffle(BlockShuffle::new(n_obs, config.block_size, config.seed, epoch))
            }
        }
    }

    /// Positions in the epoch.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Sequential { n_obs, .. } | Self::BlockShuffle(BlockShuffle { n_obs, .. }) => *n_obs,
        }
    }

    /// Appends the obs of fetch number `fetch`, which covers positions `first..end`, in global order.
    pub(crate) fn fill(&self, fetch: u64, first: u64, end: u64, obs: &mut Vec<u64>) {
        match self {
            Self::Sequential { n_obs, start } => {
                // Where the circle closes: at most one jump back to obs 0.
                let wrap = (n_obs - start).clamp(first, end);
                obs.extend(start + first..start + wrap);
                obs.extend((wrap..end).map(|position| position - (n_obs - start)));
            }
            Self::BlockShuffle(order) => order.fill(fetch, first, end, obs),
        }
    }
}

/// The obs at which a sequential epoch that drops something starts.
fn start_of(n_obs: u64, epoch: u64) -> u64 {
    ((u128::from(epoch.wrapping_mul(GOLDEN_STEP)) * u128::from(n_obs)) >> 64) as u64
}

/// Sampling blocks in a keyed order, the sequence of them turned, each fetch of the result shuffled whole.
///
/// The turn makes every obs equally likely at every position, whatever the shape. Without it the end of a block much
/// larger than a fetch, or of the only block, would lie at the end of the epoch too often, or always, and be dropped.
#[derive(Clone, Debug)]
pub(crate) struct BlockShuffle {
    n_obs: u64,
    block_size: u64,
    seed: u64,
    epoch: u64,
    blocks: Permutation,
    /// Where in the sequence of blocks the epoch starts.
    turn: u64,
    /// Where in the sequence of blocks the last block, the only one that may be short, ends.
    last_end: u64,
    /// How many obs the last block lacks to be whole.
    missing: u64,
}

impl BlockShuffle {
    fn new(n_obs: u64, block_size: u64, seed: u64, epoch: u64) -> Self {
        // A block larger than the data set is the data set: keeps every product below within bounds.
        let block_size = block_size.min(n_obs.max(1));
        let n_blocks = n_obs.div_ceil(block_size);
        let blocks = Permutation::new(n_blocks, Stream::new(seed, epoch, Purpose::BlockOrder, 0));
        let missing = n_blocks * block_size - n_obs;
        let (mut turn, mut last_end) = (0, 0);
        if n_obs > 0 {
            turn = Stream::new(seed, epoch, Purpose::Turn, 0).below_u64(n_obs);
            last_end = (blocks.place_of(n_blocks - 1) + 1) * block_size - missing;
        }
        Self {
            n_obs,
            block_size,
            seed,
            epoch,
            blocks,
            turn,
            last_end,
            missing,
        }
    }

    fn fill(&self, fetch: u64, first: u64, end: u64, obs: &mut Vec<u64>) {
        let from = obs.len();
        let wrap = (self.n_obs - self.turn).clamp(first, end);
        self.lay_out(self.turn + first, self.turn + wrap, obs);
        let behind_wrap = wrap.max(self.n_obs - self.turn) - (self.n_obs - self.turn);
        self.lay_out(behind_wrap, behind_wrap + (end - wrap), obs);
        Stream::new(self.seed, self.epoch, Purpose::FetchShuffle, fetch).shuffle(&mut obs[from..]);
    }

    /// Appends `first..end` of the sequence of blocks.
    fn lay_out(&self, first: u64, end: u64, obs: &mut Vec<u64>) {
        if first >= end {
            return;
        }
        // Behind the short block all blocks stand `missing` obs early.
        let whole = first + if first < self.last_end { 0 } else { self.missing };
        let (mut place, mut offset) = (whole / self.block_size, whole % self.block_size);
        let mut left = end - first;
        while left > 0 {
            let block_start = self.blocks.get(place) * self.block_size;
            let block_end = self.n_obs.min(block_start + self.block_size);
            let taken = (block_end - block_start - offset).min(left);
            obs.extend(block_start + offset..block_start + offset + taken);
            left -= taken;
            (place, offset) = (place + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_spreads_over_the_data_set() {
        assert_eq!(start_of(1000, 0), 0);
        assert_eq!(
            [1, 2, 3, 4].map(|epoch| start_of(1000, epoch)),
            [618, 236, 854, 472]
        );
        assert_eq!(start_of(0, 5), 0);
        assert!(start_of(1 << 48, u64::MAX) < 1 << 48);
    }

    #[test]
    fn blocks_stay_together_before_the_shuffle() {
        // 10 obs in blocks of 4: lengths 4, 4, 2.
        for seed in 0..50 {
            let order = BlockShuffle::new(10, 4, seed, 0);
            let expected: Vec<u64> = (0..3)
                .flat_map(|place| [0..4, 4..8, 8..10][order.blocks.get(place) as usize].clone())
                .collect();
            for (first, end) in (0..=10).flat_map(|end| (0..=end).map(move |first| (first, end))) {
                let mut sequence = Vec::new();
                order.lay_out(first, end, &mut sequence);
                assert_eq!(sequence, expected[first as usize..end as usize]);
            }
            // Listed one by one, nothing is shuffled.
            let mut turned = Vec::new();
            (0..10).for_each(|position| order.fill(0, position, position + 1, &mut turned));
            turned.rotate_right(order.turn as usize);
            assert_eq!(turned, expected);
        }
    }
}
