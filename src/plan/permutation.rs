//! Keyed permutations of `0..len`: any entry in O(1) time, without an array of `len` entries.
//!
//! Up to [`TABLE_LEN`] entries the permutation is an exact Fisher-Yates table of 16 KiB at most: every order is equally
//! likely. Beyond, it is a Feistel network of [`ROUNDS`] rounds over a slightly larger rectangle, with cycle walking
//! (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
//!
//! Both numbers were chosen by measuring. A Feistel network favours some differences between the images of
//! neighbours; the excess over a uniform law (in standard deviations of chi-square, worst of five pairs) was, by rounds:
//!
//! | entries | keys | 4 | 6 | 8 | 10 | 12 |
//! |---|---|---|---|---|---|---|
//! | 6 | 2,000,000 | 140,160 | 34,162 | 8,736 | 2,103 | 510 |
//! | 100 | 2,000,000 | 14,330 | 238 | 2.7 | noise | noise |
//! | 1,000 | 400,000 | 1,390 | 6.7 | noise | noise | noise |
//! | 4,097 | 97,632 | 13 | noise | noise | noise | noise |
//!
//! Two more rounds divide the excess by about the square root of the number of entries, so 8 rounds beyond 4,096
//! entries leave a factor of several thousand in reserve, and tiny domains, where no affordable number of rounds is
//! enough, never meet the network.

use super::stream::RandomStream;

/// The longest permutation held as a table, in entries.
pub(crate) const TABLE_LEN: u64 = 4096;

/// Rounds of the Feistel network; even.
const ROUNDS: usize = 8;

/// A permutation of `0..len`.
#[derive(Clone, Debug)]
pub(crate) enum Permutation {
    Table(Vec<u32>),
    Feistel(Feistel),
}

impl Permutation {
    /// The permutation of `0..len` that `stream` stands for.
    pub(crate) fn new(len: u64, mut stream: RandomStream) -> Self {
        if len <= TABLE_LEN {
            let mut table: Vec<u32> = (0..len as u32).collect();
            stream.shuffle(&mut table);
            Self::Table(table)
        } else {
            Self::Feistel(Feistel::new(len, stream))
        }
    }

    /// The entry at `place`.
    ///
    /// # Panics
    /// If `place` is outside of the domain.
    #[inline]
    pub(crate) fn get(&self, place: u64) -> u64 {
        match self {
            Self::Table(table) => u64::from(table[place as usize]),
            Self::Feistel(network) => network.get(place),
        }
    }

    /// The place at which `entry` stands: the inverse of [`get`](Self::get).
    ///
    /// # Panics
    /// If `entry` is outside of the domain.
    pub(crate) fn place_of(&self, entry: u64) -> u64 {
        match self {
            Self::Table(table) => {
                let place = table.iter().position(|e| u64::from(*e) == entry);
                assert!(
                    place.is_some(),
                    "{entry} is outside of a permutation of {} entries",
                    table.len()
                );
                place.unwrap_or_default() as u64
            }
            Self::Feistel(network) => network.place_of(entry),
        }
    }
}

/// A Feistel network on the rectangle `0..n_left` x `0..2^right_bits`, which holds `0..len` with less than one row to
/// spare: a walk leaves the domain with probability below `2^right_bits / len`, about one in the square root of `len`.
#[derive(Clone, Debug)]
pub(crate) struct Feistel {
    len: u64,
    n_left: u64,
    right_bits: u32,
    keys: [u64; ROUNDS],
}

impl Feistel {
    fn new(len: u64, mut stream: RandomStream) -> Self {
        // Below 4 entries the right half would have no bits.
        assert!(len >= 4, "a Feistel network on {len} entries");
        let right_bits = len.ilog2() / 2;
        Self {
            len,
            n_left: len.div_ceil(1 << right_bits),
            right_bits,
            keys: std::array::from_fn(|_| stream.next_u64()),
        }
    }

    #[inline]
    fn get(&self, place: u64) -> u64 {
        assert!(
            place < self.len,
            "place {place} is outside of a permutation of {} entries",
            self.len
        );
        let mut x = place;
        // The network permutes the rectangle, so the walk comes back to `place` itself at the latest.
        loop {
            x = self.forward(x);
            if x < self.len {
                return x;
            }
        }
    }

    fn place_of(&self, entry: u64) -> u64 {
        assert!(
            entry < self.len,
            "{entry} is outside of a permutation of {} entries",
            self.len
        );
        let mut x = entry;
        loop {
            x = self.backward(x);
            if x < self.len {
                return x;
            }
        }
    }

    #[inline]
    fn forward(&self, x: u64) -> u64 {
        let mask = (1 << self.right_bits) - 1;
        let (mut left, mut right) = (x >> self.right_bits, x & mask);
        for keys in self.keys.chunks_exact(2) {
            left = self.wrapped(left + self.left_step(right, keys[0]));
            right = (right + self.right_step(left, keys[1])) & mask;
        }
        left << self.right_bits | right
    }

    fn backward(&self, x: u64) -> u64 {
        let mask = (1 << self.right_bits) - 1;
        let (mut left, mut right) = (x >> self.right_bits, x & mask);
        for keys in self.keys.chunks_exact(2).rev() {
            right = right.wrapping_sub(self.right_step(left, keys[1])) & mask;
            left = self.wrapped(left + self.n_left - self.left_step(right, keys[0]));
        }
        left << self.right_bits | right
    }

    /// `left` modulo `n_left`, for `left` below twice that. Without a branch, which would go either way by chance.
    #[inline]
    fn wrapped(&self, left: u64) -> u64 {
        left.min(left.wrapping_sub(self.n_left))
    }

    /// A number below `n_left`.
    #[inline]
    fn left_step(&self, half: u64, key: u64) -> u64 {
        ((u128::from(mix(half, key)) * u128::from(self.n_left)) >> 64) as u64
    }

    /// A number below `2^right_bits`.
    #[inline]
    fn right_step(&self, half: u64, key: u64) -> u64 {
        mix(half, key) >> (64 - self.right_bits)
    }
}

/// The round function: 64 bits of which the high ones, the only ones used, depend on every bit of both arguments.
///
/// Two multiplications by the constants of SplitMix64 (Steele, Lea and Flood, 2014) around one fold.
#[inline]
fn mix(half: u64, key: u64) -> u64 {
    let z = (half ^ key).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ z >> 32).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use super::super::stream::Purpose;
    use super::*;
    use crate::plan::testing::assert_uniform;
    use proptest::prelude::*;

    fn stream(seed: u64, epoch: u64) -> RandomStream {
        RandomStream::new(seed, epoch, Purpose::BlockOrder, 0)
    }

    fn assert_permutes(len: u64, permutation: &Permutation) {
        let mut seen = vec![false; len as usize];
        for place in 0..len {
            let entry = permutation.get(place);
            assert!(
                !std::mem::replace(&mut seen[entry as usize], true),
                "{entry} of {len} comes twice"
            );
            if place % 97 == 0 || len < 300 {
                assert_eq!(permutation.place_of(entry), place);
            }
        }
    }

    #[test]
    fn both_forms_permute_domains_of_every_shape() {
        for len in (1..300).chain([4095, 4096, 4097, 65_535, 65_536, 65_537, 131_072, 300_007]) {
            assert_permutes(len, &Permutation::new(len, stream(1, len)));
            if len >= 4 {
                assert_permutes(len, &Permutation::Feistel(Feistel::new(len, stream(2, len))));
            }
        }
    }

    proptest! {
        #[test]
        fn inverse_holds_up_to_the_largest_domain(len in 4u64..=1 << 48, place: u64, seed: u64) {
            let place = place % len;
            let network = Feistel::new(len, stream(seed, 0));
            let entry = network.get(place);
            prop_assert!(entry < len);
            prop_assert_eq!(network.place_of(entry), place);
        }
    }

    // Chi-square tests: `assert_uniform` raises a false alarm once in 30,000; seeds are fixed, so a pass stays a pass.

    /// Counts the pairs of entries at places (i, j) over `n_keys` epochs.
    fn pair_counts(len: u64, i: u64, j: u64, n_keys: u64) -> Vec<u64> {
        let mut counts = vec![0; (len * len) as usize];
        for epoch in 0..n_keys {
            let permutation = Permutation::new(len, stream(7, epoch));
            counts[(permutation.get(i) * len + permutation.get(j)) as usize] += 1;
        }
        (0..len * len)
            .filter(|pair| pair / len != pair % len)
            .map(|pair| counts[pair as usize])
            .collect()
    }

    #[test]
    fn pairs_are_uniform_in_tiny_domains() {
        for len in [2, 3, 5, 7, 16] {
            for (i, j) in [(0, 1), (0, len - 1), (len / 2, (len / 2 + 1) % len)] {
                if i != j {
                    assert_uniform(
                        &pair_counts(len, i, j, 50_000),
                        &format!("places {i}, {j} of {len}"),
                    );
                }
            }
        }
    }

    #[test]
    fn every_order_of_three_and_five_is_equally_likely() {
        for len in [3u64, 5] {
            let mut counts = std::collections::BTreeMap::new();
            for seed in 0..60_000 {
                let permutation = Permutation::new(len, stream(seed, 3));
                let order: Vec<u64> = (0..len).map(|place| permutation.get(place)).collect();
                *counts.entry(order).or_insert(0) += 1;
            }
            assert_eq!(counts.len() as u64, (1..=len).product::<u64>());
            assert_uniform(
                &counts.into_values().collect::<Vec<_>>(),
                &format!("orders of {len}"),
            );
        }
    }

    /// Differences of the images of two places: where Feistel networks with too few rounds give themselves away.
    #[test]
    fn differences_are_uniform_just_above_the_table() {
        let len = TABLE_LEN + 1;
        for (i, j) in [(0, 1), (0, 64), (1, 66), (0, len / 2), (len - 2, len - 1)] {
            let mut differences = vec![0; len as usize];
            let mut first = vec![0; len as usize];
            for epoch in 0..60_000 {
                let permutation = Permutation::new(len, stream(11, epoch));
                let (a, b) = (permutation.get(i), permutation.get(j));
                differences[((a + len - b) % len) as usize] += 1;
                first[a as usize] += 1;
            }
            assert_eq!(differences[0], 0);
            assert_uniform(&differences[1..], &format!("differences of places {i} and {j}"));
            assert_uniform(&first, &format!("entries at place {i}"));
        }
    }

    #[test]
    fn one_large_permutation_shows_no_structure() {
        let len = 1_000_003;
        for epoch in 0..4 {
            let permutation = Permutation::new(len, stream(5, epoch));
            let entries: Vec<u64> = (0..len).map(|place| permutation.get(place)).collect();
            let bin = |value: u64| (value * 50 / len) as usize;
            for lag in [1, 2, 512, 1024, 1_000] {
                let mut steps = vec![0; 50];
                let mut pairs = vec![0; 50 * 50];
                for (a, b) in entries.iter().zip(&entries[lag..]) {
                    steps[bin((b + len - a) % len)] += 1;
                    pairs[bin(*a) * 50 + bin(*b)] += 1;
                }
                assert_uniform(&steps, &format!("steps at lag {lag}"));
                assert_uniform(&pairs, &format!("pairs at lag {lag}"));
            }
        }
    }

    #[test]
    fn the_test_itself_finds_a_network_with_too_few_rounds() {
        let len = 1000;
        let mut differences = vec![0; len as usize];
        for epoch in 0..60_000 {
            let network = Feistel::new(len, stream(11, epoch));
            let four_rounds = |x: u64| {
                let (mut left, mut right) = (x >> 4, x & 15);
                for keys in network.keys[..4].chunks_exact(2) {
                    left = (left + network.left_step(right, keys[0])) % network.n_left;
                    right = (right + network.right_step(left, keys[1])) & 15;
                }
                left << 4 | right
            };
            differences[((four_rounds(0) + 2 * len - four_rounds(16)) % len) as usize] += 1;
        }
        let alarm = std::panic::catch_unwind(|| assert_uniform(&differences[1..], "four rounds"));
        assert!(alarm.is_err());
    }
}
