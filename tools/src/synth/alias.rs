//! Drawing from a discrete distribution with one look-up.

use rand::Rng;

use super::random::Stream;

/// An alias table (Walker 1977, built as in Vose 1991): each of n equal slots belongs to at most two numbers.
pub(super) enum AliasTable {
    /// Threshold in the upper 16 bits: up to it the slot's own number is meant, else the one in the lower 16. Half the
    /// size, so that the table of 62,710 genes stays in a core's second-level cache, which decides the speed.
    Narrow(Vec<u32>),
    /// The same in 32 and 32 bits, for more than 65,536 numbers.
    Wide(Vec<u64>),
}

impl AliasTable {
    /// A table for weights that are finite and not negative, and of which at least one is positive.
    pub(super) fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        let scale = n as f64 / weights.iter().sum::<f64>();
        let mut mass: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| mass[i] < 1.0);
        // What rounding leaves over keeps a full slot.
        let mut slots: Vec<(f64, usize)> = (0..n).map(|own| (1.0, own)).collect();
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            slots[less] = (mass[less], more);
            mass[more] -= 1.0 - mass[less];
            if mass[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // `as` saturates, so a full slot keeps all its values.
        if n <= 1 << 16 {
            Self::Narrow(
                slots
                    .iter()
                    .map(|&(own, other)| ((own * 65536.0) as u16 as u32) << 16 | other as u32)
                    .collect(),
            )
        } else {
            let wide =
                |&(own, other): &(f64, usize)| ((own * 4_294_967_296.0) as u32 as u64) << 32 | other as u64;
            Self::Wide(slots.iter().map(wide).collect())
        }
    }

    /// Hands `n` drawn numbers to `hit`, two for each 64 random bits.
    #[inline]
    pub(super) fn draw(&self, random: &mut Stream, n: u64, hit: impl FnMut(u32)) {
        match self {
            Self::Narrow(slots) => draw(random, n, |bits| narrow(slots, bits), hit),
            Self::Wide(slots) => draw(random, n, |bits| wide(slots, bits), hit),
        }
    }
}

/// The number that 32 random bits mean: the upper part of bits * n is the slot, the lower the place in it.
#[inline(always)]
fn narrow(slots: &[u32], bits: u32) -> u32 {
    let product = u64::from(bits) * slots.len() as u64;
    let entry = slots[(product >> 32) as usize];
    if (product as u32) >> 16 <= entry >> 16 {
        (product >> 32) as u32
    } else {
        entry & 0xffff
    }
}

#[inline(always)]
fn wide(slots: &[u64], bits: u32) -> u32 {
    let product = u64::from(bits) * slots.len() as u64;
    let entry = slots[(product >> 32) as usize];
    if product as u32 <= (entry >> 32) as u32 {
        (product >> 32) as u32
    } else {
        entry as u32
    }
}

#[inline(always)]
fn draw(random: &mut Stream, n: u64, pick: impl Fn(u32) -> u32, mut hit: impl FnMut(u32)) {
    for _ in 0..n / 2 {
        let bits = random.next_u64();
        hit(pick(bits as u32));
        hit(pick((bits >> 32) as u32));
    }
    if n % 2 == 1 {
        hit(pick(random.next_u32()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, stream};
    use super::*;

    /// Draws many numbers and compares how often each comes with its weight; 0 must never come.
    fn follows(weights: &[f64], n: u64) {
        let mut counts = vec![0u64; weights.len()];
        AliasTable::new(weights).draw(&mut stream(1, Purpose::Counts, 0), n, |number| {
            counts[number as usize] += 1
        });
        assert_eq!(counts.iter().sum::<u64>(), n);
        let sum: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let expected = n as f64 * weight / sum;
            assert!(
                (*count as f64 - expected).abs() <= 6.0 * (expected + 1.0).sqrt(),
                "{count} for {expected}"
            );
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        follows(&[0.0, 5.0, 1.0, 0.25, 3.75, 0.0, 10.0], 1_000_001);
        follows(&[7.0], 9);
        let many: Vec<f64> = (0..70_000).map(|i| f64::from(i % 7)).collect();
        assert!(matches!(AliasTable::new(&many), AliasTable::Wide(_)));
        follows(&many, 2_000_000);
    }

    #[test]
    fn first_and_last_slot_are_reached() {
        let AliasTable::Narrow(slots) = AliasTable::new(&[1.0; 1000]) else {
            panic!("few numbers")
        };
        assert_eq!((narrow(&slots, 0), narrow(&slots, u32::MAX)), (0, 999));
        let AliasTable::Wide(slots) = AliasTable::new(&[1.0; 70_000]) else {
            panic!("many numbers")
        };
        assert_eq!((wide(&slots, 0), wide(&slots, u32::MAX)), (0, 69_999));
    }
}
