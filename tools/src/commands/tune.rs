//! `cellring tune`: which block size and fetch factor to take, from a short measurement.

use std::path::PathBuf;
use std::time::Duration;

use cellring::buffer::Pool;
use cellring::engine::{Engine, EngineConfig};
use cellring::plan::{Sampler, SamplerConfig, SamplerData, Subset};
use cellring::{LoaderConfig, Store};
use cellring_tools::page_cache::evict;
use clap::value_parser;
use serde::Serialize;

use super::bench::ceiling::{Decoded, decode, extents, slot_bytes};
use super::bench::drive::drive;
use super::bench::raw::{RawConfig, measure};
use super::bench::too_small;
use super::data::SubsetArgs;
use super::labels::Labels;
use super::options::{ReadArgs, StoreArg, parse_seconds};
use crate::failure::Failure;
use crate::output::{self, Fields, Show};

/// What is looked at.
const BLOCK_SIZES: [u64; 6] = [1, 4, 16, 64, 256, 1024];
const FETCH_FACTORS: [u32; 4] = [16, 64, 256, 1024];
const READ_SIZES: [u64; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
/// Minibatches are mixed well with this part of the entropy of true random order.
const WELL_MIXED: f64 = 0.99;
/// Speeds that are closer than this are equal: no short measurement tells them apart.
const AS_FAST: f64 = 0.97;
/// One fetch is decoded while the next is read.
const FETCHES_AT_A_TIME: usize = 2;

/// Recommend a block size and a fetch factor for a store on this machine
///
/// Measures for a few seconds how fast the device reads extents of several sizes and how fast the cores decode, computes
/// from the plan alone how well each choice mixes minibatches, and recommends the fastest choice that mixes well and fits
/// the memory; among equally fast ones the smallest fetch, and true random sampling where it is as fast as any.
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
    /// Length of each of the six measurements in seconds
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

/// One choice, and what is to be expected of it.
#[derive(Clone, Debug, Serialize)]
struct Candidate {
    block_size: u64,
    fetch_factor: u32,
    entropy_bits: f64,
    expected_cells_per_second: f64,
    /// Which is slower: `device` or `cores`.
    bound_by: &'static str,
    mean_read_bytes: u64,
    read_bytes_per_cell: f64,
    /// Read buffers for one fetch that is decoded and one that is read.
    buffer_bytes: usize,
    fits_memory: bool,
    meets_target: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct DeviceSpeed {
    read_bytes: u64,
    bytes_per_second: f64,
    cpu_seconds_per_read: f64,
}

#[derive(Debug, Serialize)]
struct Advice {
    /// Cells that an epoch samples from.
    n_obs: u64,
    block_size: u64,
    batch_size: u32,
    fetch_factor: u32,
    entropy_bits: f64,
    target_entropy_bits: f64,
    random_entropy_bits: f64,
    labels: String,
    expected_cells_per_second: f64,
    /// What a short run with the recommended values gave.
    measured_cells_per_second: f64,
    true_random_cells_per_second: f64,
    true_random_is_as_fast: bool,
    why: String,
    decode_cells_per_second: f64,
    device: Vec<DeviceSpeed>,
    candidates: Vec<Candidate>,
    /// Why the speeds say little; `null` where they do not.
    too_small: Option<String>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    let labels = Labels::new(&store, args.column.as_deref())?;
    let data = SamplerData {
        subset: args.subset.subset(&store)?,
        ..SamplerData::default()
    };
    let n_obs = data.subset.as_ref().map_or(store.n_obs(), Subset::len);
    let sampler = |block_size, fetch_factor| SamplerConfig {
        block_size,
        fetch_factor,
        batch_size: args.batch_size,
        ..SamplerConfig::default()
    };
    let Some(random) = labels.random_entropy(&sampler(1, FETCH_FACTORS[0]), &data, 0)? else {
        return Err(Failure::because(format!(
            "{}: the store has no cells, so there is nothing to tune",
            args.store.path().display()
        )));
    };
    let target = args.target_entropy.unwrap_or(random * WELL_MIXED);
    let engine = args.read.engine()?;
    let threads = args.read.decode_threads();
    let speeds = Speeds {
        device: device_speeds(&args, &store.shard_paths())?,
        decode: decode(&store, threads, args.batch_size, args.seconds)?,
        threads,
    };
    let alignment = alignment(&store, &engine)?;
    let mut candidates = Vec::new();
    for sampler in shapes(n_obs, &sampler) {
        let plan = Sampler::new(store.n_obs(), sampler.clone(), data.clone())?.plan(0)?;
        let fetch = extents(&store, &plan, 0, alignment)?;
        let cells = plan.fetch(0).obs.len().max(1) as f64;
        let entropy_bits = labels.entropy(&sampler, &data, 0)?.unwrap_or(0.0);
        let buffer_bytes = FETCHES_AT_A_TIME * fetch.n_slots * slot_bytes(&store);
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
            buffer_bytes,
            // A quarter of the budget is for decoded minibatches.
            fits_memory: buffer_bytes <= args.read.memory_bytes() / 4 * 3,
            meets_target: entropy_bits >= target,
        });
    }
    let chosen = choose(&candidates, target, random)?;
    let fastest_random = candidates
        .iter()
        .filter(|candidate| candidate.block_size == 1 && candidate.fits_memory)
        .map(|candidate| candidate.expected_cells_per_second)
        .fold(0.0, f64::max);
    evict_all(&store.shard_paths())?;
    let config = LoaderConfig {
        data,
        ..args
            .read
            .loader(sampler(chosen.block_size, chosen.fetch_factor))?
    };
    let measured = drive(&store, config, 0, args.seconds)?;
    let is_as_fast = fastest_random >= AS_FAST * chosen.expected_cells_per_second;
    let fetch_obs = sampler(chosen.block_size, chosen.fetch_factor).fetch_obs();
    let advice = Advice {
        too_small: too_small(n_obs, fetch_obs),
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
        decode_cells_per_second: speeds.decode.cells_per_second,
        device: speeds.device,
        candidates,
    };
    if let Some(warning) = &advice.too_small {
        output::warning(warning);
    }
    output::print(args.json, &advice)
}

/// The choices for so many cells: fetches of several sizes, none larger than all of them, and blocks that are no larger either.
fn shapes(n_obs: u64, sampler: &dyn Fn(u64, u32) -> SamplerConfig) -> Vec<SamplerConfig> {
    let batch_size = u64::from(sampler(1, 1).batch_size);
    let most = u32::try_from((n_obs / batch_size).max(1)).unwrap_or(u32::MAX);
    // The largest that there can be takes the place of the first that is too large.
    let mut factors: Vec<u32> = FETCH_FACTORS.into_iter().map(|factor| factor.min(most)).collect();
    factors.dedup();
    let fitting = || {
        BLOCK_SIZES
            .into_iter()
            .filter(|&block_size| block_size <= n_obs.max(1))
    };
    factors
        .into_iter()
        .flat_map(|factor| fitting().map(move |block_size| (block_size, factor)))
        .map(|(block_size, factor)| sampler(block_size, factor))
        .collect()
}

/// The fastest choice that mixes well and fits; of equally fast ones block size 1, or else the smallest fetch with the
/// largest blocks.
fn choose(candidates: &[Candidate], target: f64, random: f64) -> Result<Candidate, Failure> {
    let mixed = || candidates.iter().filter(|candidate| candidate.meets_target);
    let fit = || mixed().filter(|candidate| candidate.fits_memory);
    let fastest = fit()
        .map(|candidate| candidate.expected_cells_per_second)
        .fold(0.0, f64::max);
    let as_fast = fit().filter(|candidate| candidate.expected_cells_per_second >= AS_FAST * fastest);
    let best = as_fast.min_by_key(|candidate| {
        (
            candidate.block_size != 1,
            candidate.fetch_factor,
            std::cmp::Reverse(candidate.block_size),
        )
    });
    if let Some(best) = best {
        return Ok(best.clone());
    }
    Err(match mixed().map(|candidate| candidate.buffer_bytes).min() {
        Some(buffer_bytes) => Failure::because(format!(
            "every choice that reaches {target:.2} bits needs more memory than given; raise --memory to {} or lower \
             --target-entropy",
            output::bytes((buffer_bytes as u64).div_ceil(3) * 4)
        )),
        None => Failure::because(format!(
            "no sampling reaches {target:.2} bits: true random sampling has {random:.2} with this batch size; lower \
             --target-entropy or raise --batch-size"
        )),
    })
}

fn why(
    chosen: &Candidate,
    target: f64,
    random: f64,
    labels: &str,
    random_speed: f64,
    is_as_fast: bool,
) -> String {
    let mixed = format!(
        "Its minibatches have an entropy of {:.2} bits over {labels}; the target is {target:.2}, true random sampling has \
         {random:.2}",
        chosen.entropy_bits
    );
    let bound = match chosen.bound_by {
        "device" => format!(
            "the device, with reads of {} on average",
            output::bytes(chosen.mean_read_bytes)
        ),
        _ => "decoding on all cores".to_owned(),
    };
    let speed = format!(
        "Expect about {} cells/s, limited by {bound}",
        output::count(chosen.expected_cells_per_second as u64)
    );
    let random = match (chosen.block_size, is_as_fast) {
        (1, _) => "True random sampling is as fast here as sampling in larger blocks, which gains nothing"
            .to_owned(),
        (_, true) => format!(
            "True random sampling, with {} cells/s, would be as fast",
            output::count(random_speed as u64)
        ),
        _ => format!(
            "True random sampling would give {}",
            output::count(random_speed as u64)
        ),
    };
    format!(
        "{mixed}. {speed}; {} of read buffers hold two fetches. {random}.",
        output::bytes(chosen.buffer_bytes as u64)
    )
}

/// What the machine can do.
#[derive(Debug)]
struct Speeds {
    device: Vec<DeviceSpeed>,
    decode: Decoded,
    threads: usize,
}

impl Speeds {
    /// Cells per second and what bounds them, if a cell takes so many bytes in so many reads.
    ///
    /// The device does `rate(bytes / reads) / bytes`. The cores do `threads / (c + r * reads)`, where `c` and `r` are the
    /// CPU time to decode a cell and to read once.
    fn expected(&self, bytes_per_cell: f64, reads_per_cell: f64) -> (f64, &'static str) {
        let (rate, cpu_per_read) = self.reading(bytes_per_cell / reads_per_cell.max(f64::MIN_POSITIVE));
        let by_device = rate / bytes_per_cell.max(1.0);
        let cpu_per_cell = self.decode.cpu_seconds_per_cell + cpu_per_read * reads_per_cell;
        let by_cores = self.threads as f64 / cpu_per_cell.max(f64::MIN_POSITIVE);
        if by_device <= by_cores {
            (by_device, "device")
        } else {
            (by_cores, "cores")
        }
    }

    /// Bytes per second, and CPU seconds for each read, at a read size: between the measured sizes along the logarithm of
    /// the size; below them the reads per second stay the same, above them the bytes per second.
    fn reading(&self, read_bytes: f64) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.device.first(), self.device.last()) else {
            return (f64::INFINITY, 0.0);
        };
        let size = |speed: &DeviceSpeed| speed.read_bytes as f64;
        if read_bytes <= size(first) {
            return (
                first.bytes_per_second * read_bytes / size(first),
                first.cpu_seconds_per_read,
            );
        }
        for pair in self.device.windows(2) {
            let (low, high) = (&pair[0], &pair[1]);
            if read_bytes <= size(high) {
                let part = (read_bytes / size(low)).ln() / (size(high) / size(low)).ln();
                let between = |low: f64, high: f64| low + part * (high - low);
                return (
                    between(low.bytes_per_second, high.bytes_per_second),
                    between(low.cpu_seconds_per_read, high.cpu_seconds_per_read),
                );
            }
        }
        (
            last.bytes_per_second,
            last.cpu_seconds_per_read * read_bytes / size(last),
        )
    }
}

fn device_speeds(args: &Args, paths: &[PathBuf]) -> Result<Vec<DeviceSpeed>, Failure> {
    let mut longest = 0;
    for path in paths {
        longest = longest.max(std::fs::metadata(path)?.len());
    }
    let mut speeds = Vec::new();
    for read_bytes in READ_SIZES.into_iter().filter(|&bytes| bytes <= longest) {
        evict_all(paths)?;
        let config = RawConfig {
            backend: args.read.backend(),
            direct: args.read.direct(),
            read_bytes,
            depth: args.read.depth(),
            time: args.seconds,
            seed: 0,
            once: true,
        };
        let raw = measure(paths, &config)?;
        speeds.push(DeviceSpeed {
            read_bytes,
            bytes_per_second: raw.bytes_per_second,
            cpu_seconds_per_read: raw.cpu_seconds / raw.reads.max(1) as f64,
        });
    }
    Ok(speeds)
}

/// What reads of the store must be multiples of.
fn alignment(store: &Store, config: &EngineConfig) -> Result<u32, Failure> {
    let engine = Engine::start(&store.shard_paths(), &Pool::new(1, 4096)?, config, |_| ())?;
    Ok(engine.alignment())
}

fn evict_all(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        evict(path)?;
    }
    Ok(())
}

impl Show for Advice {
    fn text(&self) -> String {
        let heading = format!(
            "--block-size {} --batch-size {} --fetch-factor {}",
            self.block_size, self.batch_size, self.fetch_factor
        );
        let measured = format!(
            "{} cells/s in a short run",
            output::count(self.measured_cells_per_second as u64)
        );
        let fields = Fields::new(heading)
            .add("why", &self.why)
            .add("measured", measured);
        let header = [
            "block size",
            "fetch factor",
            "entropy",
            "cells/s",
            "bound by",
            "buffers",
            "",
        ];
        let row = |candidate: &Candidate| {
            let remark = match (candidate.meets_target, candidate.fits_memory) {
                (true, true) => "",
                (false, _) => "mixes too little",
                (true, false) => "too much memory",
            };
            vec![
                output::count(candidate.block_size),
                output::count(candidate.fetch_factor.into()),
                format!("{:.2}", candidate.entropy_bits),
                output::count(candidate.expected_cells_per_second as u64),
                candidate.bound_by.to_owned(),
                output::bytes(candidate.buffer_bytes as u64),
                remark.to_owned(),
            ]
        };
        let rows: Vec<_> = self.candidates.iter().map(row).collect();
        format!("{}\n{}", fields.text(), output::table(&header, &rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(block_size: u64, fetch_factor: u32, bits: f64, speed: f64, fits: bool) -> Candidate {
        Candidate {
            block_size,
            fetch_factor,
            entropy_bits: bits,
            expected_cells_per_second: speed,
            bound_by: "device",
            mean_read_bytes: 1,
            read_bytes_per_cell: 1.0,
            buffer_bytes: 300,
            fits_memory: fits,
            meets_target: bits >= 3.5,
        }
    }

    #[test]
    fn the_fastest_that_mixes_and_fits_is_chosen() {
        let chosen = |candidates: &[Candidate]| {
            let chosen = choose(candidates, 3.5, 3.6).unwrap();
            (chosen.block_size, chosen.fetch_factor)
        };
        let mut all = vec![
            candidate(1, 16, 3.6, 50.0, true),
            candidate(16, 64, 3.5, 99.0, true),
            candidate(16, 256, 3.6, 99.5, true),
            candidate(64, 64, 3.4, 200.0, true),
            candidate(64, 1024, 3.6, 200.0, false),
        ];
        assert_eq!(chosen(&all), (16, 64), "the smaller fetch of two equal ones");
        all.push(candidate(64, 64, 3.55, 98.0, true));
        assert_eq!(chosen(&all), (64, 64), "the larger block of two equal fetches");
        all[0].expected_cells_per_second = 97.0;
        assert_eq!(chosen(&all), (1, 16), "true random where it is as fast");
    }

    #[test]
    fn no_fetch_is_larger_than_what_there_is() {
        let sampler = |block_size, fetch_factor| SamplerConfig {
            block_size,
            fetch_factor,
            ..SamplerConfig::default()
        };
        for n_obs in [0, 1, 63, 64, 500, 1023, 1024, 5000, 20_000, 10_000_000] {
            let shapes = shapes(n_obs, &sampler);
            assert!(!shapes.is_empty(), "{n_obs}");
            for shape in &shapes {
                let is_one = shape.fetch_factor == 1;
                assert!(shape.fetch_obs() <= n_obs || is_one, "{n_obs}: {shape:?}");
                assert!(shape.block_size <= n_obs.max(1), "{n_obs}: {shape:?}");
            }
        }
        let factors = |n_obs| {
            let mut factors: Vec<u32> = shapes(n_obs, &sampler)
                .iter()
                .map(|shape| shape.fetch_factor)
                .collect();
            factors.dedup();
            factors
        };
        assert_eq!(factors(5000), [16, 64, 78]);
        assert_eq!(factors(10_000_000), FETCH_FACTORS);
    }

    #[test]
    fn where_nothing_fits_it_says_what_to_change() {
        let too_large = [
            candidate(1, 16, 3.6, 1.0, false),
            candidate(4, 16, 3.0, 1.0, true),
        ];
        let message = choose(&too_large, 3.5, 3.6).unwrap_err().to_string();
        assert!(message.contains("raise --memory to 400 bytes"), "{message}");
        let message = choose(&too_large[1..], 3.5, 3.2).unwrap_err().to_string();
        assert!(message.contains("true random sampling has 3.20"), "{message}");
    }

    #[test]
    fn speeds_follow_the_model() {
        let speed = |read_bytes, bytes_per_second| DeviceSpeed {
            read_bytes,
            bytes_per_second,
            cpu_seconds_per_read: 1e-6,
        };
        let speeds = Speeds {
            device: vec![speed(4096, 4e8), speed(16384, 8e8)],
            decode: Decoded {
                cells_per_second: 4e5,
                nnz_per_second: 0.0,
                cpu_seconds_per_cell: 5e-6,
            },
            threads: 2,
        };
        // Half the size, half the rate; twice the logarithm of the way, the middle; above, no faster.
        let rates = [2048.0, 4096.0, 8192.0, 16384.0, 65536.0].map(|bytes| speeds.reading(bytes).0);
        for (rate, expected) in rates.into_iter().zip([2e8, 4e8, 6e8, 8e8, 8e8]) {
            assert!((rate / expected - 1.0f64).abs() < 1e-9, "{rates:?}");
        }
        // One read of 4,096 bytes for a cell: 4e8 / 4096 by the device; for 1,000 bytes in a sixteenth of a read, the
        // cores with 2 / (5e-6 + 1e-6 / 16).
        let (cells, bound_by) = speeds.expected(4096.0, 1.0);
        assert!((cells - 97_656.25).abs() < 0.1 && bound_by == "device");
        let (cells, bound_by) = speeds.expected(1000.0, 1.0 / 16.0);
        assert!((cells - 395_061.7).abs() < 0.1 && bound_by == "cores", "{cells}");
    }
}
