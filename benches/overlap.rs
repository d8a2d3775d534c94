//! Do reading, decoding and consuming overlap? Each is made slow, alone and together with another; the time of two should
//! be that of the slower one, not the sum.
//!
//! The device is simulated: it does one read at a time, and each takes a given time. A test with the same purpose, but
//! without a clock, is in `src/loader/tests.rs`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark has no items to document; it may unwrap"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod shared;

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cellring::engine::EngineConfig;
use cellring::engine::sim::Faults;
use cellring::plan::SamplerConfig;
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use common::{Kind, matrix, value_type, write_store};
use shared::{is_measured, median};

const N_VARS: u64 = 6_000;
/// Obs drawn together: about one read each.
const BLOCK_SIZE: u64 = 64;

/// One epoch: how long it took, its reads, and the decoding time.
struct Epoch {
    wall: Duration,
    reads: u64,
    decode: Duration,
}

fn epoch(store: &Arc<Store>, read: Duration, consume: Duration) -> Epoch {
    let mut engine = EngineConfig::default();
    engine.sim = Some(Faults {
        depth: 1,
        delay: read,
        ..Faults::none(1)
    });
    let config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(BLOCK_SIZE)
                .batch_size(64)
                .fetch_factor(8),
        )
        .engine(engine)
        .decode_threads(1);
    let loader = Loader::new(store.clone(), config).unwrap();
    let since = Instant::now();
    let mut epoch = loader.epoch(0).unwrap();
    for minibatch in epoch.by_ref() {
        std::hint::black_box(minibatch.unwrap());
        pause(consume);
    }
    let (wall, decode) = (since.elapsed(), Duration::from_nanos(epoch.stats().decode_ns));
    drop(epoch);
    Epoch {
        wall,
        reads: loader.engine_stats().reads,
        decode,
    }
}

fn pause(time: Duration) {
    if !time.is_zero() {
        #[allow(clippy::disallowed_methods, reason = "a slow consumer is what is simulated")]
        thread::sleep(time);
    }
}

/// How long a sleep of this length really takes.
fn real(sleep: Duration) -> Duration {
    const N: u32 = 50;
    let since = Instant::now();
    (0..N).for_each(|_| pause(sleep));
    since.elapsed() / N
}

fn main() {
    let tiny = !is_measured();
    let (n_obs, rounds) = if tiny { (1024, 1) } else { (16_384, 7) };
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(n_obs, N_VARS, Kind::Counts, 1);
    let options = WriterOptions::new(N_VARS, value_type(Kind::Counts));
    write_store(&dir.path().join("store"), &rows, options, None).unwrap();
    let store = Arc::new(Store::open(dir.path().join("store")).unwrap());
    drop(rows);

    let quick = epoch(&store, Duration::ZERO, Duration::ZERO);
    let n_minibatches = n_obs as u32 / 64;
    // Slow stages take about as long as decoding: then not to overlap would cost most.
    let per_read = quick.decode / quick.reads as u32;
    let per_minibatch = quick.decode / n_minibatches;
    let mut ratios = [vec![], vec![], vec![]];
    for _ in 0..rounds {
        let decode = epoch(&store, Duration::ZERO, Duration::ZERO).wall;
        let slow_reads = epoch(&store, per_read, Duration::ZERO);
        let slow_consumer = epoch(&store, Duration::ZERO, per_minibatch);
        let both = epoch(&store, per_read, per_minibatch);
        let read = real(per_read) * slow_reads.reads as u32;
        let consume = real(per_minibatch) * n_minibatches;
        let ratio = |epoch: &Epoch, slowest: Duration| epoch.wall.as_secs_f64() / slowest.as_secs_f64();
        ratios[0].push(ratio(&slow_reads, read.max(decode)));
        ratios[1].push(ratio(&slow_consumer, consume.max(decode)));
        ratios[2].push(ratio(&both, read.max(consume).max(decode)));
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{n_obs} obs, {} values, {} reads",
        store.manifest().nnz,
        quick.reads
    )
    .unwrap();
    writeln!(
        out,
        "wall time by that of the slowest stage alone (without overlap: 2, 2, 3)"
    )
    .unwrap();
    let names = ["reads and decoding", "decoding and consumer", "all three"];
    for (name, ratios) in names.into_iter().zip(ratios) {
        writeln!(out, "  {name:22} {:.2}", median(ratios)).unwrap();
    }
}
