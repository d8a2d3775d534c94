//! What an engine reads with, and why.

use std::fmt;

use super::Backend;

/// One way of reading: a rung of the ladder that `auto` goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// How bytes get from the file into a slot; never [`Backend::Auto`].
    pub backend: Backend,
    /// Past the page cache.
    pub direct: bool,
    /// With the slots registered: only with [`Backend::Uring`].
    pub registered_buffers: bool,
}

/// A way of reading that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// The way.
    pub way: Way,
    /// Why it was not taken, with errno and remedy where the kernel refused it; `None` for the one that was.
    pub refusal: Option<String>,
}

/// How an engine reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The way of reading.
    pub way: Way,
    /// One sentence: what is used, and what kept the engine from using something faster.
    pub reason: String,
    /// Every way that was tried, in that order; the last one was taken.
    pub rungs: Vec<Rung>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.backend, self.registered_buffers) {
            (Backend::Uring, true) => "io_uring with registered buffers",
            (Backend::Uring, false) => "io_uring without registered buffers",
            (Backend::Pread, _) => "pread by several threads",
            (Backend::Mmap, _) => return f.write_str("copies from a memory map"),
            (Backend::Auto, _) => "any backend",
        };
        write!(
            f,
            "{how} {}",
            if self.direct {
                "bypassing the page cache (O_DIRECT)"
            } else {
                "through the page cache"
            }
        )
    }
}
