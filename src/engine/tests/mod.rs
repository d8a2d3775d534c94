//! One body of tests that every backend passes, and what only one of them can be asked.

mod body;
mod faults;
mod rings;

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::sim::Faults;
use super::{Backend, Completion, Direct, Engine, EngineConfig, EngineError, Read, Submission};
use crate::buffer::{Pool, Slot};

/// What slots are filled with before a read, to see what it leaves alone.
const UNTOUCHED: u8 = 0xEE;

fn config(backend: Backend, direct: Direct) -> EngineConfig {
    EngineConfig {
        backend,
        direct,
        ..EngineConfig::default()
    }
}

#[test]
fn every_backend_past_the_page_cache() {
    for (backend, method) in Backend::every() {
        if method.needs_page_cache().is_none() {
            body::run(&config(backend, Direct::On));
        }
    }
}

#[test]
fn every_backend_through_the_page_cache() {
    for (backend, _) in Backend::every() {
        body::run(&config(backend, Direct::Off));
    }
}

#[test]
fn ring_without_registered_buffers_past_the_page_cache() {
    body::run(&EngineConfig {
        no_registered_buffers: true,
        ..config(Backend::Uring, Direct::On)
    });
}

#[test]
fn ring_with_one_read_in_flight() {
    body::run(&EngineConfig {
        depth: Some(1),
        ..config(Backend::Uring, Direct::On)
    });
}

#[test]
fn pread_by_one_thread() {
    body::run(&EngineConfig {
        threads: Some(1),
        ..config(Backend::Pread, Direct::Off)
    });
}

#[test]
fn whatever_auto_chooses() {
    body::run(&EngineConfig::default());
}

#[test]
fn simulated_device_that_only_reorders() {
    body::run(&EngineConfig {
        sim: Some(Faults::none(rand_seed())),
        ..EngineConfig::default()
    });
}

#[test]
fn an_idle_ring_sleeps() {
    let bench = Bench::new(&[8192]);
    let pool = Pool::new(1, 4096).unwrap();
    let Some((engine, done)) = bench.engine(&config(Backend::Uring, Direct::Off), &pool) else {
        return;
    };
    let mut calls = [0; 2];
    for calls in &mut calls {
        engine.submit(submission(1, pool.take(1).unwrap(), vec![read(0, 4096)]));
        assert!(done.recv().unwrap().result.is_ok());
        *calls = engine.stats().enter_calls;
        #[allow(clippy::disallowed_methods, reason = "a ring that spins needs time to do so")]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Asleep, woken, read, done; a ring that spins has thousands.
    assert!(calls[1] - calls[0] <= 8, "{calls:?}");
}

/// A seed that is new in each run of the tests; a test that fails prints the one it had.
fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.as_nanos() as u64
}

/// Files whose every byte tells its place, and the engines on them.
struct Bench {
    dir: TempDir,
    paths: Vec<PathBuf>,
    contents: Vec<Vec<u8>>,
}

impl Bench {
    /// Files of these sizes, on a filesystem that can read past the page cache if there is one.
    fn new(sizes: &[usize]) -> Bench {
        let exe = std::env::current_exe().unwrap();
        // Beside the test binary: the directory for temporary files is often tmpfs.
        let dir = tempfile::tempdir_in(exe.parent().unwrap())
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let contents: Vec<_> = sizes
            .iter()
            .zip(0..)
            .map(|(&bytes, file)| pattern(file, bytes))
            .collect();
        let paths: Vec<_> = (0..sizes.len())
            .map(|i| dir.path().join(format!("shard-{i}")))
            .collect();
        for (path, bytes) in paths.iter().zip(&contents) {
            fs::write(path, bytes).unwrap();
        }
        Bench { dir, paths, contents }
    }

    /// An engine and its completions; `None`, with a word on standard error, where the machine cannot do what
    /// the test is about. Set `CELLRING_TEST_EVERY_BACKEND` to have that fail.
    fn engine(&self, config: &EngineConfig, pool: &Pool) -> Option<(Engine, Receiver<Completion>)> {
        let (send, receive) = mpsc::channel();
        match Engine::start(&self.paths, pool, config, move |completion| {
            drop(send.send(completion))
        }) {
            Ok(engine) => Some((engine, receive)),
            Err(EngineError::Unavailable { wanted, reason })
                if std::env::var_os("CELLRING_TEST_EVERY_BACKEND").is_none() =>
            {
                eprintln!("skipped: {wanted}: {reason}");
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Checks that every read brought the bytes of its file and left everything else alone.
    fn check(&self, completion: &Completion) {
        let mut expected: Vec<Vec<u8>> = completion
            .slots
            .iter()
            .map(|slot| vec![UNTOUCHED; slot.as_slice().len()])
            .collect();
        for read in &completion.reads {
            let (len, offset) = (read.len_bytes as usize, read.offset_bytes as usize);
            let place = &mut expected[read.slot as usize][read.slot_offset_bytes as usize..][..len];
            let got =
                &completion.slots[read.slot as usize].as_slice()[read.slot_offset_bytes as usize..][..len];
            // What lies past the end of the file means nothing.
            place.copy_from_slice(got);
            let content = &self.contents[read.file as usize];
            let inside = len.min(content.len().saturating_sub(offset));
            if inside > 0 {
                place[..inside].copy_from_slice(&content[offset..offset + inside]);
            }
        }
        for (i, (slot, expected)) in completion.slots.iter().zip(&expected).enumerate() {
            let differs = slot
                .as_slice()
                .iter()
                .zip(expected)
                .position(|(got, expected)| got != expected);
            assert_eq!(
                differs, None,
                "first wrong byte of slot {i} of submission {}",
                completion.tag
            );
        }
    }

    /// Fills `n_slots` slots with random reads, small and large, of any of the files.
    fn submission(&self, tag: u64, mut slots: Vec<Slot>, alignment: u32, rng: &mut ChaCha8Rng) -> Submission {
        let mut reads = Vec::new();
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.as_mut_slice().fill(UNTOUCHED);
            let mut at = 0;
            while at < slot.len() as u64 {
                let file = rng.random_range(0..self.contents.len());
                let units = (self.contents[file].len() as u64).div_ceil(u64::from(alignment));
                let readable = if alignment == 1 {
                    self.contents[file].len() as u64
                } else {
                    units * u64::from(alignment)
                };
                let largest: u64 = 1 << rng.random_range(9..23);
                let unit = u64::from(alignment);
                let offset = rng.random_range(0..units) * unit;
                let len = rng
                    .random_range(1..=largest)
                    .min(slot.len() as u64 - at)
                    .min(readable - offset);
                let len = len.next_multiple_of(unit);
                reads.push(Read {
                    file: file as u32,
                    offset_bytes: offset,
                    len_bytes: len as u32,
                    slot: i as u32,
                    slot_offset_bytes: at as u32,
                });
                at += len + rng.random_range(0..3) * unit;
            }
        }
        // Not always in the order of the slots.
        if tag % 3 == 1 {
            reads.reverse();
        }
        Submission { tag, slots, reads }
    }
}

fn pattern(file: u64, bytes: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(file);
    let mut content = vec![0; bytes];
    rng.fill(&mut content[..]);
    content
}

fn submission(tag: u64, slots: Vec<Slot>, reads: Vec<Read>) -> Submission {
    Submission { tag, slots, reads }
}

/// A read of the first file to the start of the first slot.
fn read(offset_bytes: u64, len_bytes: u32) -> Read {
    Read {
        file: 0,
        offset_bytes,
        len_bytes,
        slot: 0,
        slot_offset_bytes: 0,
    }
}
