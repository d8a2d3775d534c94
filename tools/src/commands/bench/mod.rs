//! `cellring bench`: the loader beside what the device gives.

mod device;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use cellring::engine::{Backend, Direct, cached_fraction};
use cellring_tools::page_cache::evict;
use clap::value_parser;

use super::options::{OrderArgs, ReadArgs, StoreArg, parse_seconds};
use crate::failure::Failure;
use crate::measure::{Limits, Run, fallback};
use crate::process::peak_rss_bytes;
use crate::{output, progress};
use device::ceiling;
use report::{Report, Row};

/// Up to this part of the shards in the page cache, data counts as cold.
const COLD: f64 = 0.05;

/// Measure the loader at several block sizes, and the device with the same reads and no decoding
///
/// For each block size the loader runs first; then the same engine reads extents of the mean size of the loader's reads at
/// random places, without decoding: the ceiling. Before each run the shards are dropped from the page cache.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Length of each run in seconds
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Block sizes to measure
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16,64,256", value_parser = value_parser!(u64).range(1..))]
    block_size: Vec<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    let samplers = args
        .block_size
        .iter()
        .map(|&block_size| args.order.config(block_size, store.n_obs()))
        .collect::<Result<Vec<_>, _>>()?;
    let paths = store.shard_paths();
    let bar = progress::bar("measuring", 2 * samplers.len() as u64, "runs");
    let silent = indicatif::ProgressBar::hidden();
    let mut rows = Vec::with_capacity(samplers.len());
    let mut choice = None;
    for sampler in samplers {
        let (block_size, seed) = (sampler.block_size, sampler.seed);
        let cached = drop_page_cache(&paths)?;
        let run = Run::start(&store, args.read.loader(sampler))?;
        if run.n_minibatches()? == 0 {
            return Err(Failure::because(format!(
                "{}: this rank gets no minibatch, so there is nothing to measure; use other sampler options",
                args.store.path().display()
            )));
        }
        // The device is to be read as the loader did, whatever `auto` would choose by now.
        let way = choice.get_or_insert_with(|| run.choice().clone()).way;
        if rows.is_empty()
            && let Some(warning) = fallback(run.choice())
        {
            output::warning(&warning);
        }
        let limits = Limits {
            epoch: args.order.epoch(),
            time: Some(args.seconds),
            digest: false,
        };
        let loader = run.drive(&limits, &silent)?;
        bar.inc(1);
        drop_page_cache(&paths)?;
        let mut engine = args.read.engine();
        (engine.backend, engine.direct) = (way.backend, direct(way.direct, way.backend));
        let read_bytes = loader.engine.bytes / loader.engine.reads.max(1);
        let device = ceiling(&paths, &engine, read_bytes, args.seconds, seed)?;
        bar.inc(1);
        // Through the page cache, what has been read once is not read from the device again.
        let once = way.direct || loader.epochs == 1;
        let cold = cached.map(|fraction| fraction < COLD && once);
        rows.push(Row::new(block_size, &loader, device, cached, cold));
    }
    bar.finish_and_clear();
    let report = Report {
        n_obs: store.n_obs(),
        n_vars: store.n_vars(),
        nnz: store.manifest().nnz,
        bytes: store.total_bytes(),
        seconds_per_run: args.seconds.as_secs_f64(),
        backend: choice.as_ref().map(|choice| choice.way.backend.to_string()),
        direct: choice.as_ref().map(|choice| choice.way.direct),
        reason: choice.map(|choice| choice.reason),
        cold: rows
            .iter()
            .map(|row| row.cold)
            .reduce(|a, b| Some(a? && b?))
            .flatten(),
        peak_rss_bytes: peak_rss_bytes(),
        runs: rows,
    };
    output::print(args.json, &report)
}

fn direct(direct: bool, backend: Backend) -> Direct {
    match (direct, backend) {
        (true, _) => Direct::On,
        (false, Backend::Mmap) => Direct::Auto,
        (false, _) => Direct::Off,
    }
}

/// Drops the files from the page cache as far as the kernel does it, and returns which part of them is still there: the
/// largest, and `None` where the kernel does not tell.
fn drop_page_cache(paths: &[PathBuf]) -> Result<Option<f64>, Failure> {
    let mut largest = Some(0.0_f64);
    for path in paths {
        evict(path).map_err(|error| {
            Failure::because(format!(
                "{}: cannot be dropped from the page cache: {error}",
                path.display()
            ))
        })?;
        let fraction = cached_fraction(path).ok();
        largest = largest.zip(fraction).map(|(a, b)| a.max(b));
    }
    Ok(largest)
}
