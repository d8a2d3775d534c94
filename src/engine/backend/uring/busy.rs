//! Whether the thread of a ring is what holds reads back: a state machine without a clock.

use super::climb::Sample;

/// How long one look lasts.
const LOOK_NS: u64 = 100_000_000;
/// Part of the time, of a look, that the thread is on a processor, and has reads waiting, if it is saturated.
const SATURATED: f64 = 0.9;
/// How many looks in a row have to say so.
const LOOKS: u32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Busy {
    elapsed_ns: u64,
    backlog_ns: u64,
    cpu_ns: u64,
    looks: u32,
}

impl Busy {
    /// Takes in a sample; whether the thread has been saturated for some time. `cpu_ns` tells the processor time
    /// of the thread, and is not asked often.
    pub(super) fn observe(&mut self, sample: &Sample, cpu_ns: impl FnOnce() -> u64) -> bool {
        self.elapsed_ns += sample.elapsed_ns;
        if sample.had_backlog {
            self.backlog_ns += sample.elapsed_ns;
        }
        if self.elapsed_ns < LOOK_NS {
            return false;
        }
        let now = cpu_ns();
        let least = SATURATED * self.elapsed_ns as f64;
        let is_saturated = (now - self.cpu_ns) as f64 >= least && self.backlog_ns as f64 >= least;
        let looks = if is_saturated { self.looks + 1 } else { 0 };
        *self = Busy {
            cpu_ns: now,
            looks: looks % LOOKS,
            ..Busy::default()
        };
        looks == LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a thread is found saturated in `n` samples of 10 ms, of which it runs for `cpu_ms`.
    fn found(n: u64, cpu_ms: f64, had_backlog: impl Fn(u64) -> bool) -> usize {
        let mut busy = Busy::default();
        let sample = |i| Sample {
            elapsed_ns: 10_000_000,
            had_backlog: had_backlog(i),
            ..Sample::default()
        };
        let cpu_ns = |i| (cpu_ms * 1e6 * (i + 1) as f64) as u64;
        (0..n).filter(|&i| busy.observe(&sample(i), || cpu_ns(i))).count()
    }

    #[test]
    fn only_a_thread_that_runs_all_the_while_with_reads_waiting_is_saturated() {
        assert_eq!(found(49, 10.0, |_| true), 0);
        assert_eq!(found(50, 10.0, |_| true), 1);
        assert_eq!(found(500, 9.5, |_| true), 10);
        assert_eq!(found(500, 8.0, |_| true), 0);
        assert_eq!(found(500, 10.0, |_| false), 0);
        assert_eq!(found(500, 10.0, |i| i % 10 < 8), 0);
        // Not for a moment only.
        assert_eq!(found(500, 10.0, |i| i % 50 < 40), 0);
    }
}
