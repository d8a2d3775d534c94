//! What every backend is given, and what it must do.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, ThreadId};

use super::error::{Breakdown, EngineError};
use super::file::FileSet;
use super::piece::Piece;
use super::stats::AllStats;
use super::submission::{Completion, Submission};
use crate::buffer::Pool;

/// A way of carrying out submissions: one virtual call for each, however many reads it holds.
pub(super) trait Io: Send + Sync {
    /// Takes in a submission with the outcome of its [check](Submission::check), without waiting for any
    /// read. It is handed to [`Port::deliver`] exactly once.
    fn submit(&self, submission: Submission, checked: Result<(), EngineError>);

    /// Starts nothing new, waits until the kernel is done with every slot and every submission is delivered,
    /// and ends the threads. Called once, after the last `submit`.
    fn stop(&mut self);

    /// What is to be said about it to users, if anything: `with ...`.
    fn describe(&self) -> Option<String> {
        None
    }
}

/// What a backend works with.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) files: Arc<FileSet>,
    pub(super) pool: Pool,
    pub(super) outlet: Arc<Outlet>,
}

/// Where a backend hands back what is done.
pub(super) struct Outlet {
    on_complete: Box<dyn Fn(Completion) + Send + Sync>,
    panicked: AtomicBool,
    breakdown: OnceLock<Breakdown>,
    pub(super) stats: AllStats,
}

impl Outlet {
    pub(super) fn new(on_complete: Box<dyn Fn(Completion) + Send + Sync>) -> Outlet {
        Outlet {
            on_complete,
            panicked: AtomicBool::new(false),
            breakdown: OnceLock::new(),
            stats: AllStats::default(),
        }
    }

    /// Hands a completion to the caller's function. A panic in there must not unwind through a backend that
    /// has reads in flight: it is caught here and reported by the next
    /// [`Engine::submit`](super::Engine::submit).
    pub(super) fn deliver(&self, completion: Completion) {
        if panic::catch_unwind(AssertUnwindSafe(|| (self.on_complete)(completion))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Why the engine reads no more, if so.
    pub(super) fn breakdown(&self) -> Option<&Breakdown> {
        self.breakdown.get()
    }
}

impl Port {
    /// Says that the engine reads no more. Slots that were in flight are lost, so that whoever waits for slots could wait for
    /// ever: the pool is closed.
    pub(super) fn break_down(&self, breakdown: Breakdown) {
        let _ = self.outlet.breakdown.set(breakdown);
        self.pool.close();
    }

    /// The read that proves a backend: the first bytes of the first file that has any, into the pool's probe
    /// space; of a file on one device where a ring is to read from that. `None` if there is nothing to read.
    pub(super) fn probe(&self, device: Option<u64>) -> Option<Piece> {
        let (target, room_bytes) = self.pool.probe();
        let is_there = |&file: &u32| device.is_none_or(|device| self.files.device(file) == device);
        let file = (0..self.files.len() as u32)
            .filter(is_there)
            .find(|&file| self.files.len_bytes(file).is_some_and(|len| len > 0))?;
        let len_bytes = if self.files.is_direct() {
            self.files.alignment()
        } else {
            1
        };
        assert!(
            len_bytes as usize <= room_bytes,
            "direct I/O needs {len_bytes} bytes of {room_bytes}"
        );
        Some(Piece {
            file,
            offset_bytes: 0,
            len_bytes,
            target,
        })
    }
}

/// Threads that end when their backend is stopped.
#[derive(Default)]
pub(super) struct Workers {
    handles: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
        self.handles
            .push(spawned.map_err(|source| EngineError::Thread { source })?);
        Ok(())
    }

    /// Waits for the threads to end. One of them may be the caller, when the last owner of an engine is the
    /// function that it calls: that one ends on its own.
    pub(super) fn join(&mut self) {
        let me: ThreadId = thread::current().id();
        for handle in self.handles.drain(..).filter(|handle| handle.thread().id() != me) {
            // A worker that panicked has said so on standard error; its submissions are past helping.
            let _ = handle.join();
        }
    }
}
