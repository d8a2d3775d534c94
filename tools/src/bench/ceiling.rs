//! What bounds a loader: the device with the loader's reads and no decoding, and the cores that decode with nothing to
//! read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cellring::__internal::buffer::{DEFAULT_SLOT_BYTES, Pool};
use cellring::__internal::{FetchExtents, extents_of};
use cellring::Store;
use cellring::engine::{Engine, EngineConfig, EngineError, Read, Submission};
use cellring::format::encoding::{ObsDecoder, Padded};
use cellring::plan::{Plan, PlannedFetch, SamplerConfig};

use super::raw::Span;
use crate::failure::Failure;
use crate::usage::cpu_time;

/// Bytes of each read buffer: what a loader of this store takes.
pub(crate) fn slot_bytes(store: &Store) -> usize {
    let longest = store.longest_read_bytes() as usize + 2 * 4096;
    longest.next_multiple_of(DEFAULT_SLOT_BYTES)
}

/// What a loader with this sampler would read for one fetch of an epoch, without reading it.
pub(crate) fn extents(
    store: &Store,
    plan: &Plan,
    number: u64,
    alignment: u32,
) -> Result<FetchExtents, Failure> {
    let mut fetch = PlannedFetch::default();
    plan.fetch_into(number, &mut fetch);
    Ok(extents_of(
        store,
        &fetch.obs,
        alignment,
        None,
        slot_bytes(store) as u32,
    )?)
}

/// The reads of a loader, replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    pub(super) span: Span,
    /// Of the fetches that were submitted: obs, the bytes of these obs, and the bytes that were read for them.
    pub(super) cells: u64,
    pub(super) obs_bytes: u64,
    pub(super) read_bytes: u64,
    /// Bytes that chunks of a linked store decode to, and those of the obs where there are none.
    pub(super) decoded_bytes: u64,
}

impl Replayed {
    pub(super) fn cells_per_second(&self) -> f64 {
        let bytes_per_cell = self.read_bytes as f64 / self.cells.max(1) as f64;
        self.span.bytes as f64 / self.span.seconds.max(f64::MIN_POSITIVE) / bytes_per_cell.max(1.0)
    }
}

/// Reads what a loader with this sampler reads, in the same order, with the same engine and as many buffers, and decodes
/// nothing. The clock starts when what was submitted first is there.
pub(super) fn replay(
    store: &Store,
    sampler: &SamplerConfig,
    config: &EngineConfig,
    memory_bytes: usize,
    first_epoch: u64,
    time: Duration,
) -> Result<Replayed, Failure> {
    let slot_bytes = slot_bytes(store);
    let mut shard_bytes = 0;
    for path in store.shard_paths() {
        shard_bytes += path.metadata()?.len();
    }
    let enough = 4 + 3 * (shard_bytes as usize).div_ceil(slot_bytes / 2);
    let pool = Pool::new((memory_bytes / slot_bytes).clamp(2, enough), slot_bytes)?;
    pool.touch();
    let started: Arc<Mutex<Started>> = Arc::default();
    let (pool_of_engine, started_in_engine) = (pool.clone(), Arc::clone(&started));
    let engine = Engine::start(&store.shard_paths(), &pool, config, move |completion| {
        let mut started = started_in_engine.lock().unwrap_or_else(PoisonError::into_inner);
        match completion.result {
            Ok(()) => started.first = started.first.or_else(|| Some((Instant::now(), cpu_time()))),
            Err(error) => {
                started.error = Some(error);
                pool_of_engine.close();
            }
        }
    })?;
    let began = Instant::now();
    let mut replayed = Replayed {
        span: Span {
            bytes: 0,
            reads: 0,
            seconds: 0.0,
            cpu_seconds: 0.0,
        },
        cells: 0,
        obs_bytes: 0,
        read_bytes: 0,
        decoded_bytes: 0,
    };
    let (mut first_bytes, mut first_reads) = (0, 0);
    let mut fetch = PlannedFetch::default();
    'epochs: for epoch in first_epoch.. {
        let plan = Plan::new(store.n_obs(), sampler, epoch)?;
        for number in 0..plan.n_fetches() {
            plan.fetch_into(number, &mut fetch);
            let extents = extents_of(
                store,
                &fetch.obs,
                engine.alignment(),
                engine.max_request_bytes(),
                slot_bytes as u32,
            )?;
            // What is read of a linked store passes through the slots; of others a fetch is in them as a whole.
            if extents.n_slots > pool.n_slots() && !store.is_linked() {
                return Err(Failure::because(format!(
                    "a fetch of {} cells needs {} bytes of read buffers, more than the memory given; raise --memory",
                    fetch.obs.len(),
                    extents.n_slots * slot_bytes
                )));
            }
            replayed.cells += fetch.obs.len() as u64;
            replayed.obs_bytes += extents.obs_bytes;
            replayed.read_bytes += extents.read_bytes();
            replayed.decoded_bytes += extents.decoded_bytes;
            let is_first = replayed.cells == fetch.obs.len() as u64;
            let submissions = submissions(store, extents);
            if let (true, Some((_, reads))) = (is_first, submissions.first()) {
                let bytes = reads.iter().map(|read| u64::from(read.len_bytes));
                (first_bytes, first_reads) = (bytes.sum(), reads.len() as u64);
            }
            for (n_slots, reads) in submissions {
                let Some(slots) = pool.take(n_slots) else {
                    break 'epochs;
                };
                engine.submit(Submission { tag: 0, slots, reads });
                let first = started.lock().unwrap_or_else(PoisonError::into_inner).first;
                if first.is_some_and(|(first, _)| first.elapsed() >= time) {
                    break 'epochs;
                }
            }
        }
        // An epoch without cells would never end.
        if plan.n_fetches() == 0 || began.elapsed() > time * 10 + Duration::from_secs(10) {
            break;
        }
    }
    let stats = engine.stats();
    let ended = (Instant::now(), cpu_time());
    // What is still to be read when the time is over is dropped with the engine, and is not an error.
    let Started { first, error } =
        std::mem::take(&mut *started.lock().unwrap_or_else(PoisonError::into_inner));
    drop(engine);
    if let Some(error) = error {
        return Err(error.into());
    }
    let Some((first, cpu_first)) = first else {
        return Err(Failure::because(
            "no fetch was read in time, so there is nothing to measure; give more --seconds",
        ));
    };
    replayed.span = Span {
        bytes: stats.bytes.saturating_sub(first_bytes),
        reads: stats.reads.saturating_sub(first_reads),
        seconds: (ended.0 - first).as_secs_f64(),
        cpu_seconds: ended.1.saturating_sub(cpu_first).as_secs_f64(),
    };
    Ok(replayed)
}

/// The reads of a fetch as a loader submits them, with the slots that they fill: all at once, or of a linked store slot by slot.
fn submissions(store: &Store, extents: FetchExtents) -> Vec<(usize, Vec<Read>)> {
    if !store.is_linked() {
        return vec![(extents.n_slots, extents.reads)];
    }
    let of_slot = |reads: &[Read]| {
        let reads = reads.iter().map(|&read| Read { slot: 0, ..read });
        (1, reads.collect())
    };
    let by_slot = extents.reads.chunk_by(|a, b| a.slot == b.slot);
    by_slot.map(of_slot).collect()
}

#[derive(Debug, Default)]
struct Started {
    first: Option<(Instant, Duration)>,
    error: Option<EngineError>,
}

/// What the cores decode if they do nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    pub(crate) cells_per_second: f64,
    pub(crate) nnz_per_second: f64,
    /// CPU time for a cell.
    pub(crate) cpu_seconds_per_cell: f64,
}

/// Cells that are decoded again and again: their encoded bytes lie in memory.
struct Sample {
    bytes: Vec<u8>,
    cells: Vec<SampleCell>,
}

struct SampleCell {
    obs: u64,
    crc: u32,
    nnz: usize,
    parts: [(usize, usize); 2],
}

/// Most cells of a sample: 8 MB of packed counts, and so not in the fastest caches.
const SAMPLE_CELLS: u64 = 4096;
/// Cells of a sample that lie side by side in the store.
const RUN_CELLS: u64 = 64;
/// Minibatches that a thread writes in turn, so that the outputs pass through the caches as a loader's do.
const N_OUTPUTS: usize = 8;

impl Sample {
    /// Reads runs of cells from all over the store.
    fn read(store: &Store) -> Result<Self, Failure> {
        let shards: Vec<File> = store
            .shard_paths()
            .iter()
            .map(File::open)
            .collect::<Result<_, _>>()?;
        let n_runs = (SAMPLE_CELLS.min(store.n_obs())).div_ceil(RUN_CELLS);
        let (mut bytes, mut cells) = (Vec::new(), Vec::new());
        for run in 0..n_runs {
            let first = (u128::from(store.n_obs()) * u128::from(run) / u128::from(n_runs)) as u64;
            for obs in first..store.n_obs().min(first + RUN_CELLS) {
                let place = store.index().locate(obs)?;
                let mut parts = [(0, 0); 2];
                for (part, to) in place.parts.iter().zip(&mut parts) {
                    *to = (bytes.len(), bytes.len() + part.len_bytes as usize);
                    bytes.resize(to.1, 0);
                    shards[place.shard as usize].read_exact_at(&mut bytes[to.0..to.1], part.offset_bytes)?;
                }
                cells.push(SampleCell {
                    obs,
                    crc: place.crc,
                    nnz: place.nnz as usize,
                    parts,
                });
            }
        }
        Ok(Self { bytes, cells })
    }
}

/// Decodes cells of the store from memory on so many threads, into minibatches of this size.
pub(crate) fn decode(
    store: &Store,
    threads: usize,
    batch_size: u32,
    time: Duration,
) -> Result<Decoded, Failure> {
    let sample = Sample::read(store)?;
    if sample.cells.is_empty() {
        return Err(Failure::because(
            "the store has no cells, so there is nothing to measure",
        ));
    }
    let decoder = ObsDecoder::new(store.manifest());
    let (cells, nnz) = (AtomicU64::new(0), AtomicU64::new(0));
    let cpu_before = cpu_time();
    let began = Instant::now();
    let work = |thread: usize| -> Result<(), Failure> {
        let mut outputs: Vec<(Vec<i32>, Vec<f32>)> = vec![Default::default(); N_OUTPUTS];
        let mut at = thread * sample.cells.len() / threads;
        for turn in 0.. {
            if began.elapsed() >= time {
                break;
            }
            let (indices, data) = &mut outputs[turn % N_OUTPUTS];
            let (mut done_cells, mut end) = (0, 0);
            for _ in 0..batch_size {
                let cell = &sample.cells[at];
                at = (at + 1) % sample.cells.len();
                let start = end;
                end += cell.nnz;
                if indices.len() < end {
                    indices.resize(end, 0);
                    data.resize(end, 0.0);
                }
                let parts = cell
                    .parts
                    .map(|(from, to)| Padded::new(&sample.bytes[from..], to - from));
                let decoded = decoder.decode(
                    cell.obs,
                    cell.crc,
                    parts,
                    &mut indices[start..end],
                    &mut data[start..end],
                );
                decoded.map_err(|error| Failure::because(format!("cell {}: {error}", cell.obs)))?;
                done_cells += 1;
            }
            cells.fetch_add(done_cells, Ordering::Relaxed);
            nnz.fetch_add(end as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads)
            .map(|thread| std::thread::Builder::new().spawn_scoped(scope, move || work(thread)))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread?.join() {
            Ok(result) => result,
            Err(_) => Err(Failure::because(
                "a decoding thread panicked, with the message above",
            )),
        })
    })?;
    // Per CPU time, not per time, so that other processes on the machine do not count.
    let cores = std::thread::available_parallelism().map_or(threads, |n| n.get().min(threads));
    let seconds = (cpu_time() - cpu_before).as_secs_f64() / cores as f64;
    let (cells, nnz) = (cells.into_inner() as f64, nnz.into_inner() as f64);
    Ok(Decoded {
        cells_per_second: cells / seconds.max(f64::MIN_POSITIVE),
        nnz_per_second: nnz / seconds.max(f64::MIN_POSITIVE),
        cpu_seconds_per_cell: seconds * cores as f64 / cells.max(1.0),
    })
}
