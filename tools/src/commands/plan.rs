//! `cellring plan`: which cells an epoch delivers, in which order.

use cellring::plan::{Arrangement, Plan, PlannedFetch, Sampler, SamplerConfig};
use clap::value_parser;
use serde::Serialize;

use crate::diversity::{Diversity, Question};
use crate::failure::Failure;
use crate::options::{SamplerArgs, StoreArg};
use crate::output::{self, Fields, Lines, Show};
use crate::sampler_record::SamplerRecord;

/// Show the minibatches of an epoch without reading cells
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    #[command(flatten)]
    sampler: SamplerArgs,
    /// Look at this many minibatches at most: the first ones, or with --entropy some from all over the epoch [default: all; as text
    /// the first 3]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    minibatches: Option<u64>,
    /// Show how diverse minibatches are: the entropy of this obs column within them, and what the theory predicts
    #[arg(long, value_name = "COLUMN")]
    entropy: Option<String>,
    /// Also a table over these block sizes, and streaming
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "entropy", value_parser = value_parser!(u64).range(1..))]
    block_sizes: Vec<u64>,
    /// Fetch factors of the table [default: --fetch-factor]
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "block_sizes", value_parser = value_parser!(u32).range(1..))]
    fetch_factors: Vec<u32>,
    /// Print a line of JSON for each minibatch: its number on this rank and in the whole epoch, and its obs; "padding" is true for
    /// one that repeats another only to give every rank as many. With --entropy one object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct PlannedLine<'a> {
    minibatch: u64,
    global: u64,
    /// Whether it repeats a minibatch only to give every rank as many; not there where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    padding: bool,
    obs: &'a [u64],
}

#[derive(Debug, Serialize)]
struct Summary {
    n_obs: u64,
    /// Where they are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<u64>,
    epoch: u64,
    sampler: SamplerRecord,
    /// In words.
    #[serde(skip)]
    order: String,
    minibatches: u64,
    global_minibatches: u64,
    fetches: u64,
    dropped_obs: u64,
    /// Minibatches of this rank that repeat others only to give every rank as many.
    padding: u64,
    /// The first minibatches.
    #[serde(skip)]
    first: Vec<Shown>,
}

/// A minibatch, for people.
#[derive(Debug)]
struct Shown {
    n_obs: usize,
    padding: bool,
    /// The first of its obs.
    obs: Vec<u64>,
}

/// Minibatches that are shown as text, and obs of each.
const SHOWN_MINIBATCHES: u64 = 3;
const SHOWN_OBS: usize = 8;

impl Show for Summary {
    fn text(&self) -> String {
        let sampler = &self.sampler;
        let share = format!(
            "{} of {}, of {} cells each",
            output::count(self.minibatches),
            output::count(self.global_minibatches),
            output::count(sampler.batch_size.into())
        );
        let fetches = format!(
            "{} of {} minibatches each",
            output::count(self.fetches),
            output::count(sampler.fetch_factor.into())
        );
        let heading = format!(
            "epoch {} of {} cells, {}",
            self.epoch,
            output::count(self.n_obs),
            sampler.strategy
        );
        let mut fields = Fields::new(heading);
        if let Some(subset) = self.subset {
            fields = fields.add("subset", format!("{} cells", output::count(subset)));
        }
        fields = fields
            .add("order", self.order.clone())
            .add("seed", sampler.seed.to_string())
            .add("rank", format!("{} of {}", sampler.rank, sampler.world_size))
            .add("minibatches", share)
            .add("fetches", fetches)
            .add(
                "dropped",
                format!("{} cells in this epoch", output::count(self.dropped_obs)),
            )
            .add(
                "padding",
                format!("{} minibatches that repeat others", output::count(self.padding)),
            );
        for (number, shown) in self.first.iter().enumerate() {
            let obs: Vec<String> = shown.obs.iter().map(u64::to_string).collect();
            let more = if shown.n_obs > obs.len() { ", ..." } else { "" };
            let padding = if shown.padding { " (padding)" } else { "" };
            let text = format!("{} cells: {}{more}{padding}", shown.n_obs, obs.join(", "));
            fields = fields.add(format!("minibatch {number}"), text);
        }
        fields.text()
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    let n_obs = store.n_obs();
    let (config, data) = args.sampler.sampler(&store)?;
    let epoch = args.sampler.epoch();
    if let Some(column) = &args.entropy {
        let question = Question {
            column,
            epoch,
            minibatches: args.minibatches,
            block_sizes: &args.block_sizes,
            fetch_factors: &args.fetch_factors,
        };
        return output::print(args.json, &Diversity::new(&store, &config, &data, &question)?);
    }
    let subset = data.subset.as_ref().map(cellring::plan::Subset::len);
    let sampler = Sampler::new(n_obs, config, data)?;
    let plan = sampler.plan(epoch)?;
    if args.json {
        return print_minibatches(&plan, args.minibatches.unwrap_or(u64::MAX));
    }
    let summary = Summary {
        n_obs,
        subset,
        epoch,
        sampler: sampler.config().into(),
        order: order(sampler.config()),
        minibatches: plan.n_minibatches(),
        global_minibatches: plan.n_global_minibatches(),
        fetches: plan.n_fetches(),
        dropped_obs: plan.n_dropped_obs(),
        padding: n_padding(&plan),
        first: first_minibatches(&plan, args.minibatches.unwrap_or(SHOWN_MINIBATCHES)),
    };
    output::print(false, &summary)
}

fn order(sampler: &SamplerConfig) -> String {
    let block = output::count(sampler.block_size);
    match sampler.strategy.arrangement() {
        Arrangement::Blocks => {
            let blocks = sampler.fetch_obs().div_ceil(sampler.block_size);
            format!(
                "blocks of {block} cells, {} blocks in a fetch",
                output::count(blocks)
            )
        }
        Arrangement::DrawnBlocks => format!("draws in blocks of {block} cells"),
        Arrangement::Neighbours(words) | Arrangement::Given(words) => words.to_owned(),
    }
}

/// Padding is at the end of an epoch, in fetches of its own.
fn n_padding(plan: &Plan) -> u64 {
    let of_fetch = |number| {
        let fetch = plan.fetch(number);
        fetch.minibatches.iter().filter(|planned| planned.padding).count() as u64
    };
    let from_the_end = (0..plan.n_fetches()).rev().map(of_fetch);
    from_the_end.take_while(|n| *n > 0).sum()
}

fn first_minibatches(plan: &Plan, most: u64) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut fetch = PlannedFetch::default();
    for number in 0..plan.n_fetches() {
        plan.fetch_into(number, &mut fetch);
        for planned in &fetch.minibatches {
            if shown.len() as u64 == most {
                return shown;
            }
            let obs = &fetch.obs[planned.range.clone()];
            shown.push(Shown {
                n_obs: obs.len(),
                padding: planned.padding,
                obs: obs[..obs.len().min(SHOWN_OBS)].to_vec(),
            });
        }
    }
    shown
}

/// One fetch at a time, so that an epoch of any size takes little memory and begins at once.
fn print_minibatches(plan: &Plan, most: u64) -> Result<(), Failure> {
    let mut lines = Lines::new();
    let mut fetch = PlannedFetch::default();
    let mut minibatch = 0;
    for number in 0..plan.n_fetches() {
        plan.fetch_into(number, &mut fetch);
        for planned in &fetch.minibatches {
            if minibatch == most {
                return lines.finish();
            }
            lines.json(&PlannedLine {
                minibatch,
                global: planned.global,
                padding: planned.padding,
                obs: &fetch.obs[planned.range.clone()],
            })?;
            minibatch += 1;
        }
    }
    lines.finish()
}
