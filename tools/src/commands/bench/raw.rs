//! What a device gives at most: random reads by the loader's engine into the loader's kind of buffers, and nothing else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cellring::buffer::Pool;
use cellring::engine::{
    Backend, Direct, Engine, EngineConfig, EngineError, Read, Submission, cached_fraction,
};
use serde::Serialize;

use super::super::options::BackendName;
use super::{places::Places, tokio_uring};
use crate::failure::Failure;
use crate::output::{self, Fields, Show};
use crate::process::cpu_time;

/// Reads are handed in together, up to this many bytes, as the loader does it with the reads of a fetch.
const SUBMISSION_BYTES: u64 = 2 << 20;
/// Buffers for an engine that finds its depth itself.
const POOL_BYTES: u64 = 64 << 20;
/// The most that buffers may take.
const MAX_POOL_BYTES: u64 = 1 << 30;

/// What to read, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawConfig {
    pub(crate) backend: BackendName,
    pub(crate) direct: Direct,
    pub(crate) read_bytes: u64,
    /// Reads in flight; by default the engine's choice.
    pub(crate) depth: Option<u32>,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Through the page cache, end when everything has been read once: what is read again does not come from the device.
    pub(crate) once: bool,
}

/// What was read, and what it took.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Raw {
    pub(crate) backend: String,
    pub(crate) direct: bool,
    pub(crate) read_bytes: u64,
    /// Reads in flight, or threads; `null` where the engine chose and does not tell.
    pub(crate) depth: Option<u64>,
    pub(crate) bytes_per_second: f64,
    pub(crate) iops: f64,
    pub(crate) cpu_seconds_per_gb: f64,
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// Bytes that are handed in at a time.
    pub(crate) submission_bytes: u64,
    /// From handing in a submission until all its bytes were there, in milliseconds: half of them took less.
    pub(crate) submission_p50_ms: Option<f64>,
    /// As above: 99 of 100 took less.
    pub(crate) submission_p99_ms: Option<f64>,
    /// Largest part of a file that was in the page cache before; `null` where the kernel does not tell.
    pub(crate) cached_before: Option<f64>,
}

/// What a backend counted between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

impl Raw {
    pub(crate) fn new(config: &RawConfig, direct: bool, depth: Option<u64>, span: Span) -> Self {
        let seconds = span.seconds.max(f64::MIN_POSITIVE);
        Self {
            backend: config.backend.to_string(),
            direct,
            read_bytes: config.read_bytes,
            depth,
            bytes_per_second: span.bytes as f64 / seconds,
            iops: span.reads as f64 / seconds,
            cpu_seconds_per_gb: span.cpu_seconds * 1e9 / span.bytes.max(1) as f64,
            bytes: span.bytes,
            reads: span.reads,
            seconds: span.seconds,
            cpu_seconds: span.cpu_seconds,
            submission_bytes: config.read_bytes,
            submission_p50_ms: None,
            submission_p99_ms: None,
            cached_before: None,
        }
    }

    pub(crate) fn with_latencies(mut self, submission_bytes: u64, mut ns: Vec<u64>) -> Self {
        ns.sort_unstable();
        self.submission_bytes = submission_bytes;
        self.submission_p50_ms = percentile(&ns, 0.50).map(|ns| ns as f64 * 1e-6);
        self.submission_p99_ms = percentile(&ns, 0.99).map(|ns| ns as f64 * 1e-6);
        self
    }
}

/// The value below which this part of the sorted values is.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[((sorted.len() as f64 * part) as usize).min(last)])
}

/// Reads at random places of the files for so long. Every piece of them is equally likely, and read once in each pass.
pub(crate) fn measure(paths: &[PathBuf], config: &RawConfig) -> Result<Raw, Failure> {
    let fractions: Option<Vec<f64>> = paths.iter().map(|path| cached_fraction(path).ok()).collect();
    let places = Places::new(paths, config.read_bytes, config.seed)?;
    let mut raw = match engine_config(config) {
        Some(engine) => by_engine(paths, &places, config, &engine)?,
        None => tokio_uring::measure(paths, places, config)?,
    };
    raw.cached_before = fractions.map(|fractions| fractions.into_iter().fold(0.0, f64::max));
    Ok(raw)
}

fn engine_config(config: &RawConfig) -> Option<EngineConfig> {
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

fn by_engine(
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
                // Slots may be lost: nobody is to wait for them.
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
    // What is still to be read when the time is over is dropped with the engine, and is no error.
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

pub(crate) fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Show for Raw {
    fn text(&self) -> String {
        let heading = format!(
            "{} in random reads of {}: {:.0} reads/s",
            output::rate(self.bytes_per_second),
            output::bytes(self.read_bytes),
            self.iops
        );
        let how = match self.direct {
            true => "bypassing the page cache",
            false => "through the page cache",
        };
        let mut fields = Fields::new(heading)
            .add("by", format!("{}, {how}", self.backend))
            .add(
                "depth",
                self.depth.map_or("by the engine".into(), |n| n.to_string()),
            )
            .add("CPU", format!("{:.3} s per GB", self.cpu_seconds_per_gb));
        if let (Some(p50), Some(p99)) = (self.submission_p50_ms, self.submission_p99_ms) {
            let label = format!("half in {p50:.2} ms, 99 % in {p99:.2} ms");
            fields = fields.add(
                "submissions",
                format!("{} each, {label}", output::bytes(self.submission_bytes)),
            );
        }
        if let Some(fraction) = self.cached_before.filter(|_| !self.direct) {
            fields = fields.add("cached before", output::percent(fraction));
        }
        fields.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_values() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7], 0.99), Some(7));
        let values: Vec<u64> = (0..100).collect();
        assert_eq!(
            [0.5, 0.9, 0.99, 1.0].map(|part| percentile(&values, part)),
            [50, 90, 99, 99].map(Some)
        );
    }

    #[test]
    fn every_backend_reads_what_it_counts() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1; 1 << 20]).unwrap();
        for name in ["auto", "pread", "mmap", "uring", "plain-uring", "tokio-uring"] {
            let config = RawConfig {
                backend: name.parse().unwrap(),
                direct: Direct::Off,
                read_bytes: 4096,
                depth: Some(4),
                time: Duration::from_secs(60),
                seed: 1,
                once: true,
            };
            match measure(std::slice::from_ref(&path), &config) {
                Ok(raw) => assert_eq!((raw.bytes, raw.reads), (1 << 20, 256), "{name}"),
                Err(failure) if name.contains("uring") => eprintln!("skipped {name}: {failure:?}"),
                Err(failure) => panic!("{name}: {failure:?}"),
            }
        }
    }
}
