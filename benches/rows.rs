//! How long `Loader::rows` takes for 64, 1,024 and 16,384 random obs: one read at a time, and as many as the device wants; from the device, and
//! from the page cache.
//!
//! The store is the one that `CELLRING_BENCH_STORE` names; without it, a small one is made in a temporary folder. `CELLRING_BENCH_SECONDS` is
//! the time of each setting in a round, `CELLRING_BENCH_ROUNDS` how many rounds there are, in which the settings take turns.
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
use std::time::{Duration, Instant};

use cellring::engine::{Direct, EngineConfig};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use common::{Kind, Mix, matrix, value_type, write_store};
use shared::{is_measured, setting};

const OBS_OF_A_CALL: [usize; 3] = [64, 1024, 16_384];

struct Setting {
    direct: Direct,
    depth: Option<u32>,
    n_obs: usize,
    calls: Vec<Duration>,
}

impl Setting {
    /// Calls of a loader of its own, the first of which is not counted: it starts the engine, and from the page cache brings what is read there.
    fn run(&mut self, store: &Arc<Store>, seconds: f64, mix: &mut Mix) {
        let engine = EngineConfig::default().direct(self.direct).depth(self.depth);
        let config = LoaderConfig::default().engine(engine).memory_bytes(1 << 30);
        let loader = Loader::new(store.clone(), config).unwrap();
        let begin = Instant::now();
        // At least two, so that one is counted.
        for number in 0.. {
            if number > 1 && begin.elapsed().as_secs_f64() > seconds {
                break;
            }
            let obs: Vec<u64> = (0..self.n_obs).map(|_| mix.below(store.n_obs())).collect();
            let since = Instant::now();
            let minibatch = loader.rows(&obs).unwrap();
            assert_eq!(std::hint::black_box(minibatch).n_obs(), self.n_obs);
            if number > 0 {
                self.calls.push(since.elapsed());
            }
        }
    }

    fn line(&mut self) -> String {
        self.calls.sort();
        let percentile = |part: usize| self.calls[self.calls.len() * part / 100].as_secs_f64() * 1e3;
        let total: f64 = self.calls.iter().map(Duration::as_secs_f64).sum();
        let from = match self.direct {
            Direct::Off => "page cache",
            _ => "device",
        };
        let depth = self.depth.map_or("found".to_owned(), |depth| depth.to_string());
        format!(
            "  {from:12} {depth:>6} {:>8} {:>8} {:10.3} {:10.3} {:10.3} {:12.0}",
            self.n_obs,
            self.calls.len(),
            percentile(50),
            percentile(90),
            percentile(99),
            (self.calls.len() * self.n_obs) as f64 / total
        )
    }
}

fn main() {
    let tiny = !is_measured();
    let rounds = setting("CELLRING_BENCH_ROUNDS").unwrap_or(if tiny { 1 } else { 5 });
    let seconds = setting("CELLRING_BENCH_SECONDS").unwrap_or(if tiny { 0.0 } else { 1.0 });
    let dir = tempfile::tempdir().unwrap();
    let path = match std::env::var_os("CELLRING_BENCH_STORE") {
        Some(path) => path.into(),
        None => {
            let path = dir.path().join("store");
            let options = WriterOptions::new(2_000, value_type(Kind::Counts));
            let n_obs = if tiny { 500 } else { 50_000 };
            write_store(&path, &matrix(n_obs, 2_000, Kind::Counts, 1), options, None).unwrap();
            path
        }
    };
    let store = Arc::new(Store::open(path).unwrap());
    let mut settings = Vec::new();
    for n_obs in OBS_OF_A_CALL {
        for (direct, depth) in [(Direct::Auto, Some(1)), (Direct::Auto, None), (Direct::Off, None)] {
            settings.push(Setting {
                // Of a store that is in the page cache, `Auto` would not go to the device.
                direct: if tiny || direct == Direct::Off {
                    direct
                } else {
                    Direct::On
                },
                depth,
                n_obs,
                calls: Vec::new(),
            });
        }
    }
    // From here on all of it is in the page cache.
    for shard in store.shard_paths() {
        std::io::copy(&mut std::fs::File::open(shard).unwrap(), &mut std::io::sink()).unwrap();
    }
    let mut mix = Mix(1);
    for _ in 0..rounds {
        for setting in &mut settings {
            setting.run(&store, seconds, &mut mix);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "  {:12} {:>6} {:>8} {:>8} {:>10} {:>10} {:>10} {:>12}",
        "from", "depth", "obs", "calls", "p50 ms", "p90 ms", "p99 ms", "obs/s"
    )
    .unwrap();
    for setting in &mut settings {
        writeln!(out, "{}", setting.line()).unwrap();
    }
}
