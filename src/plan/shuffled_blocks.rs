//! Blocks in a keyed order, and that sequence rotated: the heart of block shuffling.

use std::ops::Range;

use super::permutation::Permutation;
use super::stream::RandomStream;

/// `0..len` in blocks, the blocks in random order, the whole rotated by a random number of entries.
///
/// The rotation makes every entry equally likely at every position, whatever their number and the block size. Without it the end of a block much
/// larger than a fetch, or of the only block, would be at the end of the epoch too often, or always, and be dropped.
#[derive(Clone, Debug)]
pub(crate) struct ShuffledBlocks {
    len: u64,
    block_size: u64,
    blocks: Permutation,
    /// Where in the sequence of blocks it starts.
    turn: u64,
    /// Where in the sequence of blocks the last block, the only one that may be short, ends.
    last_end: u64,
    /// How many entries the last block lacks to be whole.
    missing: u64,
}

impl ShuffledBlocks {
    pub(crate) fn new(len: u64, block_size: u64, order: RandomStream, mut turn: RandomStream) -> Self {
        // A block larger than everything is everything: keeps every product below within bounds.
        let block_size = block_size.min(len.max(1));
        let n_blocks = len.div_ceil(block_size);
        let blocks = Permutation::new(n_blocks, order);
        let missing = n_blocks * block_size - len;
        let (mut start, mut last_end) = (0, 0);
        if len > 0 {
            start = turn.below_u64(len);
            last_end = (blocks.place_of(n_blocks - 1) + 1) * block_size - missing;
        }
        Self {
            len,
            block_size,
            blocks,
            turn: start,
            last_end,
            missing,
        }
    }

    /// Calls `visit` with ranges that together are positions `first..end`, at most once round.
    pub(crate) fn visit(&self, first: u64, end: u64, mut visit: impl FnMut(Range<u64>)) {
        let wrap = (self.len - self.turn).clamp(first, end);
        self.lay_out(self.turn + first, self.turn + wrap, &mut visit);
        let after_wrap = wrap.max(self.len - self.turn) - (self.len - self.turn);
        self.lay_out(after_wrap, after_wrap + (end - wrap), &mut visit);
    }

    /// As [`visit`](Self::visit), going round as often as need be; it must not be empty.
    pub(crate) fn visit_around(&self, first: u64, n: u64, mut visit: impl FnMut(Range<u64>)) {
        let (mut at, mut left) = (first % self.len, n);
        while left > 0 {
            let taken = left.min(self.len - at);
            self.visit(at, at + taken, &mut visit);
            (at, left) = (0, left - taken);
        }
    }

    /// Visits `first..end` of the sequence of blocks.
    fn lay_out(&self, first: u64, end: u64, visit: &mut impl FnMut(Range<u64>)) {
        if first >= end {
            return;
        }
        // After the short block all blocks stand `missing` entries early.
        let whole = first + if first < self.last_end { 0 } else { self.missing };
        let (mut place, mut offset) = (whole / self.block_size, whole % self.block_size);
        let mut left = end - first;
        while left > 0 {
            let block_start = self.blocks.get(place) * self.block_size;
            let block_end = self.len.min(block_start + self.block_size);
            let taken = (block_end - block_start - offset).min(left);
            visit(block_start + offset..block_start + offset + taken);
            left -= taken;
            (place, offset) = (place + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Purpose;
    use super::*;

    #[test]
    fn blocks_stay_together() {
        // 10 entries in blocks of 4: lengths 4, 4, 2.
        for seed in 0..50 {
            let stream = |purpose| RandomStream::new(seed, 0, purpose, 0);
            let shuffled = ShuffledBlocks::new(10, 4, stream(Purpose::BlockOrder), stream(Purpose::Turn));
            let expected: Vec<u64> = (0..3)
                .flat_map(|place| [0..4, 4..8, 8..10][shuffled.blocks.get(place) as usize].clone())
                .collect();
            for (first, end) in (0..=10).flat_map(|end| (0..=end).map(move |first| (first, end))) {
                let mut sequence = Vec::new();
                shuffled.lay_out(first, end, &mut |range| sequence.extend(range));
                assert_eq!(sequence, expected[first as usize..end as usize]);
            }
            let mut turned = Vec::new();
            (0..10).for_each(|position| shuffled.visit(position, position + 1, |range| turned.extend(range)));
            let round = turned.clone();
            turned.rotate_right(shuffled.turn as usize);
            assert_eq!(turned, expected);

            let mut around = Vec::new();
            shuffled.visit_around(13, 24, |range| around.extend(range));
            let endless: Vec<u64> = round.iter().cycle().skip(13).take(24).copied().collect();
            assert_eq!(around, endless);
        }
    }
}
