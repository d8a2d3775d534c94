//! How diverse minibatches of a plan are.

use cellring::plan::{Plan, PlannedFetch, entropy_bits};
use serde::Serialize;

use super::labels::Labels;

/// Entropy of the labels within minibatches.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) mean_bits: f64,
    pub(super) sd_bits: f64,
    pub(super) minibatches: u64,
}

/// Looks at `most` minibatches at most, in fetches spread evenly over the epoch.
pub(super) fn measure(plan: &Plan, labels: &Labels, most: u64) -> Option<Measured> {
    let n_fetches = plan.n_fetches();
    let per_fetch = plan.n_minibatches().div_ceil(n_fetches.max(1)).max(1);
    let looked_at = most.div_ceil(per_fetch).min(n_fetches);
    let (mut fetch, mut of_cells) = (PlannedFetch::default(), Vec::new());
    // Sums of what is above or below the first, which keeps all digits.
    let (mut n, mut first, mut sum, mut squares) = (0u64, None, 0.0, 0.0);
    for i in 0..looked_at {
        let number = u128::from(i) * u128::from(n_fetches) / u128::from(looked_at);
        plan.fetch_into(number as u64, &mut fetch);
        for minibatch in 0..fetch.minibatches.len() {
            if n == most {
                break;
            }
            of_cells.clear();
            of_cells.extend(fetch.obs_of(minibatch).iter().map(|&obs| labels.label(obs)));
            let bits = entropy_bits(&mut of_cells);
            let off = bits - *first.get_or_insert(bits);
            (n, sum, squares) = (n + 1, sum + off, squares + off * off);
        }
    }
    let mean = sum / n as f64;
    let variance = (squares / n as f64 - mean * mean).max(0.0);
    first.map(|first: f64| Measured {
        mean_bits: (first + mean).max(0.0),
        sd_bits: variance.sqrt(),
        minibatches: n,
    })
}
