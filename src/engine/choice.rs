//! What an engine reads with, and why.

use std::fmt;

use super::backend::Backend;
use super::backend::method::Variant;

/// A method of reading: one step of the ladder that `auto` goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMethod {
    /// How bytes get from the file into a slot; never [`Backend::Auto`].
    pub backend: Backend,
    /// Past the page cache.
    pub direct: bool,
    /// With the slots registered: only with [`Backend::Uring`].
    pub registered_buffers: bool,
}

/// A method of reading that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The method.
    pub method: ReadMethod,
    /// Why it was not taken, with errno and remedy where the kernel refused it; `None` for the one that was.
    pub refusal: Option<String>,
}

/// How an engine reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The method in use.
    pub method: ReadMethod,
    /// One sentence: what is used, and what kept the engine from using something faster.
    pub reason: String,
    /// Every method that was tried, in that order; the last one was taken.
    pub attempts: Vec<Attempt>,
}

impl ReadMethod {
    pub(super) fn new(backend: Backend, variant: Variant) -> ReadMethod {
        ReadMethod {
            backend,
            direct: variant.direct,
            registered_buffers: variant.registered_buffers,
        }
    }

    pub(super) fn variant(self) -> Variant {
        Variant {
            direct: self.direct,
            registered_buffers: self.registered_buffers,
        }
    }
}

impl fmt::Display for ReadMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.backend.method();
        let how = method.map_or("any backend", |method| method.describe(self.variant()));
        if method.is_some_and(|method| method.needs_page_cache().is_some()) {
            return f.write_str(how);
        }
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
