//! How many counts the hits of a gene bring: each one, and a geometric number more.

use rand::Rng;

use super::random::Stream;

/// Probability that a hit brings a single count.
const SINGLE: f64 = 0.70;
/// More hits than this are split: negative binomial values of the same probability add up.
const MAX_HITS: usize = 32;

/// Inverse distribution functions of the counts beyond the hits themselves.
pub(super) struct Bursts {
    /// For 1, 2, ... hits.
    tables: Vec<Table>,
}

struct Table {
    /// 2^32 times the probability of at most 0, 1, ... more counts.
    steps: Vec<u32>,
    /// The result wherever the first 8 random bits decide it alone, else [`UNDECIDED`].
    guide: [u8; 256],
}

const UNDECIDED: u8 = u8::MAX;

impl Bursts {
    pub(super) fn new() -> Self {
        let table = |hits| {
            let steps = cumulated(hits);
            let guide = std::array::from_fn(|bits| {
                let (low, high) = ((bits as u32) << 24, (bits as u32) << 24 | 0x00ff_ffff);
                let (low, high) = (walk(&steps, low), walk(&steps, high));
                if low == high && low < u32::from(UNDECIDED) {
                    low as u8
                } else {
                    UNDECIDED
                }
            });
            Table { steps, guide }
        };
        Self {
            tables: (1..=MAX_HITS).map(table).collect(),
        }
    }

    /// More counts for this many hits: negative binomial, failures before `hits` successes.
    #[inline]
    pub(super) fn draw(&self, random: &mut Stream, mut hits: u32) -> u32 {
        let mut further = 0;
        while hits as usize > MAX_HITS {
            further += self.tables[MAX_HITS - 1].look_up(random.next_u32());
            hits -= MAX_HITS as u32;
        }
        match hits {
            0 => further,
            _ => further + self.tables[hits as usize - 1].look_up(random.next_u32()),
        }
    }
}

impl Table {
    #[inline]
    fn look_up(&self, bits: u32) -> u32 {
        match self.guide[(bits >> 24) as usize] {
            UNDECIDED => walk(&self.steps, bits),
            further => u32::from(further),
        }
    }
}

/// Number of steps that lie at or below `bits`.
fn walk(steps: &[u32], bits: u32) -> u32 {
    steps.iter().take_while(|&&step| step <= bits).count() as u32
}

fn cumulated(hits: usize) -> Vec<u32> {
    let mut probability = (0..hits).fold(1.0, |product, _| product * SINGLE);
    let mut sum = 0.0;
    let mut table = Vec::new();
    for further in 0.. {
        sum += probability;
        let step = (sum * (1u64 << 32) as f64).round();
        if step >= f64::from(u32::MAX) || further > 1000 {
            break;
        }
        table.push(step as u32);
        probability *= (further + hits) as f64 / (further + 1) as f64 * (1.0 - SINGLE);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, stream};
    use super::*;

    #[test]
    fn bursts_have_the_mean_and_variance_of_the_negative_binomial() {
        let bursts = Bursts::new();
        let mut random = stream(9, Purpose::Counts, 0);
        for hits in [1u32, 2, 7, 32, 33, 500] {
            let n = 40_000;
            let values: Vec<f64> = (0..n)
                .map(|_| f64::from(bursts.draw(&mut random, hits)))
                .collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            let expected = f64::from(hits) * 0.3 / 0.7;
            assert!(
                (mean / expected - 1.0).abs() < 0.03,
                "{hits}: mean {mean}, not {expected}"
            );
            assert!(
                (variance / (expected / 0.7) - 1.0).abs() < 0.06,
                "{hits}: variance {variance}"
            );
        }
        let zeros = (0..100_000).filter(|_| bursts.draw(&mut random, 1) == 0).count();
        assert!((69_300..70_700).contains(&zeros), "{zeros}");
    }
}
