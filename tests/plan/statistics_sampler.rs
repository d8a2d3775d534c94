//! Whether samplers draw what they say, as often as they say. Seeds are fixed, so a test that passes keeps passing; over
//! random seeds each chi-square limit would raise a false alarm once in 30,000 tests.

use std::collections::BTreeMap;

use cellring::plan::{
    Balanced, Controls, Grouped, Sampler, SamplerConfig, SamplerData, Strategy, Subset, Weighted,
};

use crate::alone;

/// Asserts that `counts` may be draws by these probabilities.
fn assert_law(counts: &[u64], law: &[f64], what: &str) {
    let (total, sum) = (counts.iter().sum::<u64>() as f64, law.iter().sum::<f64>());
    let mut freedom = -1.0;
    let mut chi_square = 0.0;
    for (count, law) in counts.iter().zip(law) {
        let expected = total * law / sum;
        if *law == 0.0 {
            assert_eq!(*count, 0, "{what}: drawn against all odds");
            continue;
        }
        assert!(expected >= 5.0, "{what}: too few draws");
        chi_square += (*count as f64 - expected).powi(2) / expected;
        freedom += 1.0;
    }
    let spread = 2.0 / (9.0 * freedom);
    let score = ((chi_square / freedom).cbrt() - 1.0 + spread) / spread.sqrt();
    assert!(
        score < 4.0,
        "{what}: chi-square {chi_square:.1}, {freedom} degrees of freedom"
    );
}

fn config(strategy: Strategy, block_size: u64, fetch_factor: u32) -> SamplerConfig {
    SamplerConfig::default()
        .strategy(strategy)
        .block_size(block_size)
        .batch_size(1)
        .fetch_factor(fetch_factor)
}

const WEIGHTS: [f32; 11] = [1.0, 2.5, 0.25, 4.0, 0.0, 1.0, 1.0, 7.0, 0.5, 3.0, 1.0];

/// A sampler of 11 obs by these weights.
fn weighted(n_draws: u64, replacement: bool, block_size: u64, fetch_factor: u32) -> Sampler {
    let weighted = Weighted::new(WEIGHTS.as_slice())
        .n_draws(Some(n_draws))
        .replacement(replacement);
    let config = config(weighted.into(), block_size, fetch_factor);
    Sampler::new(11, config, SamplerData::default()).unwrap()
}

/// How often each obs stands at each position.
fn positions(sampler: &Sampler, n_epochs: u64, n_positions: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; sampler.n_obs() as usize]; n_positions];
    for epoch in 0..n_epochs {
        let drawn = alone(sampler, epoch).concat();
        for (counts, obs) in counts.iter_mut().zip(drawn) {
            counts[obs as usize] += 1;
        }
    }
    counts
}

#[test]
fn every_position_of_weighted_draws_follows_the_weights() {
    let law: Vec<f64> = WEIGHTS.iter().map(|weight| f64::from(*weight)).collect();
    // Fewer draws than obs, more, out of step with blocks and fetches; blocks of one and of everything.
    for (n_draws, block_size, fetch_factor) in [(5, 1, 2), (23, 3, 4), (11, 4, 30), (7, 50, 3)] {
        let sampler = weighted(n_draws, true, block_size, fetch_factor);
        let counts = positions(&sampler, 20_000, n_draws as usize);
        for (position, counts) in counts.iter().enumerate() {
            assert_law(
                counts,
                &law,
                &format!("position {position} of {n_draws} draws in blocks of {block_size}"),
            );
        }
    }
}

/// Draws of one block are no independent draws, but those of two blocks are: as pairs of positions a fetch apart show.
#[test]
fn pairs_of_weighted_draws_in_large_epochs_are_independent() {
    // So many draws that evenness does not show.
    let sampler = weighted(501, true, 1, 1);
    let law: Vec<f64> = WEIGHTS
        .iter()
        .flat_map(|a| WEIGHTS.map(|b| f64::from(a * b)))
        .collect();
    let mut pairs = vec![0; 121];
    for epoch in 0..40_000 {
        let plan = sampler.plan(epoch).unwrap();
        pairs[(plan.fetch(17).obs[0] * 11 + plan.fetch(290).obs[0]) as usize] += 1;
    }
    assert_law(&pairs, &law, "pairs of draws");
}

#[test]
fn subsets_drawn_without_replacement_are_as_likely_as_drawn_one_by_one() {
    let weights = WEIGHTS.map(f64::from);
    let sum: f64 = weights.iter().sum();
    let mut law = vec![0.0; 121];
    for (a, b) in (0..11)
        .flat_map(|a| (0..11).map(move |b| (a, b)))
        .filter(|(a, b)| a != b)
    {
        law[a.min(b) * 11 + a.max(b)] += weights[a] * weights[b] / (sum - weights[a]);
    }
    let mut counts = vec![0; 121];
    let sampler = weighted(2, false, 2, 9);
    let mut first = vec![0; 2];
    for epoch in 0..60_000 {
        let drawn = alone(&sampler, epoch).concat();
        counts[(drawn[0].min(drawn[1]) * 11 + drawn[0].max(drawn[1])) as usize] += 1;
        first[usize::from(drawn[0] < drawn[1])] += 1;
    }
    assert_law(&counts, &law, "pairs without replacement");
    assert_law(&first, &[1.0, 1.0], "which of the two comes first");
}

#[test]
fn every_position_of_balanced_draws_holds_each_class_alike() {
    // 1, 3, 8 and 13 obs; two have none; the subset leaves out some of each but the first.
    let code = |obs: u64| match obs {
        0..1 => 5,
        1..4 => 2,
        4..12 => 0,
        12..25 => 9,
        _ => u32::MAX,
    };
    let subset = Subset::from_fn(27, |obs| obs % 4 != 2).unwrap();
    let size = |code_: u32, all: bool| {
        (0..27)
            .filter(|obs| code(*obs) == code_ && (all || obs % 4 != 2))
            .count() as f64
    };
    for global in [false, true] {
        let law: Vec<f64> = (0..27)
            .map(|obs| match obs % 4 != 2 && code(obs) != u32::MAX {
                true => 1.0 / size(code(obs), global),
                false => 0.0,
            })
            .collect();
        let balanced = Balanced::new((0..27).map(code).collect::<Vec<_>>()).global(global);
        let data = SamplerData::default().subset(subset.clone());
        let sampler = Sampler::new(27, config(balanced.into(), 3, 5), data).unwrap();
        let counts = positions(&sampler, 20_000, 19);
        for (position, counts) in counts.iter().enumerate() {
            assert_law(counts, &law, &format!("position {position}, global {global}"));
        }
    }
}

#[test]
fn members_of_a_subset_are_uniform_at_every_position() {
    let subset = Subset::from_ids(30, [0, 1, 2, 5, 9, 10, 11, 17, 25, 26, 29]).unwrap();
    let law: Vec<f64> = (0..30)
        .map(|obs| f64::from(u8::from(subset.contains(obs))))
        .collect();
    for (strategy, positions_of) in [(Strategy::BlockShuffle, 11), (Strategy::SequentialShuffle, 0)] {
        let data = SamplerData::default().subset(subset.clone());
        let sampler = Sampler::new(30, config(strategy, 3, 4), data).unwrap();
        let counts = positions(&sampler, 20_000, 11);
        for (position, counts) in counts.iter().enumerate().take(positions_of) {
            assert_law(counts, &law, &format!("position {position}"));
        }
        if positions_of == 0 {
            // Uniform among the fetch's own.
            let first = &[counts[0][0], counts[0][1], counts[0][2], counts[0][5]];
            assert_law(first, &[1.0; 4], "the first fetch in storage order");
            assert_eq!(first.iter().sum::<u64>(), 20_000);
        }
    }
}

#[test]
fn groups_and_controls_pair_uniformly() {
    // Groups of 5, 7 and 4 in two match codes; controls of 6 and 5.
    let codes: Vec<u32> = [vec![1; 5], vec![2; 7], vec![3; 4], vec![0; 11]].concat();
    let matches: Vec<u32> = [vec![8; 12], vec![9; 4], vec![8; 6], vec![9; 5]].concat();
    let grouped = Grouped::new(codes)
        .n_per_group(Some(2))
        .sets_per_minibatch(Some(1))
        .controls(Controls::new(vec![0], 1).match_codes(matches));
    for (block_size, drop_last) in [(1, false), (3, false), (3, true), (50, true)] {
        let config = config(grouped.clone().into(), block_size, 2)
            .batch_size(3)
            .drop_last(drop_last);
        let sampler = Sampler::new(27, config, SamplerData::default()).unwrap();
        let n_sets = if drop_last { 7 } else { 9 };
        let mut control = vec![0; 27];
        let mut seen = vec![0; 27];
        let mut repeated = vec![0; 27];
        let mut first_group = vec![0; 4];
        for epoch in 0..20_000 {
            let sets = alone(&sampler, epoch);
            assert_eq!(sets.len(), n_sets);
            let mut times = BTreeMap::new();
            for set in &sets {
                set[..2]
                    .iter()
                    .for_each(|obs| *times.entry(*obs).or_insert(0u64) += 1);
            }
            for (obs, times) in times {
                seen[obs as usize] += 1;
                repeated[obs as usize] += times - 1;
            }
            // One control of the two sets' share, so that counts are independent.
            let set = sets.iter().find(|set| set[0] < 5 || set[1] < 5).unwrap();
            control[set[2] as usize] += 1;
            first_group[if sets[0][0] < 5 {
                1
            } else if sets[0][0] < 12 {
                2
            } else {
                3
            }] += 1;
        }
        let what = format!("blocks of {block_size}, drop_last {drop_last}");
        assert_law(
            &control[16..22],
            &[1.0; 6],
            &format!("controls of group 1, {what}"),
        );
        let sets_of = if drop_last {
            [0.0, 2.0, 3.0, 2.0]
        } else {
            [0.0, 3.0, 4.0, 2.0]
        };
        assert_law(&first_group, &sets_of, &format!("group of the first set, {what}"));
        // Who is left out (with drop_last) or repeated (without): anyone of a group that does not divide.
        for range in [0..5, 5..12] {
            let counts = if drop_last { &seen } else { &repeated };
            let counts: Vec<u64> = counts[range.clone()]
                .iter()
                .map(|count| if drop_last { 20_000 - count } else { *count })
                .collect();
            assert_eq!(counts.iter().sum::<u64>(), 20_000, "{what}");
            assert_law(
                &counts,
                &vec![1.0; counts.len()],
                &format!("odd ones of {range:?}, {what}"),
            );
        }
        assert!(seen[12..16].iter().all(|times| *times == 20_000));
    }
}
