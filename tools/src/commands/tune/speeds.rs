//! What the machine can do: how fast the device reads and the cores decode.

use std::path::PathBuf;
use std::time::Duration;

use cellring::__internal::buffer::Pool;
use cellring::Store;
use cellring::engine::{Engine, EngineConfig};
use serde::Serialize;

use crate::bench::ceiling::Decoded;
use crate::bench::raw::{RawConfig, measure};
use crate::failure::Failure;
use crate::options::ReadArgs;
use crate::page_cache::evict;

const READ_SIZES: [u64; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// How fast the device reads extents of one size.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct DeviceSpeed {
    pub(super) read_bytes: u64,
    pub(super) bytes_per_second: f64,
    pub(super) cpu_seconds_per_read: f64,
}

/// What the machine can do.
#[derive(Debug)]
pub(super) struct Speeds {
    pub(super) device: Vec<DeviceSpeed>,
    pub(super) decode: Decoded,
    pub(super) threads: usize,
}

impl Speeds {
    /// Cells per second and what bounds them, if a cell takes so many bytes in so many reads.
    ///
    /// The device does `rate(bytes / reads) / bytes`. The cores do `threads / (c + r * reads)`, where `c` and `r` are the
    /// CPU time to decode a cell and to read once.
    pub(super) fn expected(&self, bytes_per_cell: f64, reads_per_cell: f64) -> (f64, &'static str) {
        let (rate, cpu_per_read) = self.reading(bytes_per_cell / reads_per_cell.max(f64::MIN_POSITIVE));
        let by_device = rate / bytes_per_cell.max(1.0);
        let cpu_per_cell = self.decode.cpu_seconds_per_cell + cpu_per_read * reads_per_cell;
        let by_cores = self.threads as f64 / cpu_per_cell.max(f64::MIN_POSITIVE);
        if by_device <= by_cores {
            (by_device, "device")
        } else {
            (by_cores, "cores")
        }
    }

    /// Bytes per second, and CPU seconds for each read, at a read size: between the measured sizes along the logarithm of
    /// the size; below them the reads per second stay the same, above them the bytes per second.
    fn reading(&self, read_bytes: f64) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.device.first(), self.device.last()) else {
            return (f64::INFINITY, 0.0);
        };
        let size = |speed: &DeviceSpeed| speed.read_bytes as f64;
        if read_bytes <= size(first) {
            return (
                first.bytes_per_second * read_bytes / size(first),
                first.cpu_seconds_per_read,
            );
        }
        for pair in self.device.windows(2) {
            let (low, high) = (&pair[0], &pair[1]);
            if read_bytes <= size(high) {
                let part = (read_bytes / size(low)).ln() / (size(high) / size(low)).ln();
                let between = |low: f64, high: f64| low + part * (high - low);
                return (
                    between(low.bytes_per_second, high.bytes_per_second),
                    between(low.cpu_seconds_per_read, high.cpu_seconds_per_read),
                );
            }
        }
        (
            last.bytes_per_second,
            last.cpu_seconds_per_read * read_bytes / size(last),
        )
    }
}

/// Reads extents of several sizes, for so long each.
pub(super) fn device_speeds(
    read: &ReadArgs,
    time: Duration,
    paths: &[PathBuf],
) -> Result<Vec<DeviceSpeed>, Failure> {
    let mut longest = 0;
    for path in paths {
        longest = longest.max(std::fs::metadata(path)?.len());
    }
    let mut speeds = Vec::new();
    for read_bytes in READ_SIZES.into_iter().filter(|&bytes| bytes <= longest) {
        evict_all(paths)?;
        let config = RawConfig {
            backend: read.backend(),
            direct: read.direct(),
            read_bytes,
            depth: read.depth(),
            time,
            seed: 0,
            once: true,
        };
        let raw = measure(paths, &config)?;
        speeds.push(DeviceSpeed {
            read_bytes,
            bytes_per_second: raw.bytes_per_second,
            cpu_seconds_per_read: raw.cpu_seconds / raw.reads.max(1) as f64,
        });
    }
    Ok(speeds)
}

/// What reads of the store must be multiples of.
pub(super) fn alignment(store: &Store, config: &EngineConfig) -> Result<u32, Failure> {
    let engine = Engine::start(&store.shard_paths(), &Pool::new(1, 4096)?, config, |_| ())?;
    Ok(engine.alignment())
}

/// Drops the files from the page cache.
pub(super) fn evict_all(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        evict(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_follow_the_model() {
        let speed = |read_bytes, bytes_per_second| DeviceSpeed {
            read_bytes,
            bytes_per_second,
            cpu_seconds_per_read: 1e-6,
        };
        let speeds = Speeds {
            device: vec![speed(4096, 4e8), speed(16384, 8e8)],
            decode: Decoded {
                cells_per_second: 4e5,
                nnz_per_second: 0.0,
                cpu_seconds_per_cell: 5e-6,
            },
            threads: 2,
        };
        // Half the size, half the rate; twice the logarithm of the way, the middle; above, no faster.
        let rates = [2048.0, 4096.0, 8192.0, 16384.0, 65536.0].map(|bytes| speeds.reading(bytes).0);
        for (rate, expected) in rates.into_iter().zip([2e8, 4e8, 6e8, 8e8, 8e8]) {
            assert!((rate / expected - 1.0f64).abs() < 1e-9, "{rates:?}");
        }
        // One read of 4,096 bytes for a cell: 4e8 / 4096 by the device; for 1,000 bytes in a sixteenth of a read, the
        // cores with 2 / (5e-6 + 1e-6 / 16).
        let (cells, bound_by) = speeds.expected(4096.0, 1.0);
        assert!((cells - 97_656.25).abs() < 0.1 && bound_by == "device");
        let (cells, bound_by) = speeds.expected(1000.0, 1.0 / 16.0);
        assert!((cells - 395_061.7).abs() < 0.1 && bound_by == "cores", "{cells}");
    }
}
