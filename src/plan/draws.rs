//! Weighted draws: with replacement block by block, without replacement all at once.

use std::ops::Range;
use std::sync::Arc;

use super::bits::Bits;
use super::hash::Hash;
use super::stream::{Purpose, RandomStream};
use super::subset::Subset;
use super::universe::Universe;
use super::weights::Axis;

/// The draws of one epoch with replacement, in the order of the axis: any of them in time that does not depend on how
/// many there are.
#[derive(Clone, Debug)]
pub(crate) struct Strata {
    axis: Arc<Axis>,
    n_draws: u64,
    block_size: u64,
    blocks: Hash,
    draws: Hash,
}

impl Strata {
    pub(crate) fn new(axis: Arc<Axis>, n_draws: u64, block_size: u64, seed: u64, epoch: u64) -> Self {
        let mut stream = RandomStream::new(seed, epoch, Purpose::Draws, 0);
        Self {
            // A block that holds every draw and every obs is as good as a larger one.
            block_size: block_size.min(n_draws.max(axis.len()).max(1)),
            axis,
            n_draws,
            blocks: Hash::new(&mut stream),
            draws: Hash::new(&mut stream),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.n_draws
    }

    /// Appends the obs of the draws in `range`.
    pub(crate) fn extend(&self, range: Range<u64>, obs: &mut Vec<u64>) {
        let mut cursor = self.axis.cursor();
        let mut draw = range.start;
        while draw < range.end {
            let block = draw / self.block_size;
            let first = block * self.block_size;
            let len = self.block_size.min(self.n_draws - first);
            // The part of the axis that the block stands for chooses a block of obs ...
            let (low, high) = (self.edge(first), self.edge(first + len));
            let (chosen, _) = cursor.at(low + self.blocks.below(block, high - low));
            let place = chosen / self.block_size * self.block_size;
            let (from, to) = (cursor.before(place), cursor.before(place + self.block_size));
            // ... from which its draws are taken, one from each of `len` equal parts.
            let end = range.end.min(first + len);
            for draw in draw..end {
                let low = scaled(to - from, draw - first, len);
                let high = scaled(to - from, draw - first + 1, len);
                obs.push(cursor.at(from + low + self.draws.below(draw, high - low)).1);
            }
            draw = end;
        }
    }

    /// Where on the axis the share of the draws from `draw` on starts.
    fn edge(&self, draw: u64) -> u64 {
        scaled(self.axis.total(), draw, self.n_draws)
    }
}

/// `floor(width * part / whole)`.
fn scaled(width: u64, part: u64, whole: u64) -> u64 {
    (u128::from(width) * u128::from(part) / u128::from(whole)) as u64
}

/// `n_draws` distinct obs of the universe, drawn one after another by their weights without replacement: those with the
/// smallest `-ln(u) / weight` (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
///
/// Looks at every member twice; keeps a bit for each obs and the few members near the limit.
pub(crate) fn draw_without_replacement(
    universe: &Universe,
    weights: &[f32],
    n_draws: u64,
    seed: u64,
    epoch: u64,
) -> Subset {
    let n_obs = weights.len() as u64;
    let hash = Hash::new(&mut RandomStream::new(seed, epoch, Purpose::Keys, 0));
    // Of positive floats the bits ascend with the value.
    let key = |obs: u64| (neg_ln(hash.get(obs)) / f64::from(weights[obs as usize])).to_bits();
    // Buckets by the leading bits: a million for many obs, of which each then holds few.
    let bucket_bits = (64 - universe.len().leading_zeros()).clamp(10, 20);
    let bucket = |key: u64| (key >> (64 - bucket_bits)) as usize;
    let mut counts = vec![0u64; 1 << bucket_bits];
    universe.for_each(|obs| counts[bucket(key(obs))] += 1);
    let (mut limit, mut left) = (0, n_draws);
    while limit < counts.len() && counts[limit] <= left {
        left -= counts[limit];
        limit += 1;
    }

    let mut words = Bits::empty_words(n_obs);
    let mut near = Vec::new();
    universe.for_each(|obs| {
        let key = key(obs);
        match bucket(key).cmp(&limit) {
            std::cmp::Ordering::Less => Bits::set(&mut words, obs..obs + 1),
            std::cmp::Ordering::Equal => near.push((key, obs)),
            std::cmp::Ordering::Greater => {}
        }
    });
    near.sort_unstable();
    near.iter()
        .take(left as usize)
        .for_each(|(_, obs)| Bits::set(&mut words, *obs..*obs + 1));
    Subset::from_bits(n_obs, words)
}

/// `-ln(u)` for `u = (floor(word / 2^12) + 1/2) / 2^52`, by operations that give the same bits on every machine, unlike
/// the logarithms of mathematical libraries.
fn neg_ln(word: u64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let u = ((word >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    // u = m * 2^e with m between the root of a half and the root of two.
    let mut e = (u.to_bits() >> 52) as i64 - 1023;
    let mut m = f64::from_bits(u.to_bits() & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        (m, e) = (m * 0.5, e + 1);
    }
    // ln m = 2 artanh f, as a power series; |f| < 0.172.
    let f = (m - 1.0) / (m + 1.0);
    let s = f * f;
    let series = (0..11)
        .rev()
        .fold(0.0, |sum, k| sum * s + 1.0 / f64::from(2 * k + 1));
    -(e as f64 * LN_2 + 2.0 * f * series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logarithm_is_right(word: u64, shift in 0u32..64) {
            let word = word >> shift;
            let u = ((word >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
            let (found, expected) = (neg_ln(word), -u.ln());
            prop_assert!((found - expected).abs() <= 1e-15 * expected.abs().max(1e-3), "{} {}", found, expected);
            prop_assert!(found > 0.0);
        }

        #[test]
        fn what_is_kept_has_the_smallest_keys(
            weights in prop::collection::vec(1e-3f32..1e3, 1..500), part: u64, seed: u64, epoch in 0u64..9,
        ) {
            let n = weights.len() as u64;
            let n_draws = part % (n + 1);
            let kept = draw_without_replacement(&Universe::All(n), &weights, n_draws, seed, epoch);
            let hash = Hash::new(&mut RandomStream::new(seed, epoch, Purpose::Keys, 0));
            let mut keys: Vec<(f64, u64)> =
                (0..n).map(|obs| (neg_ln(hash.get(obs)) / f64::from(weights[obs as usize]), obs)).collect();
            keys.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let expected = Subset::from_ids(n, keys[..n_draws as usize].iter().map(|key| key.1)).unwrap();
            prop_assert_eq!(kept, expected);
        }
    }

    #[test]
    fn logarithm_of_the_ends() {
        assert!(neg_ln(u64::MAX) > 0.0 && neg_ln(u64::MAX) < 1e-15);
        assert!((neg_ln(0) - 53.0 * std::f64::consts::LN_2).abs() < 1e-13);
    }
}
