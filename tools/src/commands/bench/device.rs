//! What the device gives at most: random reads by the loader's engine into the loader's kind of buffers, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cellring::buffer::{DEFAULT_SLOT_BYTES, Pool};
use cellring::engine::{Engine, EngineConfig, EngineError, Read, Submission};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::failure::Failure;
use crate::process::cpu_time;

/// Slots of the pool: more than any depth of the ring can have in flight by default.
const N_SLOTS: usize = 16;

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    pub(super) bytes: u64,
    pub(super) reads: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
}

/// Reads `read_bytes` (rounded to what the engine can read) at random places of the files for so long, and once at least.
pub(super) fn ceiling(
    paths: &[PathBuf],
    config: &EngineConfig,
    read_bytes: u64,
    time: Duration,
    seed: u64,
) -> Result<Ceiling, Failure> {
    let pool = Pool::new(N_SLOTS, DEFAULT_SLOT_BYTES)?;
    let failed: Arc<Mutex<Option<EngineError>>> = Arc::default();
    let (pool_of_engine, failed_in_engine) = (pool.clone(), Arc::clone(&failed));
    let (since, cpu_before) = (Instant::now(), cpu_time());
    let engine = Engine::start(paths, &pool, config, move |completion| {
        if let Err(error) = completion.result {
            *failed_in_engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            // Slots may be lost: nobody is to wait for them.
            pool_of_engine.close();
        }
    })?;
    let places = Places::new(paths, engine.alignment(), read_bytes, pool.slot_bytes() as u64)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for tag in 0.. {
        if since.elapsed() >= time && engine.stats().reads > 0 {
            break;
        }
        let Some(slots) = pool.take(1) else { break };
        let reads = places.fill_slot(&mut rng);
        engine.submit(Submission { tag, slots, reads });
    }
    let stats = engine.stats();
    let (seconds, cpu_after) = (since.elapsed().as_secs_f64(), cpu_time());
    // Before the engine goes: what it then leaves unread is no error.
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error.into());
    }
    drop(engine);
    Ok(Ceiling {
        bytes: stats.bytes,
        reads: stats.reads,
        seconds,
        cpu_seconds: (cpu_after - cpu_before).as_secs_f64(),
    })
}

/// The places of the files that can be read.
#[derive(Debug)]
struct Places {
    /// Length of each file in units, and where it begins if all files lie one behind the other.
    files: Vec<(u64, u64)>,
    total_units: u64,
    unit_bytes: u64,
    read_units: u64,
    slot_units: u64,
}

impl Places {
    fn new(paths: &[PathBuf], alignment: u32, read_bytes: u64, slot_bytes: u64) -> Result<Self, Failure> {
        // Also where any byte can be read, the places are those of a device: multiples of a sector.
        let unit_bytes = u64::from(alignment).max(512);
        let (mut files, mut total_units) = (Vec::with_capacity(paths.len()), 0);
        for path in paths {
            let units = length(path)? / unit_bytes;
            files.push((units, total_units));
            total_units += units;
        }
        if total_units == 0 {
            return Err(Failure::because(
                "the store has no bytes to read: there is nothing to measure",
            ));
        }
        let slot_units = slot_bytes / unit_bytes;
        Ok(Self {
            files,
            total_units,
            unit_bytes,
            read_units: ((read_bytes + unit_bytes / 2) / unit_bytes).clamp(1, slot_units),
            slot_units,
        })
    }

    /// As many random reads as a slot holds. Every place is equally likely, but for the last ones of a file, from which
    /// the reads are moved forward.
    fn fill_slot(&self, rng: &mut ChaCha8Rng) -> Vec<Read> {
        let n = self.slot_units / self.read_units;
        let read = |k: u64| {
            let place = rng.random_range(0..self.total_units);
            let file = self.files.partition_point(|&(_, begins)| begins <= place) - 1;
            let (units, begins) = self.files[file];
            let read_units = self.read_units.min(units);
            let unit = (place - begins).min(units - read_units);
            Read {
                file: file as u32,
                offset_bytes: unit * self.unit_bytes,
                len_bytes: (read_units * self.unit_bytes) as u32,
                slot: 0,
                slot_offset_bytes: (k * self.read_units * self.unit_bytes) as u32,
            }
        };
        (0..n).map(read).collect()
    }
}

fn length(path: &Path) -> Result<u64, Failure> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|error| Failure::because(format!("{}: {error}", path.display())))?;
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stay_inside_their_files_and_their_slot() {
        let dir = tempfile::tempdir().unwrap();
        let lengths = [4096u64, 0, 65536, 10_000];
        let paths: Vec<_> = (0..lengths.len())
            .map(|i| dir.path().join(i.to_string()))
            .collect();
        for (path, &length) in paths.iter().zip(&lengths) {
            std::fs::write(path, vec![0; length as usize]).unwrap();
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (alignment, read_bytes) in [(1, 1), (512, 700), (512, 9000), (4096, 5000), (1, 1 << 40)] {
            let places = Places::new(&paths, alignment, read_bytes, 1 << 16).unwrap();
            let mut seen = [0; 4];
            for _ in 0..200 {
                let mut end = 0;
                for read in places.fill_slot(&mut rng) {
                    assert_eq!(read.offset_bytes % u64::from(alignment), 0);
                    let len = u64::from(read.len_bytes);
                    assert!(len > 0 && read.offset_bytes + len <= lengths[read.file as usize]);
                    assert!(read.slot_offset_bytes >= end, "no overlap");
                    end = read.slot_offset_bytes + read.len_bytes;
                    seen[read.file as usize] += 1;
                }
                assert!(end > 0 && end <= 1 << 16);
            }
            assert!(
                seen[0] > 0 && seen[1] == 0 && seen[2] > seen[3] && seen[3] > 0,
                "{seen:?}"
            );
        }
    }

    #[test]
    fn files_without_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        std::fs::write(&path, []).unwrap();
        assert!(Places::new(&[path], 512, 4096, 1 << 16).is_err());
        assert!(Places::new(&[dir.path().join("none")], 512, 4096, 1 << 16).is_err());
    }
}
