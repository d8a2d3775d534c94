//! Setting up a ring and its buffers, and what to tell an administrator where that is refused.
#![allow(
    unsafe_code,
    reason = "registering memory with a ring is unsafe wherever it is done"
)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process;

use io_uring::{Builder, IoUring, Submitter, opcode, types};

use super::error::{errno, name_errno};
use crate::buffer::Pool;

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

/// Registers the memory of a pool, region by region, so that a target's region is the index of its buffer.
///
/// # Safety
/// The pool must outlive the registration: until the ring is gone or the buffers are unregistered.
pub(super) unsafe fn register_buffers(submitter: &Submitter<'_>, pool: &Pool) -> io::Result<()> {
    let regions: Vec<_> = (pool.regions())
        .map(|(start, len)| libc::iovec {
            iov_base: start.as_ptr().cast(),
            iov_len: len,
        })
        .collect();
    // SAFETY: the regions are parts of the pool's mapping, which the caller promises to keep.
    unsafe { submitter.register_buffers(&regions) }
}

/// Keeps the memory of a pool registered for several rings to share: it is pinned and counted once. A ring that
/// belongs to one thread (SINGLE_ISSUER) cannot be the one to share from, so that this is one of its own, which
/// reads nothing.
pub(super) struct Keeper {
    ring: IoUring,
    _pool: Pool,
    /// A forked child has the ring too, and must leave it alone.
    made_by: u32,
}

impl Keeper {
    /// `None` where sharing is refused (before Linux 6.12), or registering: then each ring tries for itself.
    pub(super) fn new(pool: &Pool) -> Option<Keeper> {
        let build = || IoUring::builder().dontfork().build(1);
        let keeper = Keeper {
            ring: build().ok()?,
            _pool: pool.clone(),
            made_by: process::id(),
        };
        // SAFETY: the keeper holds the pool, and drops it after the ring.
        unsafe { register_buffers(&keeper.ring.submitter(), pool) }.ok()?;
        build()
            .ok()?
            .submitter()
            .register_buffers_clone(keeper.fd())
            .ok()?;
        Some(keeper)
    }

    /// The ring to clone from.
    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Now, and not some time after the ring is gone: until then it counts against the limit of the next.
        if process::id() == self.made_by {
            let _ = self.ring.submitter().unregister_buffers();
        }
    }
}

/// One clause that says which step was refused, with which errno, and what can be done about it.
pub(super) fn refusal(step: &str, error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    format!(
        "{step} was refused with {}: {}",
        name_errno(error),
        remedy(error, disabled.trim())
    )
}

fn remedy(error: &io::Error, disabled: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if matches!(disabled, "1" | "2") => {
            "set kernel.io_uring_disabled to 0".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => {
            "allow the io_uring system calls in the seccomp profile of the container".to_owned()
        }
        Some(libc::ENOSYS) => {
            "use Linux 5.6 or newer and allow the io_uring system calls in the seccomp profile or sandbox"
                .to_owned()
        }
        Some(libc::ENOMEM) => format!(
            "raise RLIMIT_MEMLOCK, now {}, or grant CAP_IPC_LOCK",
            memlock_limit()
        ),
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit on open files".to_owned(),
        _ => "choose another backend".to_owned(),
    }
}

/// The limit on locked memory, as the kernel prints it.
fn memlock_limit() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    line.and_then(|line| line.split_whitespace().next())
        .map_or("unknown".to_owned(), |soft| format!("{soft} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_errno_and_a_remedy() {
        let cases = [
            (libc::EPERM, "0", "seccomp"),
            (libc::EPERM, "2", "kernel.io_uring_disabled"),
            (libc::ENOSYS, "", "Linux 5.6"),
            (libc::ENOMEM, "", "RLIMIT_MEMLOCK"),
            (libc::EMFILE, "", "open files"),
            (libc::EOPNOTSUPP, "", "another backend"),
        ];
        for (code, disabled, word) in cases {
            let text = remedy(&errno(-code).unwrap_err(), disabled);
            assert!(text.contains(word), "{code}: {text}");
        }
        let text = refusal("io_uring_setup", &errno(-libc::ENOSYS).unwrap_err());
        assert!(
            text.starts_with("io_uring_setup was refused with ENOSYS (errno 38): use Linux"),
            "{text}"
        );
    }

    #[test]
    fn the_limit_is_read_as_a_number_or_unlimited() {
        let limit = memlock_limit();
        let soft = limit.strip_suffix(" bytes").unwrap();
        assert!(soft == "unlimited" || soft.parse::<u64>().is_ok(), "{limit}");
    }
}
