//! Sets up a ring and its buffers.
#![allow(
    unsafe_code,
    reason = "registering memory with a ring is unsafe wherever it is done"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process;

use io_uring::{Builder, IoUring, opcode, types};

use super::regions::register_buffers;
use crate::buffer::Pool;
use crate::engine::error::errno;
use crate::engine::refusal::refusal;

/// Entries of a ring where memory that may be locked is short: 12 KiB, so that a second one is available before the
/// kernel has let go of the first.
const FEW_ENTRIES: u32 = 128;

/// Sets up a ring with the flags that suit one thread that both submits and waits, dropping from the newest
/// on those that the kernel does not know. Most kernels count the ring itself as locked memory: where that is too
/// much, it gets fewer entries.
pub(super) fn build(mut entries: u32) -> io::Result<IoUring> {
    let flags: [fn(&mut Builder) -> &mut Builder; 5] = [
        |builder| builder.setup_clamp(),
        |builder| builder.setup_submit_all(),
        |builder| builder.setup_single_issuer(),
        |builder| builder.setup_defer_taskrun(),
        |builder| builder.setup_no_sqarray(),
    ];
    let mut kept = flags.len();
    loop {
        let mut builder = IoUring::builder();
        // A forked child must not take completions that are ours.
        builder.dontfork();
        for flag in &flags[..kept] {
            flag(&mut builder);
        }
        match builder.build(entries) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && kept > 0 => kept -= 1,
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) && entries > FEW_ENTRIES => {
                entries = FEW_ENTRIES
            }
            other => return other,
        }
    }
}

/// Proves that a ring is available and writes, by a byte to a pipe. Sandboxes may allow setting up a ring and refuse to use it.
///
/// # Errors
/// One clause that says which step was refused, and what can be done.
pub(crate) fn probe_ring() -> Result<(), String> {
    let mut ring = build(2).map_err(|e| refusal("io_uring_setup", &e))?;
    let (_reader, writer) = io::pipe().map_err(|e| refusal("a pipe", &e))?;
    let byte = [0u8];
    let write = opcode::Write::new(types::Fd(writer.as_raw_fd()), byte.as_ptr(), 1).build();
    // SAFETY: the byte and the pipe live until the write is over: where that is not known, the ring, and with it the write, has been
    // refused before it was started.
    let pushed = unsafe { ring.submission().push(&write) };
    assert!(pushed.is_ok(), "a new ring has room for one entry");
    let completion = loop {
        match ring.submit_and_wait(1) {
            Err(e) if e.raw_os_error() != Some(libc::EINTR) => return Err(refusal("io_uring_enter", &e)),
            _ => {}
        }
        if let Some(completion) = ring.completion().next() {
            break completion;
        }
    };
    errno(completion.result())
        .map(drop)
        .map_err(|e| refusal("writing through io_uring", &e))
}

/// Keeps the memory of a pool registered for several rings to share: it is pinned and counted once. A ring that
/// belongs to one thread (SINGLE_ISSUER) cannot be the one to share from, so that this is one of its own, which
/// reads nothing.
pub(super) struct SharedRegistration {
    ring: IoUring,
    _pool: Pool,
    /// A forked child has the ring too, and must leave it alone.
    made_by: u32,
}

impl SharedRegistration {
    /// `None` where sharing is refused (before Linux 6.12), or registering: then each ring tries for itself.
    pub(super) fn new(pool: &Pool) -> Option<SharedRegistration> {
        let build = || IoUring::builder().dontfork().build(1);
        let shared = SharedRegistration {
            ring: build().ok()?,
            _pool: pool.clone(),
            made_by: process::id(),
        };
        // SAFETY: it holds the pool, and drops it after the ring.
        unsafe { register_buffers(&shared.ring.submitter(), pool) }.ok()?;
        build()
            .ok()?
            .submitter()
            .register_buffers_clone(shared.fd())
            .ok()?;
        Some(shared)
    }

    /// The ring to clone from.
    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for SharedRegistration {
    fn drop(&mut self) {
        // Now, and not some time after the ring is gone: until then it counts against the limit of the next.
        if process::id() == self.made_by {
            let _ = self.ring.submitter().unregister_buffers();
        }
    }
}
