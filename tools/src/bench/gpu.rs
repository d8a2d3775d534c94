//! `cellring bench --gpu`: copies to a GPU, and cells from the device to CSR there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cellring::gpu::{Feed, Gpu, HostBuffer, Stager, StagerConfig};
use cellring::plan::SamplerConfig;
use cellring::{Loader, Store};
use serde::Serialize;

use super::ceiling::{decode, replay};
use super::page_cache::drop_page_cache;
use super::request::{Request, direct};
use crate::failure::Failure;
use crate::output::{self, Fields, Show};

/// Bytes of the copies that are measured alone.
const COPY_BYTES: [usize; 3] = [1 << 20, 4 << 20, 16 << 20];

/// What `bench --gpu` says of a store.
#[derive(Debug, Serialize)]
pub(crate) struct GpuReport {
    store: String,
    gpu: String,
    seconds_per_run: f64,
    /// Host memory that was page-locked while the loader ran.
    pinned_bytes: u64,
    /// Why some memory was not; `null` where all of it was.
    degraded: Option<String>,
    copies: Vec<Copies>,
    runs: Vec<Timing>,
}

/// Copies of one length from the host to the device, with nothing else to do.
#[derive(Debug, Serialize)]
struct Copies {
    copy_bytes: u64,
    /// From page-locked memory; `null` if there is none.
    pinned_bytes_per_second: Option<f64>,
    pageable_bytes_per_second: f64,
}

/// The loader with one block size, to CSR on the device.
#[derive(Debug, Serialize)]
struct Timing {
    block_size: u64,
    batch_size: u32,
    fetch_factor: u32,
    cells: u64,
    cells_per_second: f64,
    /// Bytes that were copied.
    device_bytes: u64,
    wall_seconds: f64,
    /// Each part alone, for as many cells: the same reads by the same engine, decoding from memory, and the copies by the clock of
    /// the device.
    read_seconds: f64,
    decode_seconds: f64,
    copy_seconds: f64,
    /// The sum of these three, over the wall time: 1 where nothing overlaps, 3 at most.
    overlap: f64,
    /// In which the caller had no minibatch on its way to the device to go on with.
    wait_seconds: f64,
    /// In which it waited for an earlier copy.
    copy_wait_seconds: f64,
}

pub(crate) fn run(request: &Request, device: u32) -> Result<GpuReport, Failure> {
    let gpu = Gpu::open(device)?;
    report(request, &gpu)
}

fn report(request: &Request, gpu: &Gpu) -> Result<GpuReport, Failure> {
    let store = request.store.open()?;
    store.require_blocks("bench --gpu")?;
    let copies = COPY_BYTES
        .iter()
        .map(|&copy_bytes| {
            let pinned = HostBuffer::pinned(gpu, copy_bytes);
            let pinned = pinned.is_pinned().then_some(pinned);
            Ok(Copies {
                copy_bytes: copy_bytes as u64,
                pinned_bytes_per_second: pinned
                    .map(|buffer| copy(gpu, buffer, request.seconds))
                    .transpose()?,
                pageable_bytes_per_second: copy(gpu, HostBuffer::pageable(copy_bytes), request.seconds)?,
            })
        })
        .collect::<Result<_, Failure>>()?;
    let mut pinned_bytes = 0;
    let mut runs = Vec::with_capacity(request.block_sizes.len());
    for &block_size in &request.block_sizes {
        let sampler = request.order.config(block_size, store.n_obs())?;
        let (timing, pinned) = feed(request, &store, gpu, sampler)?.ok_or_else(|| {
            Failure::because(format!(
                "{}: this rank gets no minibatch, so there is nothing to measure; use other sampler options",
                request.store.path().display()
            ))
        })?;
        pinned_bytes = pinned_bytes.max(pinned);
        runs.push(timing);
    }
    Ok(GpuReport {
        store: request.store.path().display().to_string(),
        gpu: gpu.name(),
        seconds_per_run: request.seconds.as_secs_f64(),
        pinned_bytes: pinned_bytes as u64,
        degraded: gpu.degraded().map(str::to_owned),
        copies,
        runs,
    })
}

/// Bytes per second of copies of this buffer, one after the other.
fn copy(gpu: &Gpu, buffer: HostBuffer, time: Duration) -> Result<f64, Failure> {
    let buffer = Arc::new(buffer);
    let stager = Stager::new(gpu, &gpu.stream()?, StagerConfig::DEFAULT)?;
    // Memory on the device is made by the first copy of each stage.
    for _ in 0..stager.config().n_stages {
        stager.copy(vec![buffer.clone()])?;
    }
    stager.stream().synchronize()?;
    let (since, mut bytes) = (Instant::now(), 0);
    while bytes == 0 || since.elapsed() < time {
        stager.copy(vec![buffer.clone()])?;
        bytes += buffer.as_slice().len();
    }
    stager.stream().synchronize()?;
    Ok(bytes as f64 / since.elapsed().as_secs_f64())
}

/// Runs epochs for so long, each minibatch to the device, and then each part alone. `None` where epochs are empty. With the bytes
/// that were page-locked.
fn feed(
    request: &Request,
    store: &Arc<Store>,
    gpu: &Gpu,
    sampler: SamplerConfig,
) -> Result<Option<(Timing, usize)>, Failure> {
    let mut config = request.read.loader(sampler.clone())?;
    config.gpu = Some(gpu.clone());
    drop_page_cache(&store.shard_paths())?;
    let loader = Loader::new(Arc::clone(store), config)?;
    let (copies, kernels) = (gpu.stream()?, gpu.stream()?);
    let (mut cells, mut device_bytes, mut copy_ns, mut wait_ns, mut copy_wait_ns) = (0, 0, 0, 0, 0);
    let (mut epochs, mut pinned_bytes) = (0, 0);
    let since = Instant::now();
    while since.elapsed() < request.seconds {
        let epoch = loader.epoch(request.order.epoch().wrapping_add(epochs))?;
        if epoch.n_minibatches() == 0 {
            return Ok(None);
        }
        epochs += 1;
        let mut feed = Feed::new(gpu, &copies, epoch, StagerConfig::DEFAULT)?;
        for minibatch in feed.by_ref() {
            let minibatch = minibatch?;
            // As a kernel would take it.
            minibatch.csr(&kernels)?;
            cells += minibatch.n_obs() as u64;
            if since.elapsed() >= request.seconds {
                break;
            }
        }
        copies.synchronize()?;
        pinned_bytes = pinned_bytes.max(gpu.pinned_bytes());
        wait_ns += feed.sources().stats().consumer_wait_ns;
        let stats = feed.finish();
        device_bytes += stats.bytes;
        copy_ns += stats.copy_ns;
        copy_wait_ns += stats.wait_ns;
    }
    kernels.synchronize()?;
    let wall_seconds = since.elapsed().as_secs_f64();
    let (threads, way) = (loader.decode_threads(), loader.choice().method);
    drop(loader);

    drop_page_cache(&store.shard_paths())?;
    let mut engine = request.read.engine()?;
    (engine.backend, engine.direct) = (way.backend, direct(way.direct, way.backend));
    let (memory_bytes, epoch) = (request.read.memory_bytes(), request.order.epoch());
    let read = replay(store, &sampler, &engine, memory_bytes, epoch, request.seconds)?;
    let decoded = decode(store, threads, sampler.batch_size, request.seconds)?;
    let read_seconds = cells as f64 / read.cells_per_second();
    let decode_seconds = cells as f64 / decoded.cells_per_second;
    let copy_seconds = copy_ns as f64 * 1e-9;
    let timing = Timing {
        block_size: sampler.block_size,
        batch_size: sampler.batch_size,
        fetch_factor: sampler.fetch_factor,
        cells,
        cells_per_second: cells as f64 / wall_seconds,
        device_bytes,
        wall_seconds,
        read_seconds,
        decode_seconds,
        copy_seconds,
        overlap: (read_seconds + decode_seconds + copy_seconds) / wall_seconds,
        wait_seconds: wait_ns as f64 * 1e-9,
        copy_wait_seconds: copy_wait_ns as f64 * 1e-9,
    };
    Ok(Some((timing, pinned_bytes)))
}

impl Show for GpuReport {
    fn text(&self) -> String {
        let mut fields = Fields::new(format!("{} to {}", self.store, self.gpu))
            .add("page-locked", output::bytes(self.pinned_bytes));
        if let Some(degraded) = &self.degraded {
            fields = fields.add("not page-locked", degraded.as_str());
        }
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), output::rate);
        let copies: Vec<_> = (self.copies.iter())
            .map(|row| {
                vec![
                    output::bytes(row.copy_bytes),
                    rate(row.pinned_bytes_per_second),
                    rate(Some(row.pageable_bytes_per_second)),
                ]
            })
            .collect();
        let runs: Vec<_> = (self.runs.iter())
            .map(|run| {
                vec![
                    run.block_size.to_string(),
                    output::count(run.cells_per_second as u64),
                    output::rate(run.device_bytes as f64 / run.wall_seconds),
                    output::seconds(run.wall_seconds),
                    output::seconds(run.read_seconds),
                    output::seconds(run.decode_seconds),
                    output::seconds(run.copy_seconds),
                    output::seconds(run.wait_seconds + run.copy_wait_seconds),
                    format!("{:.2}", run.overlap),
                ]
            })
            .collect();
        format!(
            "{}\nCopies alone\n{}\nFrom the store to CSR on the GPU; read, decode and copy are each part alone for as many cells\n{}",
            fields.text(),
            output::table(&["copy", "pinned", "pageable"], &copies),
            output::table(
                &[
                    "block", "cells/s", "copied", "wall", "read", "decode", "copy", "wait", "overlap"
                ],
                &runs
            ),
        )
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use cellring::gpu::{Refusals, StandIn};
    use clap::Parser;

    use super::*;
    use crate::options::{OrderArgs, ReadArgs, StoreArg};
    use crate::synth::{StoreOptions, Synth};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        order: OrderArgs,
        #[command(flatten)]
        read: ReadArgs,
    }

    /// The numbers mean nothing; that all of them are there, and that both kinds of memory are, does.
    #[test]
    fn a_report_has_all_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.cellring");
        let made = Synth::new(1000, 300, 1).write_store(&path, &StoreOptions::default(), |_, _| ());
        assert_eq!(made.unwrap().n_obs, 1000);
        let Command { order, read } = Command::parse_from(["bench"]);
        let request = Request {
            store: StoreArg::new(path, None),
            block_sizes: vec![4, 16],
            fetch_factors: vec![],
            column: None,
            every_backend: false,
            seconds: Duration::from_millis(10),
            order,
            read,
        };
        for granted in [0, usize::MAX] {
            let stand_in = StandIn::new(1).refusing(Refusals {
                register: Some((granted, 800)),
                ..Refusals::default()
            });
            let gpu = Gpu::stand_in(&stand_in);
            let report = report(&request, &gpu).unwrap();
            assert_eq!((report.copies.len(), report.runs.len()), (3, 2));
            assert!(
                report
                    .copies
                    .iter()
                    .all(|row| row.pinned_bytes_per_second.is_some() == (granted > 0))
            );
            assert_eq!(
                (report.pinned_bytes > 0, report.degraded.is_none()),
                (granted > 0, granted > 0)
            );
            for run in &report.runs {
                assert!(run.cells > 0 && run.device_bytes > 0 && run.overlap > 0.0 && run.copy_seconds > 0.0);
            }
            let text = report.text();
            assert!(text.contains("overlap") && text.contains("pinned"), "{text}");
            assert_eq!(text.contains("IPC_LOCK"), granted == 0, "{text}");
        }
    }
}
