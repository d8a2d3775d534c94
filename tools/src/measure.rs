//! Running through epochs and measuring it: what `epoch`, `bench` and `demo` have in common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::MessageKind;
use cellring::engine::{Choice, EngineStats};
use cellring::minibatch::{Indices, Matrix, Values};
use cellring::plan::SamplerState;
use cellring::{Loader, LoaderConfig, Minibatch, Store};
use xxhash_rust::xxh3::Xxh3;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Epochs;
use crate::usage::cpu_time;

/// How far to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// The first epoch.
    pub(crate) epoch: u64,
    /// Run so long, but for one minibatch at least: end an epoch early, or go on with the next one. Without it, run
    /// through one epoch.
    pub(crate) time: Option<Duration>,
    /// Take at most so many minibatches of this epoch.
    pub(crate) minibatches: Option<u64>,
    /// Whether to compute the digest.
    pub(crate) digest: bool,
    /// What ends the run early, after the minibatch under way.
    pub(crate) interrupt: Option<Interrupt>,
}

/// What was delivered, and what it took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) cells: u64,
    pub(crate) minibatches: u64,
    pub(crate) nnz: u64,
    /// Epochs begun.
    pub(crate) epochs: u64,
    /// From before the loader was made to after the last minibatch.
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) engine: EngineStats,
    pub(crate) consumer_wait_ns: u64,
    pub(crate) read_wait_ns: u64,
    pub(crate) decode_ns: u64,
    pub(crate) plan_ns: u64,
    /// After the last minibatch that was taken.
    pub(crate) state: Option<SamplerState>,
    /// What ended the run early.
    pub(crate) signal: Option<u8>,
    /// Hexadecimal.
    pub(crate) digest: Option<String>,
}

impl Measured {
    /// `n` per second of the run.
    pub(crate) fn per_second(&self, n: u64) -> f64 {
        n as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// A loader whose clock runs.
pub(crate) struct TimedLoader {
    loader: Loader,
    since: Instant,
    cpu_before: Duration,
}

impl TimedLoader {
    /// Starts the clock, then makes the loader: whatever it prepares counts.
    pub(crate) fn start(store: &Arc<Store>, config: LoaderConfig) -> Result<Self, Failure> {
        let (since, cpu_before) = (Instant::now(), cpu_time());
        let loader = Loader::new(Arc::clone(store), config)?;
        if let Some(warning) = loader.warning() {
            output::warn(MessageKind::Counts, warning);
        }
        Ok(Self {
            loader,
            since,
            cpu_before,
        })
    }

    pub(crate) fn choice(&self) -> &Choice {
        self.loader.choice()
    }

    pub(crate) fn decode_threads(&self) -> usize {
        self.loader.decode_threads()
    }

    /// Takes every minibatch until the limits are reached.
    pub(crate) fn drive(self, limits: &Limits, bar: &Epochs) -> Result<Measured, Failure> {
        self.drive_from(None, limits, bar)
    }

    /// The same, beginning with the rest of an epoch that was saved.
    pub(crate) fn drive_from(
        self,
        mut from: Option<&SamplerState>,
        limits: &Limits,
        bar: &Epochs,
    ) -> Result<Measured, Failure> {
        let first_epoch = from.map_or(limits.epoch, |state| state.epoch);
        let most = limits.minibatches.unwrap_or(u64::MAX);
        let mut sum = Measured::default();
        let mut digest = limits.digest.then(Digest::new);
        let in_time = |since: Instant| limits.time.is_none_or(|time| since.elapsed() < time);
        let signal = || limits.interrupt.as_ref().and_then(Interrupt::signal);
        let since = self.since;
        for number in first_epoch..=u64::MAX {
            let is_rest = from.is_some();
            let mut epoch = match from.take() {
                Some(state) => self.loader.resume(state)?,
                None => self.loader.epoch(number)?,
            };
            sum.epochs += 1;
            bar.begin(number, epoch.n_minibatches().min(most - sum.minibatches));
            // In this order, so that what is taken is also counted.
            while sum.minibatches < most
                && signal().is_none()
                && (sum.minibatches == 0 || in_time(since))
                && let Some(minibatch) = epoch.next()
            {
                let minibatch = minibatch?;
                sum.cells += minibatch.n_obs() as u64;
                let others = minibatch.matrices().iter().map(Matrix::nnz);
                sum.nnz += (minibatch.nnz() + others.sum::<usize>()) as u64;
                sum.minibatches += 1;
                if let Some(digest) = &mut digest {
                    digest.add(&minibatch);
                }
                bar.advance();
            }
            sum.state = Some(epoch.state());
            let stats = epoch.stats();
            sum.consumer_wait_ns += stats.consumer_wait_ns;
            sum.read_wait_ns += stats.read_wait_ns;
            sum.decode_ns += stats.decode_ns;
            sum.plan_ns += stats.plan_ns;
            sum.signal = signal();
            // Epochs without minibatches would never take any time; only the rest of one may be empty.
            if limits.time.is_none()
                || sum.signal.is_some()
                || sum.minibatches >= most
                || !in_time(since)
                || (epoch.n_minibatches() == 0 && !is_rest)
            {
                break;
            }
        }
        sum.seconds = since.elapsed().as_secs_f64();
        sum.cpu_seconds = (cpu_time() - self.cpu_before).as_secs_f64();
        sum.engine = self.loader.engine_stats();
        sum.digest = digest.map(Digest::finish);
        bar.end();
        Ok(sum)
    }
}

/// XXH3 (128 bits, seed 0) of the minibatches in their order.
///
/// Each adds its number of obs and of values as `u64`, then its obs ids as `u64`, and then: of CSR `indptr`, `indices` and
/// values; of a dense minibatch its values, row after row; of a ranked one indices, values and lengths. Other matrices follow, each
/// with its number of values before it. Indices are `i32`, values the bits of their type, all little-endian. Equal digests therefore mean equal cells, in equal minibatches, in equal
/// order, whatever read and decoded them.
struct Digest(Box<Xxh3>);

#[cfg(target_endian = "big")]
compile_error!("digests are defined over little-endian bytes");

impl Digest {
    fn new() -> Self {
        Self(Box::default())
    }

    fn add(&mut self, minibatch: &Minibatch) {
        self.0.update(&(minibatch.n_obs() as u64).to_le_bytes());
        self.0.update(&(minibatch.nnz() as u64).to_le_bytes());
        self.0.update(bytemuck::cast_slice(minibatch.obs()));
        self.add_matrix(minibatch.matrix());
        for matrix in minibatch.matrices() {
            self.0.update(&(matrix.nnz() as u64).to_le_bytes());
            self.add_matrix(matrix);
        }
    }

    fn add_matrix(&mut self, matrix: &Matrix) {
        if let Some(csr) = matrix.csr() {
            self.add_indices(csr.indptr);
            self.add_indices(csr.indices);
            self.add_values(csr.values);
        } else if let Some(dense) = matrix.dense() {
            self.add_values(dense.values);
        } else if let Some(top_k) = matrix.top_k() {
            self.add_indices(top_k.indices);
            self.add_values(top_k.values);
            self.0.update(bytemuck::cast_slice(top_k.lens));
        }
    }

    fn add_indices(&mut self, indices: Indices<'_>) {
        match indices {
            Indices::I32(indices) => self.0.update(bytemuck::cast_slice(indices)),
            Indices::I64(indices) => self.0.update(bytemuck::cast_slice(indices)),
        }
    }

    fn add_values(&mut self, values: Values<'_>) {
        self.0.update(values.as_bytes());
    }

    fn finish(self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

/// The warning where the engine could not use its first choice: what was refused, why, and what is used instead. Other
/// choices are not worth one; nor are buffers that an ordinary user may not register, which cost little (the reason in
/// the report tells of them).
pub(crate) fn fallback(choice: &Choice) -> Option<String> {
    let first = choice
        .attempts
        .first()
        .filter(|attempt| attempt.refusal.is_some())?;
    if (first.method.backend, first.method.direct) == (choice.method.backend, choice.method.direct) {
        return None;
    }
    let mut refusals: Vec<&str> = Vec::new();
    for refusal in choice
        .attempts
        .iter()
        .filter_map(|attempt| attempt.refusal.as_deref())
    {
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    Some(format!(
        "{} is not available ({}); reading with {} instead",
        first.method,
        refusals.join("; "),
        choice.method
    ))
}
