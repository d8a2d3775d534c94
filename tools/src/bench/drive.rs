//! A loader at full speed: rates from its first minibatch on, and the time between minibatches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cellring::engine::{Choice, EngineStats};
use cellring::{Loader, LoaderConfig, Store};

use super::raw::nanos;
use crate::failure::Failure;
use crate::usage::cpu_time;

/// What a loader delivered after its first minibatch, and what that took.
#[derive(Clone, Debug)]
pub(crate) struct Driven {
    pub(crate) choice: Choice,
    pub(crate) threads: usize,
    pub(crate) cells: u64,
    pub(crate) nnz: u64,
    pub(crate) epochs: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) bytes_read: u64,
    pub(crate) reads: u64,
    pub(crate) enter_calls: u64,
    /// From before the loader was made until the first minibatch was there.
    pub(crate) first_seconds: f64,
    /// Between minibatches, sorted.
    pub(crate) intervals_ns: Vec<u64>,
    pub(crate) split: Split,
}

/// Where the time of the decoding threads went from the start, summed over threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Split {
    pub(crate) decode_ns: u64,
    pub(crate) read_wait_ns: u64,
    pub(crate) output_wait_ns: u64,
    /// All of it.
    pub(crate) total_ns: u64,
}

/// A moment of a run.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: Duration,
    engine: EngineStats,
}

impl Mark {
    fn now(loader: &Loader) -> Self {
        Self {
            at: Instant::now(),
            cpu: cpu_time(),
            engine: loader.engine_stats(),
        }
    }
}

/// Takes minibatches for so long, epoch after epoch, and two of them at least. `None` where epochs have none.
pub(crate) fn drive(
    store: &Arc<Store>,
    config: LoaderConfig,
    first_epoch: u64,
    time: Duration,
) -> Result<Option<Driven>, Failure> {
    let began = Instant::now();
    let loader = Loader::new(Arc::clone(store), config)?;
    let threads = loader.decode_threads();
    let mut split = Split::default();
    let (mut cells, mut nnz, mut epochs) = (0, 0, 0);
    let mut intervals_ns = Vec::new();
    let mut first: Option<Mark> = None;
    let (mut last, mut end) = (began, None);
    while end.is_none() {
        let since_epoch = Instant::now();
        let mut epoch = loader.epoch(first_epoch + epochs)?;
        if epoch.n_minibatches() == 0 {
            return Ok(None);
        }
        epochs += 1;
        while let Some(minibatch) = epoch.next() {
            let minibatch = minibatch?;
            let Some(first) = &first else {
                first = Some(Mark::now(epoch.loader()));
                last = Instant::now();
                continue;
            };
            cells += minibatch.n_obs() as u64;
            nnz += minibatch.nnz() as u64;
            intervals_ns.push(nanos(last));
            last = Instant::now();
            if last - first.at >= time {
                end = Some(Mark::now(epoch.loader()));
                break;
            }
        }
        let stats = epoch.stats();
        split.decode_ns += stats.decode_ns;
        split.read_wait_ns += stats.read_wait_ns;
        split.output_wait_ns += stats.output_wait_ns;
        split.total_ns += nanos(since_epoch) * threads as u64;
    }
    let (Some(first), Some(end)) = (first, end) else {
        return Ok(None);
    };
    intervals_ns.sort_unstable();
    Ok(Some(Driven {
        choice: loader.choice().clone(),
        threads,
        cells,
        nnz,
        epochs,
        seconds: (end.at - first.at).as_secs_f64(),
        cpu_seconds: end.cpu.saturating_sub(first.cpu).as_secs_f64(),
        bytes_read: end.engine.bytes - first.engine.bytes,
        reads: end.engine.reads - first.engine.reads,
        enter_calls: end.engine.enter_calls - first.engine.enter_calls,
        first_seconds: (first.at - began).as_secs_f64(),
        intervals_ns,
        split,
    }))
}
