//! Stores and parts that lie behind checksums that hold: each is refused, or is what it says, whatever it claims.
//!
//! Every row of the tables below is one forgery with what is expected of it. Memory is counted: what a file claims is never taken
//! before it is compared with what is there.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "an allocator that counts is an unsafe trait; a test may unwrap"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/forge.rs"]
mod forge;
#[path = "../common/forgeries.rs"]
mod forgeries;

mod linked;
mod parts;
#[path = "../loader/linked/source.rs"]
#[allow(dead_code, reason = "files of other forms are for the tests of the loader")]
mod source;
mod stores;
mod tables;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cellring::plan::SamplerConfig;
use cellring::store::verify;
use cellring::{Loader, LoaderConfig, Store};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(added: usize) {
    let held = HELD.fetch_add(added, Ordering::Relaxed) + added;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Memory is that of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call gives, and the memory that it took at its most.
fn measured<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = call();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

/// Far more than any of the small stores here needs, far less than what they claim.
const ENOUGH: usize = 48 << 20;

fn verify_path(path: &Path) -> Result<(), cellring::Error> {
    verify(&Store::open(path)?, 2, &|_| ()).map(drop)
}

/// Runs through all cells of a store, as `f32`.
fn epoch(path: &Path, columns: &[&str]) -> Result<(), Box<cellring::Error>> {
    let config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .batch_size(8)
                .block_size(4)
                .fetch_factor(2),
        )
        .memory_bytes(8 << 20)
        .decode_threads(1)
        .obs_columns(columns.iter().copied());
    let loader = Loader::new(Arc::new(Store::open(path)?), config)?;
    for minibatch in loader.epoch(0)? {
        minibatch?;
    }
    Ok(())
}

/// Compares an error with what is expected of it: one sentence, without what a terminal would take as a command.
fn assert_refused(name: &str, found: Result<(), impl ToString>, expected: &str) {
    let message = found.err().map(|error| error.to_string());
    let message = message.unwrap_or_else(|| panic!("{name}: it is taken, expected: {expected}"));
    assert!(
        message.contains(expected),
        "{name}: {message:?}, expected: {expected}"
    );
    assert!(!message.contains(char::is_control), "{name}: {message:?}");
}
