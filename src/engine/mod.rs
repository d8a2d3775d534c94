//! Moves bytes from files into pooled buffers; knows offsets, never cells. Linux only.
//!
//! [`EngineConfig`] says how a loader reads, and [`Choice`] how it does: there are three ways to read ([`Backend`]), past the page cache or
//! through it ([`Direct`]). By default the engine takes the fastest that works, proven by a real read; [`Loader::choice`] tells which, and
//! why not a faster one.
//!
//! [`Loader::choice`]: crate::Loader::choice
//!
//! # How it works
//! An [`Engine`] is started on a list of files and a [`Pool`]. A [`Submission`] gives it some slots and the
//! reads that fill them; when all of them are done it hands the slots back in a [`Completion`], to a function
//! that the caller supplied, on a thread of its own. Submissions are worked on in their order, but the reads
//! of several are in flight at a time: to keep a device busy, submit the next before the last one is done.
//!
//! ```
//! use std::sync::mpsc;
//! use cellring::__internal::buffer::Pool;
//! use cellring::engine::{Engine, EngineConfig, Read, Submission};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("shard");
//! # std::fs::write(&path, [7; 8192])?;
//! let pool = Pool::new(2, 1 << 16)?;
//! let (send, receive) = mpsc::channel();
//! let engine = Engine::start(&[path], &pool, &EngineConfig::default(), move |completion| {
//!     let _ = send.send(completion);
//! })?;
//! let slots = pool.take(1).expect("nobody closed the pool");
//! let read = Read { file: 0, offset_bytes: 4096, len_bytes: 4096, slot: 0, slot_offset_bytes: 0 };
//! engine.submit(Submission { tag: 1, slots, reads: vec![read] });
//!
//! let completion = receive.recv()?;
//! completion.result?;
//! assert_eq!(completion.slots[0].as_slice()[..4096], [7; 4096]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod choice;
pub(crate) mod coalesce;
mod config;
mod direct;
mod error;
mod file;
mod in_flight;
mod judge;
mod ladder;
mod names;
mod piece;
mod port;
mod refusal;
mod request;
mod share;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod sim;
mod slab;
mod stats;
mod submission;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

pub use backend::Backend;
pub(crate) use backend::probe_ring;
pub use choice::{Attempt, Choice, ReadMethod};
pub use config::{Direct, EngineConfig};
#[doc(hidden)]
pub use direct::cached_fraction;
#[doc(hidden)]
pub use error::EngineError;
pub use names::ParseNameError;
pub use stats::EngineStats;
#[doc(hidden)]
pub use submission::{Completion, Read, Submission};

use crate::buffer::Pool;
use file::FileSet;
use port::{Io, Outlet};

/// Reads from a fixed list of files into the slots of one pool. Dropping it waits until the kernel is done
/// with every slot; submissions that were not wholly in flight by then complete with
/// [`EngineError::Stopped`].
///
/// If the ring fails or a thread that reads panics, the engine [breaks down](Engine::breakdown): everything that is submitted ends with
/// that error, and the pool is closed, so that no thread waits for slots that are lost.
#[doc(hidden)]
pub struct Engine {
    io: Box<dyn Io>,
    files: Arc<FileSet>,
    pool: Pool,
    outlet: Arc<Outlet>,
    choice: Choice,
    started_by: u32,
}

impl Engine {
    /// Opens the files and starts the threads that read from them.
    ///
    /// `on_complete` is called once for every submission, on a thread of the engine, and by some backends on
    /// several at a time. While it runs no new read is started by that thread: hand the completion on and
    /// return. It must not panic.
    ///
    /// # Errors
    /// If a file cannot be opened, or what `config` asks for is not available. With [`Backend::Auto`] and
    /// [`Direct::Auto`] only files that cannot be read at all are an error.
    pub fn start(
        files: &[PathBuf],
        pool: &Pool,
        config: &EngineConfig,
        on_complete: impl Fn(Completion) + Send + Sync + 'static,
    ) -> Result<Engine, EngineError> {
        let outlet = Arc::new(Outlet::new(Box::new(on_complete)));
        let ladder::Chosen { io, files, choice } = ladder::choose(files, pool, config, &outlet)?;
        Ok(Engine {
            io,
            files,
            pool: pool.clone(),
            outlet,
            choice,
            started_by: process::id(),
        })
    }

    /// Hands in a submission, and returns without waiting for its reads. It completes exactly once, also if
    /// it breaks a rule of [`Read`], and also if the engine is dropped before it is read.
    ///
    /// # Panics
    /// If `on_complete` has panicked before.
    pub fn submit(&self, submission: Submission) {
        assert!(
            !self.outlet.has_panicked(),
            "the function that takes the completions of an engine has panicked"
        );
        if self.is_forked() {
            let Submission { tag, slots, reads } = submission;
            let result = Err(EngineError::Forked {
                started_by: self.started_by,
            });
            return self.outlet.deliver(Completion {
                tag,
                slots,
                reads,
                result,
            });
        }
        let checked = submission.check(&self.files, &self.pool);
        self.io.submit(submission, checked);
    }

    /// What offsets and lengths of reads must be multiples of: 512 or 4096 past the page cache, 1 through it.
    pub fn alignment(&self) -> u32 {
        self.files.alignment()
    }

    /// The longest request that all devices of the files take; a longer read is cut by the kernel. `None` where they do not
    /// tell, and where reads go through the page cache.
    pub fn max_request_bytes(&self) -> Option<u64> {
        let files = 0..self.files.len() as u32;
        let devices: BTreeSet<u64> = files.map(|file| self.files.device(file)).collect();
        let requests = devices.into_iter().map(request::max_request_bytes);
        requests.flatten().min().filter(|_| self.choice.method.direct)
    }

    /// Which files are open, in their order: the device and the inode of each. What has their names may be others by now.
    pub(crate) fn opened(&self) -> Vec<(u64, u64)> {
        let files = 0..self.files.len() as u32;
        files.map(|file| self.files.id(file)).collect()
    }

    /// Why the engine reads no more, if it broke down: the ring failed, or a thread panicked. Its [`Pool`] is closed then, because
    /// slots that were in flight are lost; every submission fails with the same error.
    pub fn breakdown(&self) -> Option<EngineError> {
        self.outlet.breakdown().map(error::Breakdown::error)
    }

    /// Which method of reading is used, and why.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// What the engine has done so far.
    pub fn stats(&self) -> EngineStats {
        self.outlet.stats.read()
    }

    /// Threads do not survive a fork, and the buffers are not copied to the child.
    fn is_forked(&self) -> bool {
        process::id() != self.started_by
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.is_forked() {
            self.io.stop();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("method", &self.choice.method)
            .field("alignment", &self.alignment())
            .finish_non_exhaustive()
    }
}
