//! How many reads the ring keeps in flight, and for how many it waits at a time.

/// Bytes in flight on level 0: enough for several commands of any size at a few GB/s.
const TARGET_BYTES: u64 = 4 << 20;
/// Fewest reads in flight on level 0: 4 KiB and 64 KiB reads saturate simple devices with 16 and 8.
const MIN_READS: u32 = 16;
/// Most reads in flight on level 0: small reads on fast drives need about 100; more often only adds latency.
const MAX_READS: u32 = 128;
/// What a caller can ask for at most.
const MAX_DEPTH: u32 = 4096;
/// A quarter of what level 0 has in flight is the least, and eight times as much the most that a ring is found
/// to be worth: 1024 reads of up to 32 KiB, or 32 MiB of larger ones.
pub(super) const LEVELS: (i8, i8) = (-2, 3);

/// The window of a ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Never more reads than this: with one more, the ring is full.
    most_reads: u32,
    /// [`TARGET_BYTES`], within [`MIN_READS`] and [`MAX_READS`], times two to the power of this; `None` for as
    /// many reads as the caller said.
    level: Option<i8>,
}

impl Window {
    pub(super) fn new(depth: Option<u32>) -> Window {
        match depth {
            Some(reads) => Window {
                most_reads: reads.clamp(1, MAX_DEPTH),
                level: None,
            },
            // One less, so that the ring's number of entries is a power of two.
            None => Window {
                most_reads: scale(MAX_READS.into(), LEVELS.1) as u32 - 1,
                level: Some(0),
            },
        }
    }

    /// The same, for a ring that has fewer entries than asked for.
    pub(super) fn shrink_to(self, max_reads: u32) -> Window {
        Window {
            most_reads: self.most_reads.min(max_reads),
            ..self
        }
    }

    /// Goes to another level, unless the caller has fixed the number of reads.
    pub(super) fn set_level(&mut self, level: i8) {
        debug_assert!((LEVELS.0..=LEVELS.1).contains(&level), "level {level}");
        self.level = self.level.map(|_| level);
    }

    /// Whether the window has levels.
    pub(super) fn adapts(self) -> bool {
        self.level.is_some()
    }

    /// Most reads that can ever be in flight.
    pub(super) fn max_reads(self) -> u32 {
        self.most_reads
    }

    /// Whether another read may be started.
    pub(super) fn has_room(self, in_flight: u32, in_flight_bytes: u64) -> bool {
        let Some(level) = self.level else {
            return in_flight < self.most_reads;
        };
        let reads = u64::from(in_flight);
        in_flight < self.most_reads
            && (reads < scale(MIN_READS.into(), level)
                || (reads < scale(MAX_READS.into(), level) && in_flight_bytes < scale(TARGET_BYTES, level)))
    }

    /// How many completions to wait for at once: a quarter saves a quarter of the CPU time of small reads,
    /// and leaves the device three quarters to work on.
    pub(super) fn wait_for(in_flight: u32) -> usize {
        (in_flight / 4).max(1) as usize
    }
}

fn scale(value: u64, level: i8) -> u64 {
    if level >= 0 {
        value << level
    } else {
        value >> -level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts reads of one size until the window is full.
    fn reads_of(window: Window, bytes: u64) -> u32 {
        (0..)
            .find(|&n| !window.has_room(n, u64::from(n) * bytes))
            .unwrap()
    }

    #[test]
    fn the_default_window_holds_bytes_within_bounds() {
        let window = Window::new(None);
        let reads = [4 << 10, 64 << 10, 256 << 10, 1 << 20].map(|bytes| reads_of(window, bytes));
        assert_eq!(reads, [128, 64, 16, 16]);
        assert_eq!(window.shrink_to(128).max_reads(), 128);
        assert_eq!(reads_of(window.shrink_to(20), 4096), 20);
    }

    #[test]
    fn each_level_holds_twice_as_much_and_none_more_than_the_ring() {
        let mut window = Window::new(None);
        let mut reads = |level, bytes| {
            window.set_level(level);
            reads_of(window, bytes)
        };
        assert_eq!(
            [-2, -1, 0, 1, 2, 3].map(|level| reads(level, 64 << 10)),
            [16, 32, 64, 128, 256, 512]
        );
        assert_eq!(
            [-2, -1, 0, 1, 2, 3].map(|level| reads(level, 1 << 20)),
            [4, 8, 16, 32, 64, 128]
        );
        assert_eq!(
            [-2, -1, 0, 1, 2, 3].map(|level| reads(level, 512)),
            [32, 64, 128, 256, 512, 1023]
        );
        assert_eq!(window.max_reads(), 1023);
        assert_eq!(reads_of(window.shrink_to(255), 512), 255);
    }

    #[test]
    fn a_given_depth_is_kept() {
        let mut window = Window::new(Some(32));
        window.set_level(3);
        assert!(reads_of(window, 4096) == 32 && reads_of(window, 1 << 20) == 32 && !window.adapts());
        assert_eq!(reads_of(Window::new(Some(0)), 4096), 1);
        assert_eq!(Window::new(Some(u32::MAX)).max_reads(), MAX_DEPTH);
        assert_eq!([0, 3, 4, 128].map(Window::wait_for), [1, 1, 1, 32]);
    }
}
