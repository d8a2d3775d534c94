//! What can go wrong with a read, and the one place where the kernel's sign convention is undone.

use std::io;
use std::path::PathBuf;

/// Why reads failed, or an engine could not be started. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A file could not be opened.
    #[error("{} could not be opened for reading: {source}{}", path.display(), open_remedy(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The requested way of reading is not available.
    #[error("{wanted} was requested but is not available: {reason}")]
    Unavailable {
        /// What was asked for.
        wanted: String,
        /// Why it is not available, and what can be done about it.
        reason: String,
    },
    /// The kernel reported that a read failed, or kept asking to try again.
    #[error("reading {len_bytes} bytes at byte {offset_bytes} of {} failed: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in the file the failed read began.
        offset_bytes: u64,
        /// How many bytes were asked for.
        len_bytes: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file has become shorter than it was when the engine was started.
    #[error(
        "{} ends before byte {end_bytes} that it had when it was opened: expected {expected_bytes} bytes at byte {offset_bytes}, found {found_bytes}; restore the file and open it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where in the file the read began.
        offset_bytes: u64,
        /// How many bytes the file should have had there.
        expected_bytes: u32,
        /// How many it had.
        found_bytes: u32,
        /// The first byte after the read.
        end_bytes: u64,
    },
    /// A read that cannot be made; nothing of its submission was read.
    #[error("read {read} of the submission is not possible: {problem}")]
    InvalidRead {
        /// Index of the read in its submission.
        read: usize,
        /// Which rule it breaks.
        problem: String,
    },
    /// A slot of a pool other than the one that the engine was started with; nothing was read.
    #[error("slot {slot} of the submission is from a pool that this engine was not started with")]
    ForeignSlot {
        /// Index of the slot in its submission.
        slot: usize,
    },
    /// The engine was dropped before the submission was wholly read.
    #[error("the engine was stopped before these bytes were read")]
    Stopped,
    /// The process is a fork of the one that started the engine.
    #[error(
        "the engine was started by process {started_by}, of which this process is a fork; start one after the fork"
    )]
    Forked {
        /// Id of the process that started the engine.
        started_by: u32,
    },
    /// The ring broke down; the slots of reads in flight are lost, because the kernel may still write to
    /// them.
    #[error(
        "the io_uring instance failed ({reason}) and reads in flight were abandoned; start another engine"
    )]
    Ring {
        /// What the kernel said.
        reason: String,
    },
    /// A thread that reads panicked; the slots of reads in flight are lost.
    #[error(
        "a reading thread of the engine panicked and reads in flight were abandoned; start another engine"
    )]
    Panicked,
    /// A thread could not be started.
    #[error(
        "a thread of the engine could not be started: {source}; raise the limit on processes (ulimit -u) or ask for fewer threads"
    )]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// What can be done about a file that could not be opened, as the end of a sentence.
fn open_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        _ => "",
    }
}

/// Why an engine reads no more: what every submission fails with from then on.
#[derive(Debug, Clone)]
pub(super) enum Breakdown {
    /// The ring failed, for this reason.
    Ring(String),
    /// A thread panicked.
    Panic,
}

impl Breakdown {
    pub(super) fn error(&self) -> EngineError {
        match self {
            Breakdown::Ring(reason) => EngineError::Ring {
                reason: reason.clone(),
            },
            Breakdown::Panic => EngineError::Panicked,
        }
    }
}

/// Turns a result in the kernel's convention - a count, or an errno made negative - into one of the library.
/// The sign of errno is handled here and nowhere else.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one function that the lint leaves it to"
)]
pub(crate) fn errno(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()))
}

/// Names an error of the system for a sentence that tells what to do: `EPERM (errno 1)`.
pub(crate) fn name_errno(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let name = match code {
        libc::EPERM => "EPERM",
        libc::EIO => "EIO",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENOSYS => "ENOSYS",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        _ => return format!("errno {code}, {error}"),
    };
    format!("{name} (errno {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_result_is_the_errno_without_its_sign() {
        assert_eq!(errno(0).unwrap(), 0);
        assert_eq!(errno(i32::MAX).unwrap(), i32::MAX as u32);
        assert_eq!(errno(-libc::EIO).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(errno(-1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(errno(i32::MIN).is_err());
    }

    #[test]
    fn errors_are_named() {
        assert_eq!(
            name_errno(&errno(-libc::ENOSYS).unwrap_err()),
            "ENOSYS (errno 38)"
        );
        assert!(name_errno(&errno(-libc::EXDEV).unwrap_err()).starts_with("errno 18, "));
        assert_eq!(name_errno(&io::Error::other("odd")), "odd");
    }
}
