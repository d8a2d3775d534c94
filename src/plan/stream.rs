//! The one source of randomness of a plan: keyed ChaCha8 streams and unbiased draws from them.
//!
//! A stream is named by (seed, epoch, purpose, index). The four numbers *are* the 32-byte key, so two different
//! names can never meet in one stream, as sums such as `seed + k * epoch` do. Draws are written out here rather than
//! taken from `rand`'s distributions, whose values may change between releases; the ChaCha8 key stream may not.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// What a stream is for. The eight bytes are part of the key and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The order of the sampling blocks in an epoch; index 0.
    BlockOrder,
    /// How far the sequence of blocks is turned; index 0.
    Turn,
    /// The order of the obs within a fetch; the index is the number of the fetch in the global sequence.
    FetchShuffle,
    /// The keys of weighted draws with replacement; index 0.
    Draws,
    /// The keys of weighted draws without replacement; index 0.
    Keys,
    /// The order of the sets of groups; index 0.
    SetOrder,
    /// The order of the blocks of a group; the index is the number of the group.
    GroupOrder,
    /// How far they are turned; the index is the number of the group.
    GroupTurn,
    /// The order of the blocks of controls; the index is the number of the match code.
    ControlOrder,
    /// How far they are turned; the index is the number of the match code.
    ControlTurn,
    /// Who belongs to which part of a split; index 0 for obs, 1 for groups.
    Split,
}

impl Purpose {
    const fn tag(self) -> [u8; 8] {
        match self {
            Self::BlockOrder => *b"blocks.1",
            Self::Turn => *b"turn...1",
            Self::FetchShuffle => *b"fetch..1",
            Self::Draws => *b"draws..1",
            Self::Keys => *b"keys...1",
            Self::SetOrder => *b"sets...1",
            Self::GroupOrder => *b"gblock.1",
            Self::GroupTurn => *b"gturn..1",
            Self::ControlOrder => *b"cblock.1",
            Self::ControlTurn => *b"cturn..1",
            Self::Split => *b"split..1",
        }
    }
}

/// A value-stable stream of random words.
pub(crate) struct RandomStream(ChaCha8Rng);

impl RandomStream {
    pub(crate) fn new(seed: u64, epoch: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        key[16..24].copy_from_slice(&purpose.tag());
        key[24..].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The next 64 bits: two words of the key stream, the low one first.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.0.next_u32());
        low | u64::from(self.0.next_u32()) << 32
    }

    /// A number below `bound`, each equally likely (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// A word `w` gives the high half of `w * bound`; it is rejected when the low half is below `2^32 mod bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "nothing lies below 0");
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            let low = product as u32;
            // `2^32 mod bound` is below `bound`: the division is needed only when this first test fails.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }

    /// As [`below`](Self::below), for a wide bound, from 64-bit words.
    pub(crate) fn below_u64(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// Shuffles `items` so that every order is equally likely (Fisher-Yates, from the last place down).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        assert!(
            u32::try_from(items.len()).is_ok(),
            "a shuffle of {} items needs wider draws",
            items.len()
        );
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::assert_uniform;

    #[test]
    fn key_stream_is_chacha8() {
        // The published vector of ChaCha8 for a zero 256-bit key and a zero nonce.
        let mut stream = RandomStream(ChaCha8Rng::from_seed([0; 32]));
        let words: Vec<u64> = (0..2).map(|_| stream.next_u64().swap_bytes()).collect();
        assert_eq!(words, [0x3e00_ef2f_895f_40d6, 0x7f5b_b8e8_1f09_a5a1]);
    }

    #[test]
    fn each_part_of_the_name_makes_another_stream() {
        let first = |seed, epoch, purpose, index| RandomStream::new(seed, epoch, purpose, index).next_u64();
        use Purpose::{
            BlockOrder, ControlOrder, ControlTurn, Draws, FetchShuffle, GroupOrder, GroupTurn, Keys,
            SetOrder, Split, Turn,
        };
        let mut words = vec![
            first(0, 0, BlockOrder, 0),
            first(1, 0, BlockOrder, 0),
            first(0, 1, BlockOrder, 0),
            first(0, 0, FetchShuffle, 0),
            first(0, 0, Turn, 0),
            first(0, 0, Draws, 0),
            first(0, 0, Keys, 0),
            first(0, 0, SetOrder, 0),
            first(0, 0, GroupOrder, 0),
            first(0, 0, GroupTurn, 0),
            first(0, 0, ControlOrder, 0),
            first(0, 0, ControlTurn, 0),
            first(0, 0, Split, 0),
            first(0, 0, BlockOrder, 1),
            first(1 << 63, 0, BlockOrder, 0),
            first(0, 1 << 63, BlockOrder, 0),
        ];
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 16);
    }

    #[test]
    fn draws_are_uniform_also_where_words_are_rejected() {
        for bound in [1, 2, 3, 5, 7, 100, 1000] {
            let mut counts = vec![0; bound as usize];
            let mut stream = RandomStream::new(3, 1, Purpose::FetchShuffle, u64::from(bound));
            for _ in 0..200_000 {
                counts[stream.below(bound) as usize] += 1;
            }
            assert_uniform(&counts, &format!("draws below {bound}"));
        }
        // Here a quarter of the words is rejected; without that, multiples of 3 would come half of the time.
        let (mut narrow, mut wide) = ([0; 3], [0; 3]);
        let mut stream = RandomStream::new(3, 2, Purpose::FetchShuffle, 0);
        for _ in 0..200_000 {
            narrow[stream.below(3 << 30) as usize % 3] += 1;
            wide[stream.below_u64(3 << 62) as usize % 3] += 1;
        }
        assert_uniform(&narrow, "remainders of 32-bit draws");
        assert_uniform(&wide, "remainders of 64-bit draws");
    }

    #[test]
    fn every_order_of_four_is_equally_likely() {
        let mut counts = vec![0; 256];
        for epoch in 0..100_000 {
            let mut items = [0, 1, 2, 3];
            RandomStream::new(9, epoch, Purpose::FetchShuffle, 0).shuffle(&mut items);
            counts[items.iter().fold(0, |code, item| code * 4 + item)] += 1;
        }
        counts.retain(|count| *count > 0);
        assert_eq!(counts.len(), 24);
        assert_uniform(&counts, "orders of 4");
    }
}
