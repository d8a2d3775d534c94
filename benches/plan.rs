//! Planning a fetch of 16,384 obs: which obs, and which reads bring them.
//!
//! The store is the one that `CELLRING_BENCH_STORE` names; without it, one of cells of a few values is made in a temporary folder.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without docs; a benchmark may unwrap"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod shared;

use cellring::__internal::extents_of;
use cellring::Store;
use cellring::plan::{Plan, PlannedFetch, SamplerConfig};
use cellring::writer::WriterOptions;
use common::{Kind, matrix, value_type, write_store};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shared::is_measured;

/// Obs of the data set whose order is planned: nothing grows with it.
const N_OBS: u64 = 100_000_000;
const BLOCK_SIZES: [u64; 3] = [1, 16, 256];

fn config(block_size: u64) -> SamplerConfig {
    SamplerConfig::default().block_size(block_size)
}

fn order(c: &mut Criterion) {
    let mut group = c.benchmark_group("order of a fetch, 100 million obs");
    let mut fetch = PlannedFetch::default();
    for block_size in BLOCK_SIZES {
        let config = config(block_size);
        let plan = Plan::new(N_OBS, &config, 0).unwrap();
        group.throughput(Throughput::Elements(config.fetch_obs()));
        let mut number = 0;
        group.bench_function(BenchmarkId::new("block size", block_size), |b| {
            b.iter(|| {
                plan.fetch_into(number, &mut fetch);
                number = (number + 1) % plan.n_fetches();
                fetch.obs[0]
            });
        });
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = match std::env::var_os("CELLRING_BENCH_STORE") {
        Some(path) => path.into(),
        None => {
            let n_obs = if is_measured() { 200_000 } else { 20_000 };
            let path = dir.path().join("s");
            let options = WriterOptions::new(40, value_type(Kind::Counts));
            write_store(&path, &matrix(n_obs, 40, Kind::Counts, 1), options, None).unwrap();
            path
        }
    };
    let store = Store::open(&path).unwrap();
    let mut group = c.benchmark_group("order and reads of a fetch");
    let mut fetch = PlannedFetch::default();
    for block_size in BLOCK_SIZES {
        let config = config(block_size);
        let plan = Plan::new(store.n_obs(), &config, 0).unwrap();
        group.throughput(Throughput::Elements(config.fetch_obs()));
        // All but the last one, which may be shorter.
        let mut numbers = (0..(plan.n_fetches() - 1).max(1)).cycle();
        group.bench_function(BenchmarkId::new("block size", block_size), |b| {
            b.iter(|| {
                plan.fetch_into(numbers.next().unwrap(), &mut fetch);
                extents_of(&store, &fetch.obs, 512, None, 2 << 20)
                    .unwrap()
                    .reads
                    .len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, order, reads);
criterion_main!(benches);
