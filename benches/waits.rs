//! Do threads wait for each other's locks? Epochs from a simulated device with 1 to 16 threads that decode: times that a thread of the process gave up
//! its core by itself, for each minibatch (voluntary context switches: waiting for a lock, for work, or for a minibatch), and minibatches per second.
//!
//! The device reads from the page cache, and holds back up to 64 reads. With more threads than cores the rate says little; the waits should stay flat.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark has no items to document; it may unwrap"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod shared;

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use cellring::engine::EngineConfig;
use cellring::engine::sim::Faults;
use cellring::plan::SamplerConfig;
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use common::{Kind, matrix, value_type, write_store};
use shared::{is_measured, median};

const N_VARS: u64 = 6_000;
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// Voluntary context switches of the threads that there are.
fn waits() -> u64 {
    let statuses = fs::read_dir("/proc/self/task").unwrap();
    statuses
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line?.trim().parse::<u64>().ok()
        })
        .sum()
}

/// Waits for each minibatch, and minibatches per second, of the second quarter of an epoch: the threads that begin it are still there then.
fn epoch(store: &Arc<Store>, threads: usize) -> [f64; 2] {
    let mut engine = EngineConfig::default();
    engine.sim = Some(Faults {
        depth: 64,
        ..Faults::none(1)
    });
    let sampler = SamplerConfig::default()
        .block_size(16)
        .batch_size(64)
        .fetch_factor(16);
    let config = LoaderConfig::default()
        .sampler(sampler)
        .engine(engine)
        // Reads are not to be far ahead.
        .memory_bytes(16 << 20)
        .decode_threads(threads);
    let loader = Loader::new(store.clone(), config).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let n = epoch.len() as u64;
    let (first, last) = (n / 4, n / 2);
    let (mut before, mut since) = (0, Instant::now());
    for number in 0..last {
        if number == first {
            (before, since) = (waits(), Instant::now());
        }
        std::hint::black_box(epoch.next().unwrap().unwrap());
    }
    let measured = (last - first) as f64;
    [
        // At the smallest size, threads may be gone.
        waits().saturating_sub(before) as f64 / measured,
        measured / since.elapsed().as_secs_f64(),
    ]
}

fn main() {
    let tiny = !is_measured();
    let (n_obs, rounds) = if tiny { (2_048, 1) } else { (65_536, 7) };
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(n_obs, N_VARS, Kind::Counts, 1);
    let options = WriterOptions::new(N_VARS, value_type(Kind::Counts));
    write_store(&dir.path().join("store"), &rows, options, None).unwrap();
    let store = Arc::new(Store::open(dir.path().join("store")).unwrap());
    drop(rows);
    let mut found = vec![[vec![], vec![]]; THREADS.len()];
    for _ in 0..rounds {
        for (threads, found) in THREADS.into_iter().zip(&mut found) {
            let [waits, rate] = epoch(&store, threads);
            found[0].push(waits);
            found[1].push(rate);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "threads  waits per minibatch  minibatches/s").unwrap();
    for (threads, [waits, rates]) in THREADS.into_iter().zip(found) {
        writeln!(out, "{threads:7}  {:19.2}  {:13.0}", median(waits), median(rates)).unwrap();
    }
}
