//! How many files this process may have open at a time.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Runs what opens a file. If this process has as many open as it may, it is allowed as many as it can be, and the file is opened again: the
/// usual limit is 1,024, and what reads a store may need thousands.
///
/// # Errors
/// As `open`.
pub fn with_descriptors<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match open() {
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            allow_most_descriptors();
            // Another thread may have raised the limit meanwhile.
            open()
        }
        outcome => outcome,
    }
}

/// Allows this process as many open files as it can be allowed. Where that is refused, as by sandboxes, the limit stays what it is.
pub fn allow_most_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// How many files this process may have open; `None`: any number.
pub fn most_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
