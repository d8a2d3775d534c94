//! What is read of a device, and what came of it.

use std::time::{Duration, Instant};

use cellring::engine::Direct;
use serde::Serialize;

use crate::options::BackendName;
use crate::output::{self, Fields, Show};

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

/// Nanoseconds since a moment.
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
}
