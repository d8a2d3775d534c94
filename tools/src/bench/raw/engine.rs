//! Random reads by the loader's engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cellring::__internal::buffer::Pool;
use cellring::engine::{Backend, Engine, EngineConfig, EngineError, Read, Submission};

use super::places::Places;
use super::result::{Raw, RawConfig, Span, nanos};
use crate::failure::Failure;
use crate::options::BackendName;
use crate::usage::cpu_time;

/// Reads are handed in together, up to this many bytes, as the loader does it with the reads of a fetch.
const SUBMISSION_BYTES: u64 = 2 << 20;
/// Buffers for an engine that finds its depth itself.
const POOL_BYTES: u64 = 64 << 20;
/// The most that buffers may take.
const MAX_POOL_BYTES: u64 = 1 << 30;

/// How the engine is asked for this; `None` if it is for tokio-uring.
pub(super) fn engine_config(config: &RawConfig) -> Option<EngineConfig> {
    let mut engine = config.backend.engine()?;
    engine.direct = config.direct;
    engine.depth = config.depth;
    // To threads that wait for one read each, the number of threads is the depth.
    engine.threads = match config.backend {
        BackendName::Engine(Backend::Pread | Backend::Mmap) => config.depth,
        _ => None,
    };
    Some(engine)
}

pub(super) fn read(
    paths: &[PathBuf],
    places: &Places,
    config: &RawConfig,
    engine_config: &EngineConfig,
) -> Result<Raw, Failure> {
    let reads_per_submission = (SUBMISSION_BYTES / config.read_bytes).max(1);
    let slot_bytes = reads_per_submission * config.read_bytes;
    if slot_bytes > MAX_POOL_BYTES / 4 {
        return Err(Failure::Usage(format!(
            "a read of {} bytes is more than this benchmark reads at a time: the most are {}",
            config.read_bytes,
            MAX_POOL_BYTES / 4
        )));
    }
    // Twice what may be in flight, so that the engine never waits for the next submission.
    let wanted = config
        .depth
        .map_or(POOL_BYTES, |depth| 2 * u64::from(depth) * config.read_bytes);
    let n_slots = wanted.min(MAX_POOL_BYTES).div_ceil(slot_bytes).max(4);
    let pool = Pool::new(n_slots as usize, slot_bytes as usize)?;
    pool.touch();
    let done: Arc<Mutex<Done>> = Arc::default();
    let (pool_of_engine, done_in_engine, since) = (pool.clone(), Arc::clone(&done), Instant::now());
    let engine = Engine::start(paths, &pool, engine_config, move |completion| {
        let mut done = lock(&done_in_engine);
        match completion.result {
            // The tag is the time of the submission.
            Ok(()) => done
                .latencies_ns
                .push(nanos(since).saturating_sub(completion.tag)),
            Err(error) => {
                done.error = Some(error);
                // Slots may be lost: no thread is to wait for them.
                pool_of_engine.close();
            }
        }
    })?;
    let unit = u64::from(engine.alignment());
    if !config.read_bytes.is_multiple_of(unit) {
        return Err(Failure::Usage(format!(
            "reads that bypass the page cache must be multiples of {unit} bytes here, which {} is not",
            config.read_bytes
        )));
    }
    // Starting is not what a loader does all the time.
    let (began, cpu_before) = (Instant::now(), cpu_time());
    let mut groups = places.groups(reads_per_submission as u32)?;
    let once = config.once && !engine.choice().method.direct;
    while began.elapsed() < config.time {
        let (pass, group) = groups.next()?;
        if once && pass > 0 {
            break;
        }
        let Some(slots) = pool.take(1) else { break };
        let reads = group.zip(0..).map(|(place, k)| Read {
            file: place.file,
            offset_bytes: place.offset_bytes,
            len_bytes: config.read_bytes as u32,
            slot: 0,
            slot_offset_bytes: k * config.read_bytes as u32,
        });
        let (tag, reads) = (nanos(since), reads.collect());
        engine.submit(Submission { tag, slots, reads });
    }
    if began.elapsed() < config.time {
        // All has been read once: wait for the rest of it.
        drop(pool.take(pool.n_slots()));
    }
    let stats = engine.stats();
    let span = Span {
        bytes: stats.bytes,
        reads: stats.reads,
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: (cpu_time() - cpu_before).as_secs_f64(),
    };
    let way = engine.choice().method;
    // What is still to be read when the time is over is dropped with the engine, and is not an error.
    let done = std::mem::take(&mut *lock(&done));
    drop(engine);
    if let Some(error) = done.error {
        return Err(error.into());
    }
    // What the rings found out by themselves, where nothing was asked for.
    let found = (stats.depth > 0).then_some(stats.depth);
    let depth = config.depth.map(u64::from).or(found);
    let mut raw = Raw::new(config, way.direct, depth, span).with_latencies(slot_bytes, done.latencies_ns);
    if config.backend == BackendName::default() {
        raw.backend = match (way.backend, way.registered_buffers) {
            (Backend::Uring, false) => BackendName::PlainUring.to_string(),
            (backend, _) => backend.to_string(),
        };
    }
    Ok(raw)
}

/// What the completions bring.
#[derive(Debug, Default)]
struct Done {
    latencies_ns: Vec<u64>,
    error: Option<EngineError>,
}

fn lock(done: &Mutex<Done>) -> std::sync::MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}
