//! `cellring plan`: which cells an epoch delivers, in which order.

use cellring::plan::{Fetch, Plan, SamplerConfig};
use serde::Serialize;

use super::options::{SamplerArgs, StoreArg};
use crate::failure::Failure;
use crate::output::{self, Fields, Lines, Show};

/// Show the minibatches of an epoch without reading cells
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    #[command(flatten)]
    sampler: SamplerArgs,
    /// Print a line of JSON for each minibatch: its number on this rank and in the whole epoch, and its obs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct PlannedLine<'a> {
    minibatch: u64,
    global: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    padding: bool,
    obs: &'a [u64],
}

#[derive(Debug, Serialize)]
struct Summary {
    n_obs: u64,
    epoch: u64,
    sampler: SamplerConfig,
    minibatches: u64,
    global_minibatches: u64,
    fetches: u64,
    dropped_obs: u64,
}

impl Show for Summary {
    fn text(&self) -> String {
        let sampler = &self.sampler;
        let order = match sampler.strategy {
            cellring::plan::Strategy::BlockShuffle => {
                let blocks = sampler.fetch_obs().div_ceil(sampler.block_size);
                let drawn = format!("blocks of {} cells", output::count(sampler.block_size));
                format!("{drawn}, {} blocks in a fetch", output::count(blocks))
            }
            _ => "storage order".to_owned(),
        };
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
        Fields::new(heading)
            .add("order", order)
            .add("seed", sampler.seed.to_string())
            .add("rank", format!("{} of {}", sampler.rank, sampler.world_size))
            .add("minibatches", share)
            .add("fetches", fetches)
            .add(
                "dropped",
                format!("{} cells in this epoch", output::count(self.dropped_obs)),
            )
            .text()
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let n_obs = args.store.open()?.n_obs();
    let sampler = args.sampler.config(n_obs)?;
    let epoch = args.sampler.epoch();
    let plan = Plan::new(n_obs, &sampler, epoch)?;
    if args.json {
        return print_minibatches(&plan);
    }
    let summary = Summary {
        n_obs,
        epoch,
        sampler,
        minibatches: plan.n_minibatches(),
        global_minibatches: plan.n_global_minibatches(),
        fetches: plan.n_fetches(),
        dropped_obs: plan.n_dropped_obs(),
    };
    output::print(false, &summary)
}

/// One fetch at a time, so that an epoch of any size takes little memory and begins at once.
fn print_minibatches(plan: &Plan) -> Result<(), Failure> {
    let mut lines = Lines::new();
    let mut fetch = Fetch::default();
    let mut minibatch = 0;
    for number in 0..plan.n_fetches() {
        plan.fetch_into(number, &mut fetch);
        for planned in &fetch.minibatches {
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
