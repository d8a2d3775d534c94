//! `cellring tune`: which block size and fetch factor to take, from a short measurement.

mod advice;
mod candidate;
mod linked;
mod speeds;

use std::time::Duration;

use cellring::Store;
use cellring::plan::{Sampler, SamplerConfig, SamplerData, Subset};
use clap::value_parser;

use crate::bench::ceiling::{decode, extents, slot_bytes};
use crate::bench::drive::drive;
use crate::bench::too_small;
use crate::chunks::Chunks;
use crate::diversity::Labels;
use crate::failure::Failure;
use crate::options::{ReadArgs, StoreArg, SubsetArgs, parse_seconds};
use crate::output;
use advice::{Advice, why};
use candidate::{AS_FAST, Candidate, FETCH_FACTORS, FETCHES_AT_A_TIME, choose, shapes};
use linked::Question;
use speeds::{Speeds, alignment, device_speeds, evict_all};

/// Minibatches are mixed well with this part of the entropy of true random order.
const WELL_MIXED: f64 = 0.99;

/// Recommend a block size and a fetch factor for a store on this machine
///
/// Measures for a few seconds how fast the device reads extents of several sizes and how fast the cores decode, computes
/// from the plan alone how well each choice mixes minibatches, and recommends the fastest choice that mixes well and fits
/// the memory; among equally fast ones the smallest fetch, and true random sampling where it is as fast as any.
///
/// The speed of a linked store depends on the chunks of its file: each choice that mixes well and fits the memory is measured in a
/// short run, and the report says which block size suits the chunks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Entropy that minibatches must have on average, in bits [default: 99 % of true random sampling]
    #[arg(long, value_name = "BITS", value_parser = parse_bits)]
    target_entropy: Option<f64>,
    /// Obs column whose mixture counts [default: 64 equal stretches of the store]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Cells in a minibatch
    #[arg(long, value_name = "N", default_value_t = SamplerConfig::default().batch_size, value_parser = value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Length in seconds of each of the six measurements; for a linked store, of the run of each choice
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subset: SubsetArgs,
    #[command(flatten)]
    read: ReadArgs,
}

fn parse_bits(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bits) if bits >= 0.0 && bits.is_finite() => Ok(bits),
        _ => Err(format!("{text:?} is not an entropy: give bits, such as 3.5")),
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    let labels = Labels::new(&store, args.column.as_deref())?;
    let data = SamplerData::default().subset(args.subset.subset(&store)?);
    let n_obs = data.subset.as_ref().map_or(store.n_obs(), Subset::len);
    let sampler = |block_size, fetch_factor| {
        SamplerConfig::default()
            .block_size(block_size)
            .fetch_factor(fetch_factor)
            .batch_size(args.batch_size)
    };
    let Some(random) = labels.random_entropy(&sampler(1, FETCH_FACTORS[0]), &data, 0)? else {
        return Err(Failure::because(format!(
            "{}: the store has no cells, so there is nothing to tune",
            args.store.path().display()
        )));
    };
    let target = args.target_entropy.unwrap_or(random * WELL_MIXED);
    let shapes = shapes(n_obs, &sampler);
    let (candidates, speeds) = match store.is_linked() {
        true => {
            let question = Question {
                store: &store,
                labels: &labels,
                data: &data,
                read: &args.read,
                time: args.seconds,
                target,
            };
            (linked::candidates(&question, shapes)?, None)
        }
        false => {
            let (candidates, speeds) = of_blocks(&args, &store, &labels, &data, target, shapes)?;
            (candidates, Some(speeds))
        }
    };
    let chosen = choose(&candidates, target, random)?;
    let fastest_random = candidates
        .iter()
        .filter(|candidate| candidate.block_size == 1 && candidate.fits_memory)
        .map(|candidate| candidate.expected_cells_per_second)
        .fold(0.0, f64::max);
    evict_all(&store.shard_paths())?;
    let recommended = sampler(chosen.block_size, chosen.fetch_factor);
    let plan = Sampler::new(store.n_obs(), recommended.clone(), data.clone())?.plan(0)?;
    let chunks = Chunks::in_first_fetch(&store, &plan)?;
    let config = args.read.loader(recommended.clone())?.data(data);
    let measured = drive(&store, config, 0, args.seconds)?;
    let is_as_fast = fastest_random >= AS_FAST * chosen.expected_cells_per_second;
    let advice = Advice {
        too_small: too_small(n_obs, recommended.fetch_obs()),
        n_obs,
        why: why(
            &chosen,
            target,
            random,
            &labels.what(),
            fastest_random,
            is_as_fast,
        ),
        block_size: chosen.block_size,
        batch_size: args.batch_size,
        fetch_factor: chosen.fetch_factor,
        entropy_bits: chosen.entropy_bits,
        target_entropy_bits: target,
        random_entropy_bits: random,
        labels: labels.what(),
        expected_cells_per_second: chosen.expected_cells_per_second,
        measured_cells_per_second: measured
            .map_or(0.0, |run| run.cells as f64 / run.seconds.max(f64::MIN_POSITIVE)),
        true_random_cells_per_second: fastest_random,
        true_random_is_as_fast: is_as_fast,
        decode_cells_per_second: speeds.as_ref().map(|speeds| speeds.decode.cells_per_second),
        device: speeds.map_or_else(Vec::new, |speeds| speeds.device),
        chunks,
        candidates,
    };
    if let Some(warning) = &advice.too_small {
        output::warning(warning);
    }
    output::print(args.json, &advice)
}

/// The choices of a store that holds its values, from the speeds of the device and the cores.
fn of_blocks(
    args: &Args,
    store: &Store,
    labels: &Labels,
    data: &SamplerData,
    target: f64,
    shapes: Vec<SamplerConfig>,
) -> Result<(Vec<Candidate>, Speeds), Failure> {
    let engine = args.read.engine()?;
    let threads = args.read.decode_threads();
    let speeds = Speeds {
        device: device_speeds(&args.read, args.seconds, &store.shard_paths())?,
        decode: decode(store, threads, args.batch_size, args.seconds)?,
        threads,
    };
    let alignment = alignment(store, &engine)?;
    let mut candidates = Vec::new();
    for sampler in shapes {
        let plan = Sampler::new(store.n_obs(), sampler.clone(), data.clone())?.plan(0)?;
        let fetch = extents(store, &plan, 0, alignment)?;
        let cells = plan.fetch(0).obs.len().max(1) as f64;
        let entropy_bits = labels.entropy(&sampler, data, 0)?.unwrap_or(0.0);
        let buffer_bytes = FETCHES_AT_A_TIME * fetch.n_slots * slot_bytes(store);
        let (read_bytes, reads) = (fetch.read_bytes(), fetch.reads.len().max(1) as u64);
        let (expected_cells_per_second, bound_by) =
            speeds.expected(read_bytes as f64 / cells, reads as f64 / cells);
        candidates.push(Candidate {
            block_size: sampler.block_size,
            fetch_factor: sampler.fetch_factor,
            entropy_bits,
            expected_cells_per_second,
            bound_by,
            mean_read_bytes: read_bytes / reads,
            read_bytes_per_cell: read_bytes as f64 / cells,
            decoded_per_value: None,
            buffer_bytes,
            // A quarter of the budget is for decoded minibatches.
            fits_memory: buffer_bytes <= args.read.memory_bytes() / 4 * 3,
            meets_target: entropy_bits >= target,
        });
    }
    Ok((candidates, speeds))
}
