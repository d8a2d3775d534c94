//! In its steady state a loader allocates nothing per cell: some bookkeeping per fetch and minibatch, whatever their size.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "an allocator that counts is an unsafe trait; a test may unwrap"
)]

mod common;

use std::alloc::{self, GlobalAlloc, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cellring::minibatch::{
    ColumnChoice, GeneSelection, IndexType, Layout, Normalize, OutputConfig, OutputType,
};
use cellring::plan::SamplerConfig;
use cellring::writer::WriterOptions;
use cellring::{Collection, Loader, LoaderConfig, Store};
use common::{Kind, matrix, value_type, write_store};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: alloc::Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: alloc::Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: alloc::Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn outputs() -> Vec<OutputConfig> {
    let every_other = (0..300).rev().step_by(2).map(Some).collect::<Vec<_>>();
    let plain = OutputConfig::default;
    let of = |layout, value_type, index_type| {
        plain()
            .layout(layout)
            .value_type(value_type)
            .index_type(index_type)
            .genes(GeneSelection::by_columns(300, &every_other).unwrap())
            .normalize(Normalize::LOG1P_10K)
    };
    vec![
        plain(),
        plain().value_type(OutputType::Source).index_type(IndexType::I64),
        of(Layout::Csr, OutputType::F16, IndexType::I64),
        of(Layout::Dense, OutputType::F32, IndexType::I32),
        of(Layout::Dense, OutputType::Bf16, IndexType::I32),
        of(Layout::TopK(40), OutputType::F32, IndexType::I32),
    ]
}

#[test]
fn the_steady_state_allocates_nothing_per_cell() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(4096, 300, Kind::Counts, 21);
    let mut options = WriterOptions::new(300, value_type(Kind::Counts));
    options.block_size = 64;
    write_store(&dir.path().join("s"), &rows, options, None).unwrap();
    let store = Arc::new(Store::open(dir.path().join("s")).unwrap());
    for (batch_size, fetch_factor) in [(64, 8), (256, 2)] {
        for output in outputs() {
            check(&store.clone().into(), batch_size, fetch_factor, output);
        }
    }
}

#[test]
fn nor_does_it_with_several_stores() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let order: Vec<u32> = (0..300).map(|k| (k * 7 + 3) % 300).collect();
    let orders = [None, Some(order.as_slice()), None];
    let stores = orders.iter().enumerate().map(|(number, order)| {
        let rows = matrix([1024, 2048, 1024][number], 300, Kind::Counts, 22 + number as u64);
        let mut options = WriterOptions::new(300, value_type(Kind::Counts));
        (options.block_size, options.shard_bytes) = (64, 100_000);
        let path = dir.path().join(number.to_string());
        write_store(&path, &rows, options, *order).unwrap();
        Arc::new(Store::open(path).unwrap())
    });
    let collection = Collection::new(stores.collect()).unwrap();
    for output in outputs() {
        check(&collection, 64, 8, output);
    }
}

/// Held by the test that runs: what the other one does meanwhile, be it writing its stores, would be counted too.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(collection: &Collection, batch_size: u32, fetch_factor: u32, output: OutputConfig) {
    let form = format!("{:?} {:?}", output.layout, output.value_type);
    let config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(batch_size)
                .fetch_factor(fetch_factor),
        )
        .output(output)
        .obs_columns(vec![
            "plate".into(),
            "score".into(),
            ColumnChoice::codes("number"),
            ColumnChoice::strings("plate"),
        ])
        .decode_threads(2);
    let loader = Loader::new(collection.clone(), config).unwrap();
    // All at a time: then there are as many buffers as there can ever be in use, however far decoding gets ahead later.
    drop(loader.epoch(0).unwrap().map(Result::unwrap).collect::<Vec<_>>());
    let mut epoch = loader.epoch(1).unwrap();
    let warm = 4096 / u64::from(batch_size) / 4;
    for _ in 0..warm {
        epoch.next().unwrap().unwrap();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let minibatches = epoch.by_ref().map(Result::unwrap).count() as u64;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let cells = minibatches * u64::from(batch_size);
    let fetches = cells / u64::from(batch_size * fetch_factor) + 1;
    let most = 4 * minibatches + 60 * fetches;
    assert!(
        allocations <= most,
        "{form}: {allocations} allocations in {minibatches} minibatches, {fetches} fetches, {cells} cells"
    );
    assert!(most < cells / 2, "the bound is far below one per cell");
}
