//! What an engine has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts and times since the engine was started. Taken without stopping it, so that the numbers of one
/// moment may be a read apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EngineStats {
    /// Submissions taken in.
    pub submissions: u64,
    /// Reads that came back from the kernel, repetitions included.
    pub reads: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// Reads that brought fewer bytes than needed and went on.
    pub short_reads: u64,
    /// Reads that were interrupted, or told to try again, and did.
    pub retries: u64,
    /// Reads that failed for good.
    pub errors: u64,
    /// Calls of io_uring_enter(2); 0 for other backends.
    pub enter_calls: u64,
    /// Nanoseconds in which the ring's thread slept with nothing in flight; 0 for other backends.
    pub idle_ns: u64,
    /// Nanoseconds in io_uring_enter(2) with reads in flight: starting them, and waiting; 0 for other
    /// backends.
    pub wait_ns: u64,
}

/// What a [`Table`](super::table::Table) counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) submissions: u64,
    pub(super) reads: u64,
    pub(super) bytes: u64,
    pub(super) short_reads: u64,
    pub(super) retries: u64,
    pub(super) errors: u64,
    pub(super) enter_calls: u64,
    pub(super) idle_ns: u64,
    pub(super) wait_ns: u64,
}

/// Where a backend publishes its counts. There is one writer at a time.
#[derive(Debug, Default)]
pub(super) struct SharedStats {
    values: [AtomicU64; 9],
}

impl SharedStats {
    pub(super) fn publish(&self, counts: &Counts) {
        let Counts {
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
        } = *counts;
        let values = [
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
        ];
        for (shared, value) in self.values.iter().zip(values) {
            shared.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> EngineStats {
        let [
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
        ] = self.values.each_ref().map(|value| value.load(Ordering::Relaxed));
        EngineStats {
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
        }
    }
}
