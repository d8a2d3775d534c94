//! How diverse minibatches are expected to be.

use std::collections::HashMap;
use std::f64::consts::LN_2;

use cellring::plan::{Arrangement, SamplerConfig, Strategy, Subset};
use serde::Serialize;

use super::labels::Labels;

/// How the labels are distributed over the cells that an epoch samples from.
pub(super) struct Whole {
    pub(super) n_obs: u64,
    pub(super) n_labels: usize,
    /// In bits.
    pub(super) entropy: f64,
}

impl Whole {
    pub(super) fn new(n_obs: u64, subset: Option<&Subset>, labels: &Labels) -> Result<Self, cellring::Error> {
        let all = match subset {
            Some(subset) => subset.clone(),
            None => Subset::all(n_obs)?,
        };
        let mut counts: HashMap<u64, u64> = HashMap::new();
        let mut run = (0, 0);
        for obs in all.iter() {
            let label = labels.label(obs);
            // Neighbours are alike more often than not.
            if label != run.0 {
                *counts.entry(run.0).or_default() += run.1;
                run = (label, 0);
            }
            run.1 += 1;
        }
        *counts.entry(run.0).or_default() += run.1;
        let shares = counts
            .values()
            .filter(|count| **count > 0)
            .map(|count| *count as f64 / all.len() as f64);
        // In one order, or the last digits would change from run to run.
        let mut terms: Vec<f64> = shares.map(|share| -share * share.log2()).collect();
        terms.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            n_obs: all.len(),
            n_labels: terms.len(),
            entropy: terms.iter().sum::<f64>().max(0.0),
        })
    }
}

/// What the theory says of minibatches, in bits, where runs of equal labels are much longer than blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Expected {
    /// How many cells drawn independently would be as diverse.
    pub(super) n_effective: f64,
    /// To first order.
    pub(super) bits: f64,
    /// The mean is not below.
    pub(super) lower_bits: f64,
    /// The mean is not above.
    pub(super) upper_bits: f64,
}

impl Expected {
    /// Minibatches of `m` cells are drawn at random from fetches of `N = m * fetch_factor`; a fetch is a stretch, from a random
    /// place on, of blocks of `b` in random order, without replacement, from `T` cells. A block is in one run of equal labels.
    ///
    /// Two cells of a fetch that stand `d` apart in that stretch are of one block with the chance `1 - d / b`, so two cells of
    /// a minibatch are with the chance
    ///
    /// - `rho = (b - 1) (3 N - b - 1) / (3 N (N - 1))` for `b <= N` (nearly `b / N`, one over the blocks in a fetch),
    /// - `rho = 1 - (N + 1) / (3 b)` for `b > N`, and 1 for storage order.
    ///
    /// Then their labels are equal, else they are nearly independent (correlated by `-b / (T - b)`, since no block is drawn
    /// twice). So the share of a label of probability `p` in a minibatch has the mean `p` and the variance `p (1 - p) / n` with
    ///
    /// `1 / n = 1 / m + (1 - 1 / m) (rho - (1 - rho) b / (T - b))`.
    ///
    /// `n` is `m` for `b = 1`, about `m / b` for a fetch factor of 1, and 1 where a fetch is all of one label. The entropy of
    /// the shares is, to second order in their deviations (Miller and Madow), `H - (K - 1) / (2 n ln 2)` on average, with the
    /// entropy `H` of all labels, of which there are `K`: the form in which scDataset (arXiv 2506.01883) has it, where `n` is
    /// said to lie between `m / b` and `m`.
    ///
    /// The mean never exceeds `H` (Jensen's inequality), and never falls below `H - log2(1 + (K - 1) / n)` (after Paninski,
    /// 2003): the deficit is the mean divergence of the shares from the probabilities, a divergence is at most
    /// `log2(1 + chi^2)`, and the mean of that is at most the same of the mean `chi^2`, which is `(K - 1) / n`. Where blocks
    /// do not lie in one run, the mean is higher, so the lower bound holds all the more. For small `n` the second order falls
    /// below the bound, which then takes its place.
    pub(super) fn new(whole: &Whole, config: &SamplerConfig) -> Self {
        let total = whole.n_obs as f64;
        let m = f64::from(config.batch_size).min(total).max(1.0);
        let fetch = (config.fetch_obs() as f64).min(total);
        let is_of_blocks = config.strategy.arrangement() == Arrangement::Blocks;
        let b = match is_of_blocks {
            true => (config.block_size as f64).min(total),
            false => total,
        };
        let rho = match is_of_blocks {
            _ if fetch <= 1.0 => 0.0,
            true if fetch >= total => (b - 1.0) / (fetch - 1.0),
            true if b <= fetch => (b - 1.0) * (3.0 * fetch - b - 1.0) / (3.0 * fetch * (fetch - 1.0)),
            true => 1.0 - (fetch + 1.0) / (3.0 * b),
            false => 1.0,
        };
        let other = if total > b { -b / (total - b) } else { 0.0 };
        let inverse = 1.0 / m + (1.0 - 1.0 / m) * (rho + (1.0 - rho) * other);
        let excess = (whole.n_labels.max(1) - 1) as f64 * inverse.max(0.0);
        let lower_bits = (whole.entropy - excess.ln_1p() / LN_2).max(0.0);
        Self {
            n_effective: 1.0 / inverse.max(1.0 / total.max(1.0)),
            bits: (whole.entropy - excess / (2.0 * LN_2)).max(lower_bits),
            lower_bits,
            upper_bits: whole.entropy,
        }
    }
}

/// Other strategies draw from another distribution than that of the column.
pub(super) fn has_theory(strategy: &Strategy) -> bool {
    matches!(
        strategy.arrangement(),
        Arrangement::Blocks | Arrangement::Neighbours(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(block_size: u64, batch_size: u32, fetch_factor: u32) -> SamplerConfig {
        SamplerConfig::default()
            .block_size(block_size)
            .batch_size(batch_size)
            .fetch_factor(fetch_factor)
    }

    #[test]
    fn the_theory_in_its_limits() {
        let whole = Whole {
            n_obs: 1 << 40,
            n_labels: 14,
            entropy: 3.7,
        };
        // True random: Miller and Madow as they stand.
        let random = Expected::new(&whole, &config(1, 64, 256));
        assert!((random.n_effective - 64.0).abs() < 1e-3);
        assert!((random.bits - (3.7 - 13.0 / (2.0 * 64.0 * LN_2))).abs() < 1e-6);
        // Fetches of one minibatch hold m / b blocks.
        let cut = Expected::new(&whole, &config(4, 64, 1));
        assert!((cut.n_effective - 16.0).abs() < 0.5, "{cut:?}");
        // One block in a fetch, or storage order: nothing is mixed.
        let stream = config(1, 64, 4).strategy(Strategy::Sequential);
        for config in [config(1 << 36, 64, 4), stream] {
            let one = Expected::new(&whole, &config);
            assert!((one.n_effective - 1.0).abs() < 1e-4 && one.bits < 1e-3, "{one:?}");
        }
        // A minibatch of all cells has all of their entropy.
        let small = Whole { n_obs: 64, ..whole };
        let all = Expected::new(&small, &config(4, 64, 1));
        assert!((all.bits - 3.7).abs() < 1e-9, "{all:?}");
    }

    #[test]
    fn bounds_hold_the_expectation() {
        for n_labels in [1, 2, 14, 380] {
            let entropy = (n_labels as f64).log2();
            let whole = Whole {
                n_obs: 1_000_000,
                n_labels,
                entropy,
            };
            for b in [1, 4, 16, 64, 256, 1024] {
                for f in [1, 4, 16, 64, 256, 1024] {
                    let e = Expected::new(&whole, &config(b, 64, f));
                    assert!(
                        0.0 <= e.lower_bits && e.lower_bits <= e.bits && e.bits <= e.upper_bits,
                        "{e:?}"
                    );
                }
            }
        }
    }
}
