//! The backends: each a file or a folder, and one row in the list below.

pub(super) mod method;
mod mmap;
pub(super) mod pread;
mod uring;

use std::fmt;
use std::str::FromStr;

use super::names::{ParseNameError, name, parse};
use method::Method;

pub(crate) use uring::probe_ring;

/// Makes [`Backend`] from the list of backends.
macro_rules! backends {
    ($($(#[$meta:meta])* $backend:ident = $name:literal by $method:expr;)*) => {
        /// How bytes get from a file into a slot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub enum Backend {
            /// The fastest that works here, proven by a real read.
            #[default]
            Auto,
            $($(#[$meta])* $backend,)*
        }

        impl Backend {
            /// All of them, with the names that they are written and parsed with.
            const NAMES: &'static [(Backend, &'static str)] =
                &[(Backend::Auto, "auto"), $((Backend::$backend, $name),)*];

            /// The backend as the rest of the engine knows it; `None` for [`Auto`](Self::Auto), which tries several.
            pub(super) fn method(self) -> Option<&'static dyn Method> {
                match self {
                    Backend::Auto => None,
                    $(Backend::$backend => Some(&$method),)*
                }
            }
        }
    };
}

backends! {
    /// Threads with an io_uring instance each, mostly one.
    Uring = "uring" by uring::UringBackend;
    /// Several threads that call pread(2).
    Pread = "pread" by pread::PreadBackend;
    /// Several threads that have the kernel copy from a memory map (process_vm_readv(2)).
    Mmap = "mmap" by mmap::MmapBackend;
}

impl Backend {
    /// Every backend of the list.
    #[cfg(test)]
    pub(super) fn every() -> impl Iterator<Item = (Backend, &'static dyn Method)> {
        Backend::NAMES
            .iter()
            .filter_map(|&(backend, _)| Some((backend, backend.method()?)))
    }
}

impl FromStr for Backend {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Backend, ParseNameError> {
        parse(Backend::NAMES, "backend", text)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name(Backend::NAMES, *self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for &(backend, name) in Backend::NAMES {
            assert_eq!(
                (backend.to_string(), name.parse()),
                (name.to_owned(), Ok(backend))
            );
        }
        let error = "Uring".parse::<Backend>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#"invalid backend "Uring": expected one of auto, uring, pread, mmap"#
        );
    }
}
