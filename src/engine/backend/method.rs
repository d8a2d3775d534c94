//! What the rest of the engine knows of a backend.

use crate::engine::error::EngineError;
use crate::engine::port::{Io, Port};

/// What a caller may set of backends; each takes what concerns it.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Settings {
    pub(in crate::engine) depth: Option<u32>,
    pub(in crate::engine) rings: Option<u32>,
    pub(in crate::engine) threads: Option<u32>,
    pub(in crate::engine) no_registered_buffers: bool,
    #[cfg(any(test, feature = "sim"))]
    pub(in crate::engine) is_hasty: bool,
    #[cfg(any(test, feature = "sim"))]
    pub(in crate::engine) panics_after: Option<u64>,
}

/// One of the variants in which a backend can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Variant {
    /// Past the page cache.
    pub(in crate::engine) direct: bool,
    pub(in crate::engine) registered_buffers: bool,
}

/// A backend that reads, or one clause that says which step was refused and what can be done.
pub(in crate::engine) type Started = Result<Result<Box<dyn Io>, String>, EngineError>;

/// A backend, before it is started.
pub(in crate::engine) trait Method: Sync {
    /// The variants that it offers, the fastest first, of files that were opened with or without O_DIRECT.
    fn variants(&self, direct: bool, _settings: &Settings) -> Vec<Variant> {
        vec![Variant {
            direct,
            registered_buffers: false,
        }]
    }

    /// Why it reads through the page cache only, and what to choose instead. `None` if it can bypass the cache.
    fn needs_page_cache(&self) -> Option<&'static str> {
        None
    }

    /// What it reads with, for users.
    fn describe(&self, variant: Variant) -> &'static str;

    /// Starts it, and proves it by a real read.
    fn start(&self, variant: Variant, port: Port, settings: &Settings) -> Started;
}
