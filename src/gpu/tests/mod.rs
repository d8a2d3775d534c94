//! What copies, against the stand-in for the driver.

mod capsule;
mod feed;
mod stager;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use super::driver::{Driver, code};
use super::*;
use crate::buffer::{Pool, Slot};
use crate::error::Cause;

const SLOT_BYTES: usize = 8192;

/// A slot that is copied, and a few bytes beside it.
struct Block {
    slot: Slot,
    tag: Vec<u8>,
}

impl Block {
    fn new(mut slot: Slot, content: u8) -> Self {
        slot.as_mut_slice().fill(content);
        let tag = vec![content; 5];
        Self { slot, tag }
    }
}

impl private::CopySource for Block {
    type HostPart = u8;
    const IS_SCARCE: bool = false;

    fn take_host_part(&mut self) -> u8 {
        self.tag[0]
    }

    fn arrays(&self) -> Arrays<'_> {
        let line = |bytes| (ArraySpec::line(ElementType::U8, <[u8]>::len(bytes)), vec![bytes]);
        vec![line(&self.tag), line(self.slot.as_slice())]
    }
}

impl CopySource for Block {}

fn config(n_stages: usize) -> StagerConfig {
    StagerConfig {
        n_stages,
        unit_bytes: 4096,
        grow: false,
    }
}

fn setup(stand_in: &StandIn, n_slots: usize) -> (Gpu, Pool) {
    let (gpu, pool) = (Gpu::stand_in(stand_in), Pool::new(n_slots, SLOT_BYTES).unwrap());
    gpu.pin_pool(&pool);
    (gpu, pool)
}

/// Nothing of the device is left behind.
fn assert_clean(stand_in: &StandIn) {
    let counts = stand_in.counts();
    let left = (
        counts.registered,
        counts.allocations,
        counts.handles,
        counts.pending,
    );
    assert_eq!(left, (0, 0, 0, 0), "{counts:?}");
}

/// Runs `run` while the device does one thing after the other.
fn while_stepping<T>(stand_in: &StandIn, run: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !stand_in.step() {
                    thread::yield_now();
                }
            }
        });
        let result = catch_unwind(AssertUnwindSafe(run));
        over.store(true, Ordering::Relaxed);
        result.unwrap()
    })
}
