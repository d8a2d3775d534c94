//! Minibatches from a store in the page cache: through the loader, the same reads without decoding, and copies of as many
//! decoded bytes. All count values, so that their rates compare.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without docs; a benchmark may unwrap"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod shared;

use std::path::Path;
use std::sync::{Arc, mpsc};

use cellring::__internal::buffer::{DEFAULT_SLOT_BYTES, Pool};
use cellring::__internal::extents_of;
use cellring::engine::{Direct, Engine, EngineConfig, Submission};
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::plan::{Plan, SamplerConfig};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use shared::is_measured;

const N_VARS: u32 = 62_710;
/// Bytes of a decoded value: an `i32` index and an `f32`.
const CSR_BYTES: usize = 8;

/// Cells with about 1,930 values each, whose gaps grow as genes get rarer; mostly ones.
fn cells(n_obs: usize) -> CsrRows {
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..n_obs {
        let mut gene = 0;
        loop {
            // The chance of the gene of rank r falls with 1 / r from one half on.
            let mean_gap = 2.0 + f64::from(gene) / 480.0;
            gene += 1 + (-mean_gap * f64::ln(1.0 - rng.random::<f64>())) as u32;
            if gene >= N_VARS {
                break;
            }
            indices.push(gene);
            let mut count = 1.0;
            while rng.random_bool(0.4) {
                count += if rng.random_bool(0.03) { 20.0 } else { 1.0 };
            }
            values.push(count);
        }
        indptr.push(indices.len() as u64);
    }
    CsrRows {
        indptr,
        indices,
        values: ValueBuffer::F32(values),
    }
}

fn sampler() -> SamplerConfig {
    SamplerConfig::default()
        .block_size(16)
        .batch_size(64)
        .fetch_factor(16)
}

fn engine() -> EngineConfig {
    let mut engine = EngineConfig::default();
    engine.direct = Direct::Off;
    engine
}

/// Decodes an epoch, and returns the number of its values.
fn run_epoch(loader: &Loader, epoch: u64) -> usize {
    loader
        .epoch(epoch)
        .unwrap()
        .map(|minibatch| minibatch.unwrap().nnz())
        .sum()
}

/// Reads what an epoch reads, and returns when all of it is there.
fn read_epoch(store: &Store, engine: &Engine, pool: &Pool, done: &mpsc::Receiver<()>, epoch: u64) {
    let plan = Plan::new(store.n_obs(), &sampler(), epoch).unwrap();
    for number in 0..plan.n_fetches() {
        let fetch = plan.fetch(number);
        let slot_bytes = pool.slot_bytes() as u32;
        let extents = extents_of(
            store,
            &fetch.obs,
            engine.alignment(),
            engine.max_request_bytes(),
            slot_bytes,
        )
        .unwrap();
        let slots = pool.take(extents.n_slots).unwrap();
        engine.submit(Submission {
            tag: number,
            slots,
            reads: extents.reads,
        });
    }
    for _ in 0..plan.n_fetches() {
        done.recv().unwrap();
    }
}

fn write(path: &Path, rows: &CsrRows, encoding: Encoding) -> Arc<Store> {
    let mut options = WriterOptions::new(N_VARS.into(), ValueType::F32);
    options.encoding = encoding;
    common::write_store(path, rows, options, None).unwrap();
    Arc::new(Store::open(path).unwrap())
}

fn gather(c: &mut Criterion) {
    let rows = cells(if is_measured() { 8192 } else { 512 });
    let nnz = rows.indices.len();
    let dir = tempfile::tempdir().unwrap();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = write(&dir.path().join(encoding.name()), &rows, encoding);
        let mut group = c.benchmark_group(format!(
            "epoch of {} cells, {}, {:.2} bytes per value",
            store.n_obs(),
            encoding.name(),
            store.matrix_bytes() as f64 / nnz as f64
        ));
        group.sample_size(20).throughput(Throughput::Elements(nnz as u64));
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
            let config = LoaderConfig::default()
                .sampler(sampler())
                .engine(engine())
                .decode_threads(threads);
            let loader = Loader::new(store.clone(), config).unwrap();
            let mut epoch = 0;
            group.bench_function(BenchmarkId::new("loader, decoding threads", threads), |b| {
                b.iter(|| {
                    epoch += 1;
                    assert_eq!(run_epoch(&loader, epoch), nnz);
                });
            });
        }
        let pool = Pool::new(64, DEFAULT_SLOT_BYTES).unwrap();
        let (send, done) = mpsc::channel();
        let started = Engine::start(&store.shard_paths(), &pool, &engine(), move |completion| {
            completion.result.unwrap();
            // The slots are free again before the epoch can end.
            drop(completion.slots);
            send.send(()).unwrap();
        });
        let engine = started.unwrap();
        let mut epoch = 0;
        group.bench_function("the same reads without decoding", |b| {
            b.iter(|| {
                epoch += 1;
                read_epoch(&store, &engine, &pool, &done, epoch);
            });
        });
        group.finish();
    }
}

/// Copies of decoded bytes: between buffers that no cache holds, and between buffers of the size of a minibatch.
fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("memcpy of decoded bytes");
    group.sample_size(20);
    let large = if is_measured() { 256 << 20 } else { 4 << 20 };
    for (name, bytes) in [("beyond the last cache", large), ("1 MiB", 1 << 20)] {
        let from = vec![1u8; bytes];
        let mut to = vec![0u8; bytes];
        group.throughput(Throughput::Elements((bytes / CSR_BYTES) as u64));
        group.bench_function(name, |b| {
            b.iter(|| std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from)));
        });
    }
    group.finish();
}

criterion_group!(benches, gather, copies);
criterion_main!(benches);
