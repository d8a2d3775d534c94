//! How many reads the ring keeps in flight, and for how many it waits at a time.

/// Bytes that the default window keeps in flight: enough for several commands of any size at a few GB/s.
const TARGET_BYTES: u64 = 4 << 20;
/// Fewest reads in flight by default: 4 KiB and 64 KiB reads saturate simple devices with 16 and 8.
const MIN_READS: u32 = 16;
/// Most reads in flight by default: small reads on fast drives need about 100; more only adds latency.
const MAX_READS: u32 = 128;
/// What a caller can ask for at most.
const MAX_DEPTH: u32 = 4096;

/// The window of a ring. A window that climbs until throughput stops to grow would take its measurements in
/// [`has_room`](Window::has_room).
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    /// As many reads as the caller said.
    Reads(u32),
    /// [`TARGET_BYTES`], within [`MIN_READS`] and [`MAX_READS`].
    Bytes,
}

impl Window {
    pub(super) fn new(depth: Option<u32>) -> Window {
        depth.map_or(Window::Bytes, |reads| Window::Reads(reads.clamp(1, MAX_DEPTH)))
    }

    /// The same, for a ring that has fewer entries than asked for.
    pub(super) fn shrink_to(self, max_reads: u32) -> Window {
        if self.max_reads() <= max_reads {
            self
        } else {
            Window::Reads(max_reads)
        }
    }

    /// Most reads that can ever be in flight.
    pub(super) fn max_reads(self) -> u32 {
        match self {
            Window::Reads(reads) => reads,
            Window::Bytes => MAX_READS,
        }
    }

    /// Whether another read may be started.
    pub(super) fn has_room(self, in_flight: u32, in_flight_bytes: u64) -> bool {
        match self {
            Window::Reads(reads) => in_flight < reads,
            Window::Bytes => {
                in_flight < MIN_READS || (in_flight < MAX_READS && in_flight_bytes < TARGET_BYTES)
            }
        }
    }

    /// How many completions to wait for at once: a quarter saves a quarter of the CPU time of small reads,
    /// and leaves the device three quarters to work on.
    pub(super) fn wait_for(in_flight: u32) -> usize {
        (in_flight / 4).max(1) as usize
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
    fn a_given_depth_is_kept() {
        assert_eq!(reads_of(Window::new(Some(32)), 4096), 32);
        assert_eq!(reads_of(Window::new(Some(0)), 4096), 1);
        assert_eq!(Window::new(Some(u32::MAX)).max_reads(), MAX_DEPTH);
        assert_eq!([0, 3, 4, 128].map(Window::wait_for), [1, 1, 1, 32]);
    }
}
