//! What an engine has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Nanoseconds in which the threads of the rings slept with nothing in flight; 0 for other backends.
    pub idle_ns: u64,
    /// Nanoseconds in io_uring_enter(2) with reads in flight: starting them, and waiting; of all rings
    /// together, and 0 for other backends.
    pub wait_ns: u64,
    /// Rings in use; 0 for other backends.
    pub rings: u64,
    /// The depth that the rings have now: how many reads were in flight when each last had as many as it
    /// allowed itself, of all rings together. 0 while callers have never asked for that many, and for other
    /// backends.
    pub depth: u64,
}

impl EngineStats {
    fn values(&mut self) -> [&mut u64; 11] {
        let EngineStats {
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
            rings,
            depth,
        } = self;
        [
            submissions,
            reads,
            bytes,
            short_reads,
            retries,
            errors,
            enter_calls,
            idle_ns,
            wait_ns,
            rings,
            depth,
        ]
    }
}

/// Where the counts of a ring, or of threads that share their reads, are published. There is one writer at a time.
#[derive(Debug, Default)]
pub(super) struct SharedStats {
    values: [AtomicU64; 11],
}

impl SharedStats {
    pub(super) fn publish(&self, counts: &EngineStats) {
        let mut counts = *counts;
        for (shared, value) in self.values.iter().zip(counts.values()) {
            shared.store(*value, Ordering::Relaxed);
        }
    }
}

/// All counts of an engine.
#[derive(Debug, Default)]
pub(super) struct AllStats {
    parts: Mutex<Vec<Arc<SharedStats>>>,
}

impl AllStats {
    /// One more place to publish counts.
    pub(super) fn add(&self) -> Arc<SharedStats> {
        let part = Arc::default();
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&part));
        part
    }

    /// All counts together.
    pub(super) fn read(&self) -> EngineStats {
        let mut sum = EngineStats::default();
        for part in self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (total, value) in sum.values().into_iter().zip(&part.values) {
                *total += value.load(Ordering::Relaxed);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_counts_are_added_up() {
        let all = AllStats::default();
        let parts = [all.add(), all.add()];
        let counts = EngineStats {
            submissions: 1,
            depth: 16,
            ..EngineStats::default()
        };
        parts[0].publish(&EngineStats { bytes: 7, ..counts });
        parts[1].publish(&counts);
        parts[1].publish(&EngineStats { depth: 32, ..counts });
        let expected = EngineStats {
            submissions: 2,
            bytes: 7,
            depth: 48,
            ..EngineStats::default()
        };
        assert_eq!(all.read(), expected);
    }
}
