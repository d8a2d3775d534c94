//! How well minibatches are mixed: the entropy of the obs' labels within them.

use super::epoch::{Plan, PlannedFetch};

/// How mixed the minibatches of a plan are.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MinibatchEntropy {
    /// Mean over the minibatches of the entropy of their labels, in bits.
    pub mean_bits: f64,
    /// How many minibatches it is the mean of.
    pub n_minibatches: u64,
}

/// Shannon entropy of labels, in bits: minus the sum of `p log2 p`, where `p` is the share of each distinct label.
///
/// 0 where all are equal, `log2(n)` where all `n` differ, 0 for none. The labels are sorted on the way.
pub fn entropy_bits(labels: &mut [u64]) -> f64 {
    labels.sort_unstable();
    let total = labels.len() as f64;
    let terms = labels.chunk_by(|a, b| a == b).map(|equal| {
        let share = equal.len() as f64 / total;
        -share * share.log2()
    });
    // The negative zero of one label would be shown with its sign.
    terms.sum::<f64>().max(0.0)
}

/// Mean entropy of the labels within the minibatches of a plan, found without reading any cell.
///
/// It looks at up to `max_fetches` fetches, spread evenly over the epoch, and at all of their minibatches. `label` tells
/// the label of an obs by its number. `None` where there is no minibatch to look at.
///
/// scDataset (arXiv 2506.01883) measures diversity so. Even in true random order the mean lies below the entropy of
/// the whole data set, by about `(K - 1) / (2 m ln 2)` bits for `K` labels and minibatches of `m` obs (Miller and
/// Madow): compare with a plan of block size 1, not with the whole.
///
/// ```
/// use cellring::plan::{Plan, SamplerConfig, mean_entropy};
///
/// // 4,000 obs, whose label changes every 1,000.
/// let label = |obs: u64| obs / 1_000;
/// let bits = |block_size| -> Result<f64, Box<dyn std::error::Error>> {
///     let config = SamplerConfig::default().block_size(block_size).batch_size(50).fetch_factor(4);
///     let entropy = mean_entropy(&Plan::new(4_000, &config, 0)?, u64::MAX, label).ok_or("no minibatch")?;
///     Ok(entropy.mean_bits)
/// };
/// assert!(bits(1)? > 1.9, "true random: nearly 2 bits");
/// assert!(bits(500)? < 1.2, "at most three blocks meet in a fetch");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn mean_entropy(
    plan: &Plan,
    max_fetches: u64,
    mut label: impl FnMut(u64) -> u64,
) -> Option<MinibatchEntropy> {
    let n_fetches = plan.n_fetches();
    let looked_at = max_fetches.min(n_fetches);
    let (mut fetch, mut labels) = (PlannedFetch::default(), Vec::new());
    let (mut sum, mut n_minibatches) = (0.0, 0);
    for i in 0..looked_at {
        let number = (u128::from(i) * u128::from(n_fetches) / u128::from(looked_at)) as u64;
        plan.fetch_into(number, &mut fetch);
        for minibatch in 0..fetch.minibatches.len() {
            labels.clear();
            labels.extend(fetch.obs_of(minibatch).iter().map(|&obs| label(obs)));
            sum += entropy_bits(&mut labels);
            n_minibatches += 1;
        }
    }
    (n_minibatches > 0).then(|| MinibatchEntropy {
        mean_bits: sum / n_minibatches as f64,
        n_minibatches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{SamplerConfig, Strategy};

    #[test]
    fn entropy_of_cases_done_by_hand() {
        let cases: [(&[u64], f64); 7] = [
            (&[], 0.0),
            (&[7], 0.0),
            (&[3, 3, 3], 0.0),
            (&[0, u64::MAX], 1.0),
            (&[1, 2, 1, 2], 1.0),
            (&[5, 1, 5, 9], 1.5),
            (&[8, 7, 6, 5, 4, 3, 2, 1], 3.0),
        ];
        for (labels, expected) in cases {
            let found = entropy_bits(&mut labels.to_vec());
            assert!((found - expected).abs() < 1e-12, "{labels:?}: {found}");
            assert!(found.is_sign_positive(), "{labels:?}: {found}");
        }
        // 1/3 and 2/3.
        let thirds = entropy_bits(&mut [0, 1, 1]);
        assert!((thirds - (3f64.log2() - 2.0 / 3.0)).abs() < 1e-12);
    }

    fn plan(n_obs: u64, change: impl FnOnce(&mut SamplerConfig)) -> Plan {
        let mut config = SamplerConfig {
            batch_size: 4,
            fetch_factor: 2,
            block_size: 1,
            ..SamplerConfig::default()
        };
        change(&mut config);
        Plan::new(n_obs, &config, 0).unwrap()
    }

    #[test]
    fn the_mean_is_over_minibatches() {
        let sequential = plan(16, |config| config.strategy = Strategy::Sequential);
        // Minibatches 0..4, 4..8, 8..12, 12..16 with the labels 0000, 0011, 0123, 0000.
        let labels = [0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 2, 3, 9, 9, 9, 9];
        let entropy = mean_entropy(&sequential, u64::MAX, |obs| labels[obs as usize]).unwrap();
        assert_eq!((entropy.mean_bits, entropy.n_minibatches), (0.75, 4));
        // Of two fetches, one is looked at: the first two minibatches.
        let entropy = mean_entropy(&sequential, 1, |obs| labels[obs as usize]).unwrap();
        assert_eq!((entropy.mean_bits, entropy.n_minibatches), (0.5, 2));
        assert_eq!(mean_entropy(&sequential, 0, |obs| obs), None);
        assert_eq!(mean_entropy(&plan(0, |_| ()), 9, |obs| obs), None);
    }

    #[test]
    fn fetches_are_looked_at_all_over_the_epoch() {
        let sequential = plan(800, |config| config.strategy = Strategy::Sequential);
        let mut seen = Vec::new();
        mean_entropy(&sequential, 4, |obs| {
            seen.push(obs);
            0
        });
        let starts: Vec<_> = seen.chunks(8).map(|fetch| fetch[0]).collect();
        assert_eq!(starts, [0, 200, 400, 600]);
    }

    #[test]
    fn larger_blocks_and_smaller_fetches_mix_less() {
        let bits = |block_size: u64, fetch_factor: u32| {
            let plan = plan(50_000, |config| {
                (config.batch_size, config.block_size, config.fetch_factor) = (64, block_size, fetch_factor);
            });
            mean_entropy(&plan, 20, |obs| obs / 3_125).unwrap().mean_bits
        };
        // 16 labels: true random stays below 4 bits by about 15 / (2 * 64 * ln 2) = 0.17 (Miller and Madow).
        let random = bits(1, 64);
        assert!((random - 3.83).abs() < 0.03, "{random}");
        assert!((bits(16, 256) - random).abs() < 0.03);
        let fewer = [bits(16, 64), bits(64, 16), bits(64, 4), bits(64, 1)];
        assert!(fewer.is_sorted_by(|a, b| a > b), "{fewer:?}");
        assert!(fewer[3] < 0.8, "one block and a bit: {fewer:?}");
    }
}
