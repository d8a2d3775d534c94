//! Random streams, and the few distributions that the model needs.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// A generator of a named algorithm: its values never change with a library's version.
pub(super) type Stream = Xoshiro256PlusPlus;

/// What a stream is for. Streams of different purposes are unrelated.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Gene popularity; 0 is the common one, 1 + k that of cell line k.
    Popularity = 1,
    /// Shares of the plates in the data set.
    Plates,
    /// Order and shares of the cell lines on a plate.
    Lines,
    /// Drugs on a plate.
    Drugs,
    /// Sequencing depth of a plate.
    PlateDepth,
    /// Labels of a cell.
    Labels,
    /// Counts of a cell.
    Counts,
}

/// The stream of this purpose and number.
pub(super) fn stream(seed: u64, purpose: Purpose, number: u64) -> Stream {
    let mut state = mix(seed ^ 0x6365_6c6c_7269_6e67);
    state = mix(state ^ purpose as u64);
    Stream::seed_from_u64(mix(state ^ number))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Uniform in (0, 1): the middle of one of 2^53 equal parts, never 0 or 1.
pub(super) fn uniform(random: &mut Stream) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// Uniform below `n`; the bias is below n / 2^64.
pub(super) fn below(random: &mut Stream, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

/// Two independent standard normal values (Box and Muller 1958).
pub(super) fn normal_pair(random: &mut Stream) -> [f64; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(uniform(random)));
    let (sin, cos) = libm::sincos(std::f64::consts::TAU * uniform(random));
    [radius * cos, radius * sin]
}

/// Gamma with an integer shape: the waiting time for that many events.
fn erlang(random: &mut Stream, shape: usize) -> f64 {
    -(0..shape).map(|_| libm::log(uniform(random))).sum::<f64>()
}

/// Cumulated shares of `n` parts, symmetric Dirichlet with this concentration; the last is 1.
pub(super) fn cumulated_shares(random: &mut Stream, n: usize, concentration: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (0..n)
        .map(|_| {
            sum += erlang(random, concentration);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

/// Beta(2, 30): the second smallest of 31 uniform values has exactly this distribution.
pub(super) fn beta_2_30(random: &mut Stream) -> f64 {
    let (mut least, mut second) = (u64::MAX, u64::MAX);
    for _ in 0..31 {
        let value = random.next_u64();
        second = second.min(value.max(least));
        least = least.min(value);
    }
    second as f64 / u64::MAX as f64
}

/// The numbers below `n` in random order, of which the first `k` are drawn (Fisher and Yates).
pub(super) fn draw(random: &mut Stream, n: usize, k: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..n).collect();
    for place in 0..k {
        let other = place + below(random, n - place);
        numbers.swap(place, other);
    }
    numbers.truncate(k);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_number() {
        let first = |seed, purpose, number| stream(seed, purpose, number).next_u64();
        let values = [
            first(0, Purpose::Labels, 0),
            first(1, Purpose::Labels, 0),
            first(0, Purpose::Counts, 0),
            first(0, Purpose::Labels, 1),
        ];
        let distinct: std::collections::HashSet<_> = values.iter().collect();
        assert_eq!(distinct.len(), values.len());
        // Fixed for ever: data sets made by different versions are the same.
        assert_eq!(values[..2], [17506615755819427971, 3987733093906684079]);
    }

    #[test]
    fn normal_values_have_mean_0_and_variance_1() {
        let mut random = stream(3, Purpose::Counts, 0);
        let values: Vec<f64> = (0..100_000).flat_map(|_| normal_pair(&mut random)).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
        let beyond_2 = values.iter().filter(|v| v.abs() > 2.0).count() as f64 / n;
        assert!((beyond_2 - 0.0455).abs() < 0.003, "{beyond_2}");
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        let mut random = stream(4, Purpose::Counts, 0);
        let values: Vec<f64> = (0..50_000).map(|_| beta_2_30(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / 50_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 50_000.0;
        assert!((mean - 2.0 / 32.0).abs() < 0.001, "{mean}");
        assert!(
            (variance - 60.0 / (32.0 * 32.0 * 33.0)).abs() < 0.0001,
            "{variance}"
        );
    }

    #[test]
    fn shares_ascend_to_1() {
        let shares = cumulated_shares(&mut stream(5, Purpose::Plates, 0), 14, 20);
        assert!(shares.is_sorted() && shares[0] > 0.0);
        assert_eq!(shares[13], 1.0);
    }
}
