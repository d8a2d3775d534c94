//! Whether shuffled epochs are random enough. Seeds are fixed, so a test that passes keeps passing; over random seeds
//! the chi-square limit would raise a false alarm once in 30,000 tests.

use cellring::plan::SamplerConfig;

use crate::{minibatches, sequence};

fn assert_uniform(counts: &[u64], what: &str) {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    assert!(expected >= 5.0, "{what}: too few draws");
    let chi_square: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum();
    // Wilson and Hilferty (1931): the cube root of chi-square is nearly normal.
    let freedom = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let score = ((chi_square / freedom).cbrt() - 1.0 + spread) / spread.sqrt();
    assert!(
        score < 4.0,
        "{what}: chi-square {chi_square:.1}, {freedom} degrees of freedom"
    );
}

/// Every obs must come equally often at every position, whatever the shape: an obs that some position favours would be
/// dropped more often than others. And two obs of different blocks at every pair of positions far apart.
#[test]
fn positions_are_uniform_whatever_the_shape() {
    let shapes = [
        // Blocks, fetches and data set in step; out of step; one block; blocks larger than fetches.
        (24, 4, 8),
        (23, 5, 6),
        (7, 100, 2),
        (25, 12, 4),
    ];
    for (n_obs, block_size, fetch_factor) in shapes {
        let config = SamplerConfig::default()
            .block_size(block_size)
            .batch_size(1)
            .fetch_factor(fetch_factor);
        let mut counts = vec![vec![0; n_obs as usize]; n_obs as usize];
        for epoch in 0..20_000 {
            for (position, obs) in sequence(n_obs, &config, epoch).into_iter().enumerate() {
                counts[obs as usize][position] += 1;
            }
        }
        for (obs, counts) in counts.iter().enumerate() {
            assert_uniform(
                counts,
                &format!("positions of obs {obs} of {n_obs}, blocks of {block_size}"),
            );
        }
    }
}

#[test]
fn pairs_of_obs_meet_by_chance() {
    let config = SamplerConfig::default()
        .block_size(1)
        .batch_size(8)
        .fetch_factor(1);
    let mut partners = vec![0; 48];
    for epoch in 0..20_000 {
        let order = sequence(48, &config, epoch);
        let minibatch = order.chunks(8).find(|minibatch| minibatch.contains(&5));
        minibatch
            .into_iter()
            .flatten()
            .for_each(|obs| partners[*obs as usize] += 1);
    }
    assert_eq!(partners.remove(5), 20_000);
    assert_uniform(&partners, "obs in the minibatch of obs 5");
}

#[test]
fn every_order_of_few_obs_comes_equally_often_with_block_size_1() {
    // Fetches of 2, so that both the order of the blocks and the shuffles of the fetches matter.
    let config = SamplerConfig::default()
        .block_size(1)
        .batch_size(1)
        .fetch_factor(2);
    for n_obs in [2u64, 3, 5] {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..30_000 {
            *counts
                .entry(sequence(n_obs, &config.clone().seed(seed), 4))
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len() as u64, (1..=n_obs).product::<u64>());
        assert_uniform(
            &counts.into_values().collect::<Vec<_>>(),
            &format!("orders of {n_obs} obs"),
        );
    }
}

#[test]
fn every_obs_is_dropped_equally_often_with_block_size_1() {
    let config = SamplerConfig::default()
        .block_size(1)
        .batch_size(4)
        .fetch_factor(2)
        .drop_last(true);
    let mut dropped = vec![20_000; 23];
    for epoch in 0..20_000 {
        sequence(23, &config, epoch)
            .into_iter()
            .for_each(|obs| dropped[obs as usize] -= 1);
    }
    assert_eq!(dropped.iter().sum::<u64>(), 3 * 20_000);
    assert_uniform(&dropped, "dropped obs");
}

/// Mean entropy, in bits, of the plate within minibatches of 64 from 14 plates in storage order.
fn plate_entropy(block_size: u64, fetch_factor: u32) -> f64 {
    let n_obs = 140_000;
    let config = SamplerConfig::default()
        .block_size(block_size)
        .fetch_factor(fetch_factor)
        .drop_last(true);
    let minibatches = minibatches(n_obs, &config, 0);
    let entropy = |obs: &[u64]| -> f64 {
        let mut plates = [0.0; 14];
        obs.iter()
            .for_each(|obs| plates[(obs * 14 / n_obs) as usize] += 1.0 / 64.0);
        plates
            .iter()
            .filter(|share| **share > 0.0)
            .map(|share| -share * f64::log2(*share))
            .sum()
    };
    minibatches
        .iter()
        .map(|minibatch| entropy(&minibatch.obs))
        .sum::<f64>()
        / minibatches.len() as f64
}

/// Miller and Madow: E[H] is about H(p) - (K - 1) / (2 n ln 2) bits for n independent draws from K plates.
#[test]
fn block_shuffling_mixes_as_well_as_true_random_sampling() {
    let expected = f64::log2(14.0) - 13.0 / (2.0 * 64.0 * f64::ln(2.0));
    let random = plate_entropy(1, 256);
    assert!(
        (random - expected).abs() < 0.02,
        "true random sampling: {random:.3} bits, {expected:.3} expected"
    );
    let default = plate_entropy(16, 256);
    assert!(
        (default - random).abs() < 0.02,
        "1,024 blocks per fetch: {default:.3} bits, {random:.3} expected"
    );
    // The measure tells a poor mix: each fetch is one minibatch and holds parts of two blocks, so one bit at most.
    let poor = plate_entropy(64, 1);
    assert!(poor < 1.0, "one block per fetch: {poor:.3} bits");
}
