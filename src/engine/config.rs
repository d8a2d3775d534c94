//! How an engine is asked to read.

use cellring_core::setters;
use std::fmt;
use std::str::FromStr;

use super::backend::Backend;
use super::backend::method::Settings;
use super::names::{ParseNameError, name, parse};

/// Whether reads bypass the page cache (O_DIRECT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Direct {
    /// Past it, unless the files are already in it or their filesystem cannot.
    #[default]
    Auto,
    /// Past it; an error if that is not available.
    On,
    /// Through it.
    Off,
}

impl Direct {
    /// All of them, with the names that they are written and parsed with.
    const NAMES: [(Direct, &'static str); 3] =
        [(Direct::Auto, "auto"), (Direct::On, "on"), (Direct::Off, "off")];
}

impl FromStr for Direct {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Direct, ParseNameError> {
        parse(&Direct::NAMES, "direct I/O setting", text)
    }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name(&Direct::NAMES, *self))
    }
}

/// Settings of an [`Engine`](super::Engine); the default suits nearly everybody.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct EngineConfig {
    /// How to read.
    pub backend: Backend,
    /// Whether to go past the page cache.
    pub direct: Direct,
    /// Most reads in flight of each ring, 1 to 4096. By default a ring begins with 4 MiB in flight, but no fewer
    /// than 16 and no more than 128 reads - small reads need many in flight to keep a device busy, large ones
    /// few - and finds out by measuring whether the device is faster with up to eight times or as little as a
    /// quarter of that.
    pub depth: Option<u32>,
    /// Number of rings, 1 to 64; the reads from one device go to its rings in turn. By default one for each
    /// device that holds files (`st_dev`), and another one where there are more than two cores and the thread
    /// of a ring is busy all the time with reads waiting: a ring does several GB/s.
    pub rings: Option<u32>,
    /// Number of threads of `pread` (8 by default) and `mmap` (4 by default), at most 256.
    pub threads: Option<u32>,
    /// Whether the ring registers the buffers where it may, which saves about a third of the CPU time. Off is
    /// for comparison.
    pub no_registered_buffers: bool,
    /// Reads through a simulated device that fails on purpose, instead of any real backend.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub sim: Option<super::sim::Faults>,
    /// Has the rings try other depths all the time.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub is_hasty: bool,
    /// Has a thread that reads, of the ring or of `pread`, panic after so many reads.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub panics_after: Option<u64>,
}

impl EngineConfig {
    setters! {
        backend: as Backend,
        direct: as Direct,
        depth: into Option<u32>,
        rings: into Option<u32>,
        threads: into Option<u32>,
        no_registered_buffers: as bool,
    }

    /// What concerns a backend.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            depth: self.depth,
            rings: self.rings,
            threads: self.threads,
            no_registered_buffers: self.no_registered_buffers,
            #[cfg(any(test, feature = "sim"))]
            is_hasty: self.is_hasty,
            #[cfg(any(test, feature = "sim"))]
            panics_after: self.panics_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (direct, name) in Direct::NAMES {
            assert_eq!((direct.to_string(), name.parse()), (name.to_owned(), Ok(direct)));
        }
        assert!(
            "yes"
                .parse::<Direct>()
                .unwrap_err()
                .to_string()
                .contains("auto, on, off")
        );
    }
}
