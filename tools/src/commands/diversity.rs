//! How diverse minibatches are: measured on the plan, expected by theory.

use std::collections::HashMap;
use std::f64::consts::LN_2;

use cellring::Store;
use cellring::plan::{
    Plan, PlanError, PlannedFetch, Sampler, SamplerConfig, SamplerData, Strategy, StrategyKind, Subset,
    entropy_bits,
};
use serde::Serialize;

use super::labels::Labels;
use super::sampler::SamplerRecord;
use crate::failure::Failure;
use crate::output::{self, Fields, Show};

/// Cells that each entry of the table looks at, in fetches from all over the epoch.
const TABLE_CELLS: u64 = 1 << 20;
/// Fetches that each entry looks at, where they hold more than that.
const TABLE_FETCHES: u64 = 4;

/// How the labels are distributed over the cells that an epoch samples from.
struct Whole {
    n_obs: u64,
    n_labels: usize,
    /// In bits.
    entropy: f64,
}

/// What the theory says of minibatches, in bits, where runs of equal labels are much longer than blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Expected {
    /// How many cells drawn independently would be as diverse.
    n_effective: f64,
    /// To first order.
    bits: f64,
    /// The mean is not below.
    lower_bits: f64,
    /// The mean is not above.
    upper_bits: f64,
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
    fn new(whole: &Whole, config: &SamplerConfig) -> Self {
        let total = whole.n_obs as f64;
        let m = f64::from(config.batch_size).min(total).max(1.0);
        let fetch = (config.fetch_obs() as f64).min(total);
        let b = match config.strategy.kind() {
            StrategyKind::BlockShuffle => (config.block_size as f64).min(total),
            _ => total,
        };
        let rho = match config.strategy.kind() {
            _ if fetch <= 1.0 => 0.0,
            StrategyKind::BlockShuffle if fetch >= total => (b - 1.0) / (fetch - 1.0),
            StrategyKind::BlockShuffle if b <= fetch => {
                (b - 1.0) * (3.0 * fetch - b - 1.0) / (3.0 * fetch * (fetch - 1.0))
            }
            StrategyKind::BlockShuffle => 1.0 - (fetch + 1.0) / (3.0 * b),
            _ => 1.0,
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

/// Entropy of the labels within minibatches.
#[derive(Clone, Copy, Debug, Serialize)]
struct Measured {
    mean_bits: f64,
    sd_bits: f64,
    minibatches: u64,
}

/// Looks at `most` minibatches at most, in fetches spread evenly over the epoch.
fn measure(plan: &Plan, labels: &Labels, most: u64) -> Option<Measured> {
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

#[derive(Debug, Serialize)]
struct Entry {
    strategy: StrategyKind,
    block_size: u64,
    fetch_factor: u32,
    /// Of a full fetch, not below 1.
    blocks_per_fetch: u64,
    #[serde(flatten)]
    measured: Measured,
    expected: Option<Expected>,
}

/// What `plan --entropy` reports.
#[derive(Debug, Serialize)]
pub(crate) struct Diversity {
    column: String,
    n_obs: u64,
    n_labels: usize,
    column_bits: f64,
    epoch: u64,
    sampler: SamplerRecord,
    #[serde(flatten)]
    measured: Measured,
    expected: Option<Expected>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    table: Vec<Entry>,
}

/// What to compute.
pub(crate) struct Question<'a> {
    pub(crate) column: &'a str,
    pub(crate) epoch: u64,
    /// The most minibatches to look at.
    pub(crate) minibatches: Option<u64>,
    /// Of the table.
    pub(crate) block_sizes: &'a [u64],
    pub(crate) fetch_factors: &'a [u32],
}

impl Diversity {
    pub(crate) fn new(
        store: &Store,
        config: &SamplerConfig,
        data: &SamplerData,
        question: &Question<'_>,
    ) -> Result<Self, Failure> {
        let labels = Labels::new(store, Some(question.column))?;
        let whole = Whole::new(store.n_obs(), data.subset.as_ref(), &labels)?;
        let entry = |config: SamplerConfig, most: u64| -> Result<Option<Entry>, PlanError> {
            let expected = has_theory(config.strategy.kind()).then(|| Expected::new(&whole, &config));
            let (block_size, fetch_factor, strategy) =
                (config.block_size, config.fetch_factor, config.strategy.kind());
            let blocks_per_fetch = (config.fetch_obs() / block_size).max(1);
            let plan = Sampler::new(store.n_obs(), config, data.clone())?.plan(question.epoch)?;
            Ok(measure(&plan, &labels, most).map(|measured| Entry {
                strategy,
                block_size,
                fetch_factor,
                blocks_per_fetch,
                measured,
                expected,
            }))
        };
        let nothing =
            || Failure::because("the epoch has no minibatch for this rank, so there is nothing to measure");
        let most = question.minibatches.unwrap_or(u64::MAX);
        let main = entry(config.clone(), most)?.ok_or_else(nothing)?;
        let mut table = Vec::new();
        let factors = if question.fetch_factors.is_empty() {
            &[config.fetch_factor][..]
        } else {
            question.fetch_factors
        };
        let shapes = question.block_sizes.iter().flat_map(|&block_size| {
            factors
                .iter()
                .map(move |&factor| (config.strategy.clone(), block_size, factor))
        });
        // Streaming, too, where it is another strategy with the same data.
        let streams = match config.strategy.kind() {
            StrategyKind::BlockShuffle if !question.block_sizes.is_empty() => factors,
            _ => &[],
        };
        let streamed = streams
            .iter()
            .map(|&factor| (Strategy::SequentialShuffle, 1, factor));
        for (strategy, block_size, fetch_factor) in shapes.chain(streamed) {
            let config = SamplerConfig {
                strategy,
                block_size,
                fetch_factor,
                ..config.clone()
            };
            let fetch_minibatches = u64::from(fetch_factor);
            let sample = (TABLE_CELLS / u64::from(config.batch_size)).max(TABLE_FETCHES * fetch_minibatches);
            table.extend(entry(config, question.minibatches.unwrap_or(sample))?);
        }
        Ok(Self {
            column: question.column.to_owned(),
            n_obs: whole.n_obs,
            n_labels: whole.n_labels,
            column_bits: whole.entropy,
            epoch: question.epoch,
            sampler: config.into(),
            measured: main.measured,
            expected: main.expected,
            table,
        })
    }
}

/// Other strategies draw from another distribution than that of the column.
fn has_theory(strategy: StrategyKind) -> bool {
    matches!(
        strategy,
        StrategyKind::BlockShuffle | StrategyKind::Sequential | StrategyKind::SequentialShuffle
    )
}

impl Whole {
    fn new(n_obs: u64, subset: Option<&Subset>, labels: &Labels) -> Result<Self, PlanError> {
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

impl Show for Diversity {
    fn text(&self) -> String {
        let heading = format!(
            "entropy of obs column {:?} in minibatches of {} cells, {}, epoch {}",
            self.column, self.sampler.batch_size, self.sampler.strategy, self.epoch
        );
        let mut fields = Fields::new(heading)
            .add(
                "measured",
                format!(
                    "{:.3} bits on average, standard deviation {:.3}, over {} minibatches",
                    self.measured.mean_bits,
                    self.measured.sd_bits,
                    output::count(self.measured.minibatches)
                ),
            )
            .add(
                "all cells",
                format!(
                    "{:.3} bits, {} labels among {} cells",
                    self.column_bits,
                    output::count(self.n_labels as u64),
                    output::count(self.n_obs)
                ),
            );
        if let Some(expected) = &self.expected {
            fields = fields.add(
                "expected",
                format!(
                    "{:.3} bits where labels come in long runs, from {:.3} to {:.3} (as diverse as {:.1} independent cells)",
                    expected.bits, expected.lower_bits, expected.upper_bits, expected.n_effective
                ),
            );
        }
        fields.text() + &self.show_table()
    }
}

impl Diversity {
    /// A row for each block size, a column for each fetch factor: measured, and expected in brackets.
    fn show_table(&self) -> String {
        let mut factors: Vec<u32> = Vec::new();
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        for entry in &self.table {
            if !factors.contains(&entry.fetch_factor) {
                factors.push(entry.fetch_factor);
            }
            let name = match entry.strategy {
                StrategyKind::SequentialShuffle => "streaming".to_owned(),
                _ => output::count(entry.block_size),
            };
            let expected = entry
                .expected
                .map_or(String::new(), |expected| format!(" ({:.2})", expected.bits));
            let cell = format!("{:.2}{expected}", entry.measured.mean_bits);
            match rows.iter_mut().find(|row| row.0 == name) {
                Some(row) => row.1.push(cell),
                None => rows.push((name, vec![cell])),
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let factors: Vec<String> = factors.iter().map(|factor| format!("f {factor}")).collect();
        let header: Vec<&str> = std::iter::once("block size")
            .chain(factors.iter().map(String::as_str))
            .collect();
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(name, cells)| [vec![name], cells].concat())
            .collect();
        format!(
            "\nbits by block size and fetch factor f, measured (expected):\n{}",
            output::table(&header, &rows)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(block_size: u64, batch_size: u32, fetch_factor: u32) -> SamplerConfig {
        SamplerConfig {
            block_size,
            batch_size,
            fetch_factor,
            ..SamplerConfig::default()
        }
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
        let stream = SamplerConfig {
            strategy: Strategy::Sequential,
            ..config(1, 64, 4)
        };
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
