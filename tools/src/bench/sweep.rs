//! All runs on a store: the loader at several shapes beside its ceilings, and every backend alone.

use std::path::PathBuf;
use std::sync::Arc;

use cellring::Store;
use cellring::engine::{Backend, Direct};
use cellring::plan::{SamplerConfig, SamplerData};
use indicatif::ProgressBar;

use super::ceiling::{decode, replay};
use super::conversion::{self, Conversion};
use super::drive::drive;
use super::page_cache::drop_page_cache;
use super::raw::{Raw, RawConfig, measure};
use super::report::{Report, Row, Shape, Unavailable};
use super::request::{Request, direct};
use super::too_small::too_small;
use crate::diversity::Labels;
use crate::failure::Failure;
use crate::measure::fallback;
use crate::options::BackendName;
use crate::usage::peak_rss_bytes;
use crate::{output, progress};

/// Up to this part of the shards in the page cache, data counts as cold.
const COLD: f64 = 0.05;
/// Fetch factors of a report besides the one asked for.
const REPORT_FETCH_FACTORS: [u32; 2] = [16, 64];
/// What every backend reads for a report.
const READ_SIZES: [u64; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const DEPTHS: [u32; 3] = [4, 32, 128];

pub(crate) fn run(request: &Request) -> Result<Report, Failure> {
    let store = request.store.open()?;
    let paths = store.shard_paths();
    let labels = Labels::new(&store, request.column.as_deref())?;
    let samplers = samplers(request, &store)?;
    let ceilings = match request.every_backend {
        true => 5 * READ_SIZES.len() * DEPTHS.len(),
        false => 0,
    };
    let bar = progress::bar("measuring", (2 * samplers.len() + 1 + ceilings) as u64, "runs");
    let mut rows = Vec::with_capacity(samplers.len());
    let (mut choice, mut decoded) = (None, None);
    for sampler in &samplers {
        let shape = Shape {
            block_size: sampler.block_size,
            batch_size: sampler.batch_size,
            fetch_factor: sampler.fetch_factor,
        };
        let config = request.read.loader(sampler.clone())?;
        let cached = drop_page_cache(&paths)?;
        let Some(loader) = drive(&store, config, request.order.epoch(), request.seconds)? else {
            return Err(Failure::because(format!(
                "{}: this rank gets no minibatch, so there is nothing to measure; use other sampler options",
                request.store.path().display()
            )));
        };
        bar.inc(1);
        if rows.is_empty()
            && let Some(warning) = fallback(&loader.choice)
        {
            output::warning(&warning);
        }
        // The device is to be read as the loader did, whatever `auto` would choose by now.
        let way = choice.get_or_insert_with(|| loader.choice.clone()).method;
        drop_page_cache(&paths)?;
        let mut engine = request.read.engine()?;
        (engine.backend, engine.direct) = (way.backend, direct(way.direct, way.backend));
        let memory_bytes = request.read.memory_bytes();
        let device = replay(
            &store,
            sampler,
            &engine,
            memory_bytes,
            request.order.epoch(),
            request.seconds,
        )?;
        bar.inc(1);
        if decoded.is_none() && !store.is_linked() {
            decoded = Some(decode(
                &store,
                loader.threads,
                sampler.batch_size,
                request.seconds,
            )?);
        }
        let mut row = Row::new(shape, &loader, &device, decoded.as_ref());
        row.entropy_bits = labels.entropy(sampler, &SamplerData::default(), request.order.epoch())?;
        // Through the page cache, what has been read once is not read from the device again.
        let once = way.direct || loader.epochs == 1;
        (row.cached_before, row.cold) = (cached, cached.map(|fraction| fraction < COLD && once));
        rows.push(row);
    }
    bar.inc(1);
    let (mut raws, mut unavailable) = (Vec::new(), Vec::new());
    if ceilings > 0 {
        (raws, unavailable) = every_backend(request, &paths, &bar)?;
    }
    bar.finish_and_clear();
    let converted = match store.is_linked() {
        true => Some(of_fastest(request, &store, &samplers, &rows)?),
        false => None,
    };
    let random_entropy_bits = match samplers.first() {
        Some(sampler) => labels.random_entropy(sampler, &SamplerData::default(), request.order.epoch())?,
        None => None,
    };
    let largest = samplers.iter().map(|sampler| sampler.fetch_obs()).max();
    let manifest = store.manifest();
    Ok(Report {
        too_small: too_small(store.n_obs(), largest.unwrap_or(0)),
        store: request.store.path().display().to_string(),
        n_obs: store.n_obs(),
        n_vars: store.n_vars(),
        nnz: manifest.nnz,
        encoding: manifest.encoding.name(),
        bytes: store.total_bytes(),
        matrix_bytes: store.matrix_bytes(),
        seconds_per_run: request.seconds.as_secs_f64(),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
        cpu: cpu_model(),
        kernel: line_of("/proc/sys/kernel/osrelease"),
        backend: choice.as_ref().map(|choice| choice.method.backend.to_string()),
        direct: choice.as_ref().map(|choice| choice.method.direct),
        reason: choice.map(|choice| choice.reason),
        cold: rows
            .iter()
            .map(|row| row.cold)
            .reduce(|a, b| Some(a? && b?))
            .flatten(),
        peak_rss_bytes: peak_rss_bytes(),
        column: labels.column().map(str::to_owned),
        labels: labels.what(),
        random_entropy_bits,
        decode_cells_per_second: decoded.map(|decode| decode.cells_per_second),
        decode_nnz_per_second: decoded.map(|decode| decode.nnz_per_second),
        chunk_values: store.chunk_values(),
        converted,
        runs: rows,
        ceilings: raws,
        unavailable,
    })
}

/// What converting would bring, in the order of the fastest run.
fn of_fastest(
    request: &Request,
    store: &Arc<Store>,
    samplers: &[SamplerConfig],
    rows: &[Row],
) -> Result<Conversion, Failure> {
    let runs = samplers.iter().zip(rows);
    let fastest = runs.max_by(|(_, a), (_, b)| a.cells_per_second.total_cmp(&b.cells_per_second));
    let sampler = fastest.map_or_else(SamplerConfig::default, |(sampler, _)| sampler.clone());
    let config = |sampler| request.read.loader(sampler);
    let root = request.store.source_root();
    conversion::measure(store, root.as_deref(), &sampler, &config, request.seconds)
}

/// Every fetch factor with every block size.
fn samplers(request: &Request, store: &Arc<Store>) -> Result<Vec<SamplerConfig>, Failure> {
    let mut samplers = Vec::new();
    for &block_size in &request.block_sizes {
        samplers.push(request.order.config(block_size, store.n_obs())?);
    }
    let mut factors = request.fetch_factors.clone();
    if let (true, Some(first)) = (factors.is_empty(), samplers.first()) {
        factors.push(first.fetch_factor);
        if request.every_backend {
            factors.extend(
                REPORT_FETCH_FACTORS
                    .iter()
                    .filter(|&&factor| factor < first.fetch_factor),
            );
        }
    }
    factors.sort_unstable();
    factors.dedup();
    let mut all = Vec::with_capacity(factors.len() * samplers.len());
    for fetch_factor in factors {
        for sampler in &samplers {
            let mut sampler = sampler.clone();
            sampler.fetch_factor = fetch_factor;
            sampler
                .validate(store.n_obs())
                .map_err(|error| Failure::Usage(error.to_string()))?;
            all.push(sampler);
        }
    }
    Ok(all)
}

/// Random reads from the shards by every backend, read size and depth. A backend that is not available is named instead.
fn every_backend(
    request: &Request,
    paths: &[PathBuf],
    bar: &ProgressBar,
) -> Result<(Vec<Raw>, Vec<Unavailable>), Failure> {
    let (mut raws, mut unavailable) = (Vec::new(), Vec::new());
    let mut longest = 0;
    for path in paths {
        longest = longest.max(std::fs::metadata(path)?.len());
    }
    let backends = [
        (BackendName::Engine(Backend::Uring), Direct::On),
        (BackendName::PlainUring, Direct::On),
        (BackendName::TokioUring, Direct::On),
        (BackendName::Engine(Backend::Pread), Direct::On),
        (BackendName::Engine(Backend::Mmap), Direct::Auto),
    ];
    'backends: for (backend, direct) in backends {
        let mut direct = direct;
        for read_bytes in READ_SIZES.into_iter().filter(|&bytes| bytes <= longest) {
            for depth in DEPTHS {
                let attempt = |direct| {
                    drop_page_cache(paths)?;
                    let config = RawConfig {
                        backend,
                        direct,
                        read_bytes,
                        depth: Some(depth),
                        time: request.seconds,
                        seed: request.order.seed(),
                        once: true,
                    };
                    measure(paths, &config)
                };
                let result = match attempt(direct) {
                    // Some filesystems know no direct I/O.
                    Err(_) if direct == Direct::On => {
                        direct = Direct::Off;
                        attempt(direct)
                    }
                    result => result,
                };
                bar.inc(1);
                match result {
                    Ok(raw) => raws.push(raw),
                    Err(failure) => {
                        unavailable.push(Unavailable {
                            backend: backend.to_string(),
                            reason: failure.to_string(),
                        });
                        continue 'backends;
                    }
                }
            }
        }
    }
    Ok((raws, unavailable))
}

fn line_of(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
