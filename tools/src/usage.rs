//! What this process has used so far, by the kernel's account.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most memory that was resident at a time, in bytes, mapped files included; `None` where /proc is not there.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    parse_peak(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// CPU time of all threads, also of those that have ended and of those that the kernel runs for the ring.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        let status = "Name:\tcellring\nVmPeak:\t  999 kB\nVmHWM:\t   51200 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse_peak(status), Some(50 << 20));
        assert_eq!(parse_peak("VmPeak:\t 1 kB\n"), None);
    }

    #[test]
    fn the_peak_covers_what_was_touched() {
        let before = peak_rss_bytes().unwrap();
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak_rss_bytes().unwrap() >= (64 << 20).max(before));
        drop(touched);
        assert!(peak_rss_bytes().unwrap() >= 64 << 20, "a peak stays");
    }

    #[test]
    fn cpu_time_counts_threads_that_have_ended() {
        let before = cpu_time();
        let work = || (0..20_000_000u64).fold(1, |hash, i| std::hint::black_box(hash ^ i).wrapping_mul(31));
        std::thread::spawn(work).join().unwrap();
        assert!(cpu_time() > before + Duration::from_millis(1));
    }
}
