//! The report of `plan --entropy`.

use cellring::Store;
use cellring::plan::{Arrangement, Sampler, SamplerConfig, SamplerData, Strategy, StrategyKind};
use serde::Serialize;

use super::labels::Labels;
use super::measured::{Measured, measure};
use super::theory::{Expected, Whole, has_theory};
use crate::chunks::Chunks;
use crate::failure::Failure;
use crate::output::{self, Fields, Show};
use crate::sampler_record::SamplerRecord;

/// Cells that each entry of the table looks at, in fetches from all over the epoch.
const TABLE_CELLS: u64 = 1 << 20;
/// Fetches that each entry looks at, where they hold more than that.
const TABLE_FETCHES: u64 = 4;

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
    /// Of a linked store with chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Chunks>,
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
    /// What the chunks of a linked store cost in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Chunks>,
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
        let entry = |config: SamplerConfig, most: u64| -> Result<Option<Entry>, cellring::Error> {
            let expected = has_theory(&config.strategy).then(|| Expected::new(&whole, &config));
            let (block_size, fetch_factor, strategy) =
                (config.block_size, config.fetch_factor, config.strategy.kind());
            let blocks_per_fetch = (config.fetch_obs() / block_size).max(1);
            let plan = Sampler::new(store.n_obs(), config, data.clone())?.plan(question.epoch)?;
            let chunks = Chunks::in_first_fetch(store, &plan)?;
            Ok(measure(&plan, &labels, most).map(|measured| Entry {
                chunks,
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
        let streams = match config.strategy.arrangement() {
            Arrangement::Blocks if !question.block_sizes.is_empty() => factors,
            _ => &[],
        };
        let streamed = streams
            .iter()
            .map(|&factor| (Strategy::SequentialShuffle, 1, factor));
        for (strategy, block_size, fetch_factor) in shapes.chain(streamed) {
            let config = config
                .clone()
                .strategy(strategy)
                .block_size(block_size)
                .fetch_factor(fetch_factor);
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
            chunks: main.chunks,
            table,
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
        if let Some(chunks) = &self.chunks {
            fields = fields.add("chunks", chunks.sentence());
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
