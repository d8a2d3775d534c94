//! Loaders that feed a GPU: a stand-in for one, and a real one where there is one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may unwrap, and says what it cannot do"
)]

#[path = "../common/mod.rs"]
mod common;
mod numpy;
mod warnings;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use cellring::engine::{Backend, Direct};
use cellring::format::encoding::{ObsDecoder, Padded};
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::gpu::{DeviceArray, Feed, Gpu, OnDevice, Refusals, StagerConfig, StandIn, Stream};
use cellring::loader::Fetch;
use cellring::minibatch::{
    DeviceMatrix, IndexType, Indices, Layout, Normalize, OutputConfig, OutputType, Values,
};
use cellring::plan::{SamplerConfig, SamplerState};
use cellring::writer::WriterOptions;
use cellring::{Epoch, Error, ErrorKind, Loader, LoaderConfig, Minibatch, Store};
use common::{Kind, matrix, value_type, write_store};

const N_VARS: u64 = 300;
const N_OBS: usize = 1500;

/// Held by the test that runs: some count what the whole process has.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first GPU; `None` where there is none, and then it is said why.
fn real_gpu() -> Option<Gpu> {
    Gpu::open(0)
        .inspect_err(|error| eprintln!("skipped: {error}"))
        .ok()
}

fn rows() -> CsrRows {
    matrix(N_OBS, N_VARS, Kind::Counts, 5)
}

fn store(dir: &Path, encoding: Encoding) -> Arc<Store> {
    let mut options = WriterOptions::new(N_VARS, value_type(Kind::Counts));
    (options.encoding, options.block_size, options.shard_bytes) = (encoding, 16, 100_000);
    if encoding == Encoding::Raw {
        options.raw_value_type = ValueType::U32;
    }
    let path = dir.join(encoding.name());
    write_store(&path, &rows(), options, None).unwrap();
    Arc::new(Store::open(&path).unwrap())
}

fn config(gpu: Option<&Gpu>, output: OutputConfig) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(64)
                .fetch_factor(4),
        )
        .memory_bytes(16 << 20)
        .decode_threads(2)
        .obs_columns(["number"])
        .output(output)
        .gpu(gpu.cloned())
}

/// Stages of a few small minibatches each.
const STAGES: StagerConfig = {
    let mut stages = StagerConfig::DEFAULT;
    stages.unit_bytes = 32 << 10;
    stages
};

fn outputs() -> [OutputConfig; 5] {
    let of = |layout, value_type, index_type| {
        OutputConfig::default()
            .layout(layout)
            .value_type(value_type)
            .index_type(index_type)
    };
    [
        of(Layout::Csr, OutputType::F32, IndexType::I32),
        of(Layout::Csr, OutputType::Source, IndexType::I64),
        // Some counts are beyond f16.
        of(Layout::Dense, OutputType::F16, IndexType::I32).normalize(Normalize::LOG1P_10K),
        of(Layout::Dense, OutputType::F32, IndexType::I32),
        of(Layout::TopK(20), OutputType::Bf16, IndexType::I32),
    ]
}

fn index_bytes(indices: Indices<'_>) -> Vec<u8> {
    match indices {
        Indices::I32(indices) => bytemuck::cast_slice(indices).to_vec(),
        Indices::I64(indices) => bytemuck::cast_slice(indices).to_vec(),
    }
}

fn value_bytes(values: Values<'_>) -> Vec<u8> {
    match values {
        Values::F32(values) => bytemuck::cast_slice(values).to_vec(),
        Values::F16(values) => values.iter().flat_map(|x| x.to_bits().to_ne_bytes()).collect(),
        Values::Bf16(values) => values.iter().flat_map(|x| x.to_bits().to_ne_bytes()).collect(),
        other => panic!("{} is not tested here", other.type_name()),
    }
}

/// The bytes of all arrays of a minibatch, in the order in which they are on a device.
fn host_arrays(minibatch: &Minibatch) -> Vec<Vec<u8>> {
    if let Some(csr) = minibatch.csr() {
        return vec![
            index_bytes(csr.indptr),
            index_bytes(csr.indices),
            value_bytes(csr.values),
        ];
    }
    if let Some(dense) = minibatch.dense() {
        return vec![value_bytes(dense.values)];
    }
    let top_k = minibatch.top_k().unwrap();
    let lens = bytemuck::cast_slice(top_k.lens).to_vec();
    vec![index_bytes(top_k.indices), value_bytes(top_k.values), lens]
}

/// The arrays that the accessor of its layout gives.
fn device_arrays(minibatch: &OnDevice<Minibatch>, stream: &Stream) -> Vec<DeviceArray> {
    if let Some(csr) = minibatch.csr(stream).unwrap() {
        return vec![csr.indptr, csr.indices, csr.values];
    }
    if let Some(dense) = minibatch.dense(stream).unwrap() {
        assert_eq!(dense.values.shape, dense.shape);
        return vec![dense.values];
    }
    let Some(DeviceMatrix::TopK(top_k)) = minibatch.matrix(0, stream).unwrap() else {
        panic!("a matrix has one of three layouts")
    };
    assert!(minibatch.matrix(1, stream).unwrap().is_none());
    vec![top_k.indices, top_k.values, top_k.lens]
}

/// Every minibatch is on the device as it is on the host.
fn check_minibatches(gpu: &Gpu, store: &Arc<Store>) {
    for output in outputs() {
        let plain = Loader::new(store.clone(), config(None, output.clone())).unwrap();
        let expected: Vec<Minibatch> = plain.epoch(3).unwrap().map(Result::unwrap).collect();
        let loader = Loader::new(store.clone(), config(Some(gpu), output)).unwrap();
        let (copies, kernels) = (gpu.stream().unwrap(), gpu.stream().unwrap());
        let feed = Feed::new(gpu, &copies, loader.epoch(3).unwrap(), STAGES).unwrap();
        let mut n = 0;
        for (minibatch, expected) in feed.zip(&expected) {
            let minibatch = minibatch.unwrap();
            assert_eq!(
                (minibatch.number(), minibatch.obs()),
                (expected.number(), expected.obs())
            );
            assert_eq!(minibatch.columns(), expected.columns());
            let arrays = device_arrays(&minibatch, &kernels);
            for (k, (array, bytes)) in arrays.iter().zip(host_arrays(expected)).enumerate() {
                assert_eq!(array.size_bytes(), bytes.len());
                assert_eq!(array.address % 256, 0);
                assert_eq!(minibatch.read_back(k, &kernels).unwrap(), bytes);
            }
            n += 1;
        }
        assert_eq!(n, expected.len());
    }
}

/// The rows of a store, found on the device by the row table and decoded, are those that were written.
fn check_fetches(gpu: &Gpu, store: &Arc<Store>) {
    let loader = Loader::new(store.clone(), config(Some(gpu), OutputConfig::default())).unwrap();
    let stream = gpu.stream().unwrap();
    let fetches = loader.fetches(2).unwrap();
    let n_fetches = fetches.n_fetches();
    let (rows, decoder) = (rows(), ObsDecoder::new(store.manifest()));
    let ValueBuffer::F32(values) = &rows.values else {
        panic!("counts are f32")
    };
    let mut seen = vec![false; N_OBS];
    for (number, fetch) in Feed::new(gpu, &stream, fetches, STAGES).unwrap().enumerate() {
        let fetch: OnDevice<Fetch> = fetch.unwrap();
        assert_eq!(fetch.number(), number as u64);
        assert!(number < n_fetches as usize);
        assert!(fetch.fetch(&stream).unwrap().bytes.len() > 0);
        let [mut bytes, offsets, lens, nnz] = [0, 1, 2, 3].map(|k| fetch.read_back(k, &stream).unwrap());
        let n_bytes = bytes.len();
        bytes.extend([0; 64]);
        let (offsets, lens) = (as_u64(&offsets), as_u32(&lens));
        let ends: Vec<usize> = fetch.minibatches().iter().map(|range| range.end).collect();
        assert_eq!(ends.last(), Some(&fetch.obs().len()));
        for (row, (&obs, &nnz)) in fetch.obs().iter().zip(&as_u32(&nnz)).enumerate() {
            let part = |which: usize| {
                let (offset, len) = (offsets[2 * row + which] as usize, lens[2 * row + which] as usize);
                assert!(offset + len <= n_bytes);
                Padded::new(&bytes[offset..], len)
            };
            let crc = store.index().locate(obs).unwrap().crc;
            let (mut indices, mut decoded) = (vec![0; nnz as usize], vec![0f32; nnz as usize]);
            decoder
                .decode(obs, crc, [part(0), part(1)], &mut indices, &mut decoded)
                .unwrap();
            let range = rows.indptr[obs as usize] as usize..rows.indptr[obs as usize + 1] as usize;
            assert!(
                indices
                    .iter()
                    .map(|&k| k as u32)
                    .eq(rows.indices[range.clone()].iter().copied())
            );
            assert_eq!(decoded, values[range]);
            assert!(!std::mem::replace(&mut seen[obs as usize], true));
        }
    }
    assert!(seen.into_iter().filter(|seen| *seen).count() > N_OBS - 64);
}

fn as_u32(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|word| u32::from_le_bytes(*word)).collect()
}

fn as_u64(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.as_chunks().0.iter();
    words.map(|word| u64::from_le_bytes(*word)).collect()
}

/// Nothing of the device is left behind.
fn assert_clean(stand_in: &StandIn) {
    let counts = stand_in.counts();
    let left = (
        counts.registered,
        counts.allocations,
        counts.handles,
        counts.pending,
    );
    assert_eq!(left, (0, 0, 0, 0), "{counts:?}");
}

#[test]
fn minibatches_and_fetches_reach_the_device_as_they_are() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = store(dir.path(), encoding);
        for seed in 0..3 {
            let stand_in = StandIn::new(seed);
            let gpu = Gpu::stand_in(&stand_in);
            check_minibatches(&gpu, &store);
            check_fetches(&gpu, &store);
            let counts = stand_in.counts();
            assert_eq!(
                (counts.pinned_copies, gpu.degraded()),
                (counts.copies.len(), None)
            );
            drop(gpu);
            assert_clean(&stand_in);
        }
    }
}

#[test]
fn the_same_on_a_real_gpu() {
    let _turn = turn();
    let Some(gpu) = real_gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = store(dir.path(), encoding);
        check_minibatches(&gpu, &store);
        check_fetches(&gpu, &store);
    }
    assert_eq!(gpu.pinned_bytes(), 0);
}

#[test]
fn refused_registrations_change_nothing_but_the_speed() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Packed);
    // None at all; the pool but no minibatch; the pool and some of the minibatches.
    for granted in [0, 1, 3] {
        let stand_in = StandIn::new(granted as u64).refusing(Refusals {
            register: Some((granted, 2)),
            ..Refusals::default()
        });
        let gpu = Gpu::stand_in(&stand_in);
        let before = warnings::count("could not be page-locked");
        check_minibatches(&gpu, &store);
        check_fetches(&gpu, &store);
        assert_eq!(warnings::count("could not be page-locked") - before, 1);
        assert_eq!(
            warnings::count("ulimit -l unlimited"),
            warnings::count("could not be page-locked")
        );
        assert!(gpu.degraded().unwrap().contains("ulimit -l unlimited"));
        assert_eq!(stand_in.counts().registrations, granted + 1);
        drop(gpu);
        assert_clean(&stand_in);
    }
}

#[test]
fn without_a_gpu_one_warning_says_so() {
    let _turn = turn();
    if Gpu::open(0).is_ok() {
        eprintln!("skipped: there is a GPU");
        return;
    }
    let before = warnings::count("no GPU is used");
    assert!(Gpu::find(0).is_none());
    assert!(Gpu::find(0).is_none());
    assert!(Gpu::find(1).is_none());
    assert_eq!(warnings::count("no GPU is used") - before, 1);
}

/// Rings that this process has.
fn n_rings() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.to_string_lossy().contains("io_uring"))
        .count()
}

#[test]
fn the_driver_lets_go_of_the_memory_behind_the_ring_and_before_it_is_unmapped() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Packed);
    let stand_in = StandIn::new(1);
    let (gpu, rings) = (Gpu::stand_in(&stand_in), Arc::new(AtomicUsize::new(usize::MAX)));
    let seen = rings.clone();
    let before = n_rings();
    let mut config = config(Some(&gpu), OutputConfig::default());
    (config.engine.backend, config.engine.direct) = (Backend::Uring, Direct::Auto);
    let loader = match Loader::new(store, config) {
        Ok(loader) => loader,
        Err(error) if error.kind() == ErrorKind::Unavailable => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    assert!(n_rings() > before);
    // Slots that outlive the loader keep the memory.
    let kept = loader.fetches(0).unwrap().next().unwrap().unwrap();
    stand_in.on_unregister(move || seen.store(n_rings(), Ordering::Relaxed));
    drop(loader);
    assert_eq!(n_rings(), before);
    assert!(stand_in.counts().registered > 0);
    assert!(kept.row(0, 1).concat().len() < N_VARS as usize * 8);
    assert_eq!(rings.load(Ordering::Relaxed), usize::MAX);
    drop(kept);
    // The stand-in touches the memory as it lets go of it: were it unmapped, this process would end here.
    assert_eq!(rings.load(Ordering::Relaxed), before);
    drop(gpu);
    assert_clean(&stand_in);
}

/// The next minibatch of a feed, which is asked again and again and never waits for long.
fn patiently(feed: &mut Feed<Epoch, Minibatch, Error>) -> Option<OnDevice<Minibatch>> {
    loop {
        match feed.next_within(Duration::from_micros(100)) {
            Poll::Ready(next) => return next.map(Result::unwrap),
            Poll::Pending => {}
        }
    }
}

/// After every so many minibatches of a feed its state goes on with the next one.
fn check_states(gpu: &Gpu, store: &Arc<Store>) {
    let plain = Loader::new(store.clone(), config(None, OutputConfig::default())).unwrap();
    let expected: Vec<Minibatch> = plain.epoch(1).unwrap().map(Result::unwrap).collect();
    let loader = Loader::new(store.clone(), config(Some(gpu), OutputConfig::default())).unwrap();
    let (copies, kernels) = (gpu.stream().unwrap(), gpu.stream().unwrap());
    let feed_of = |epoch| Feed::new(gpu, &copies, epoch, STAGES.grow(true)).unwrap();
    let is_equal = |found: &OnDevice<Minibatch>, expected: &Minibatch| {
        assert_eq!(found.obs(), expected.obs());
        let arrays = device_arrays(found, &kernels).len();
        (0..arrays).all(|k| found.read_back(k, &kernels).unwrap() == host_arrays(expected)[k])
    };
    let mut feed = feed_of(loader.epoch(1).unwrap());
    // All are kept on the device.
    let mut kept = Vec::new();
    for n in [0, 1, 2, 9, expected.len()] {
        kept.extend((kept.len()..n).map(|_| patiently(&mut feed).unwrap()));
        let state = feed.state();
        assert_eq!(feed.n_left(), (expected.len() - n) as u64);
        let mut rest = feed_of(plain.resume(&state).unwrap());
        for expected in &expected[n..] {
            assert!(is_equal(&patiently(&mut rest).unwrap(), expected));
        }
        assert!(patiently(&mut rest).is_none() && patiently(&mut rest).is_none());
        assert_eq!((rest.n_left(), rest.state()), (0, plain_end(&plain, &state)));
    }
    assert!(
        kept.iter()
            .zip(&expected)
            .all(|(found, expected)| is_equal(found, expected))
    );
}

/// The state after all that is left.
fn plain_end(plain: &Loader, state: &SamplerState) -> SamplerState {
    let mut rest = plain.resume(state).unwrap();
    rest.by_ref().for_each(|minibatch| drop(minibatch.unwrap()));
    rest.state()
}

#[test]
fn a_feed_goes_on_from_its_state() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Packed);
    let stand_in = StandIn::new(11);
    check_states(&Gpu::stand_in(&stand_in), &store);
    assert_clean(&stand_in);
    if let Some(gpu) = real_gpu() {
        check_states(&gpu, &store);
    }
}

#[test]
fn an_early_drop_or_a_panic_leaves_nothing_behind() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Raw);
    for seed in 0..12u64 {
        let stand_in = StandIn::new(seed);
        let gpu = Gpu::stand_in(&stand_in);
        let stream = gpu.stream().unwrap();
        let run = || {
            let loader = Loader::new(store.clone(), config(Some(&gpu), OutputConfig::default())).unwrap();
            let mut held = Vec::new();
            if seed % 2 == 0 {
                let mut feed = Feed::new(&gpu, &stream, loader.epoch(0).unwrap(), STAGES).unwrap();
                held.push(feed.next().unwrap().unwrap().csr(&stream).unwrap().is_some());
                drop(feed);
                assert!(loader.epoch(1).unwrap().next().unwrap().is_ok());
            } else {
                let mut feed = Feed::new(&gpu, &stream, loader.fetches(0).unwrap(), STAGES).unwrap();
                let first = feed.next().unwrap().unwrap();
                if seed % 3 == 0 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                drop(feed);
                held.push(first.read_back(0, &stream).is_ok());
            }
            assert_eq!(held, [true]);
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert_eq!(result.is_err(), seed % 2 == 1 && seed % 3 == 0);
        drop((stream, gpu));
        assert_clean(&stand_in);
    }
}

#[test]
fn damage_is_an_error_for_those_who_decode_elsewhere_too() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = store(dir.path(), encoding);
        let shard = store.shard_paths().remove(0);
        let mut bytes = std::fs::read(&shard).unwrap();
        let location = store.index().locate(5).unwrap();
        assert!(location.nnz > 0 && location.shard == 0);
        bytes[location.parts[0].offset_bytes as usize] ^= 4;
        std::fs::write(&shard, bytes).unwrap();
        let loader = Loader::new(store, config(None, OutputConfig::default())).unwrap();
        let mut fetches = loader.fetches(0).unwrap();
        let error = fetches.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("obs 5"), "{error}");
        assert!(fetches.next().is_none());
    }
}
