//! What this process has under way on disk and would leave behind if a signal ended it.
//!
//! Every temporary file and directory is registered with what removes it. A program that catches signals calls [`remove_all`],
//! and then ends. Nothing gets its final name any more once that has begun.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something under way; dropped when it is finished or removed.
#[derive(Debug)]
pub struct Unfinished {
    number: u64,
}

type Remove = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

struct Registry {
    next: u64,
    entries: BTreeMap<u64, Remove>,
    is_ending: bool,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    next: 0,
    entries: BTreeMap::new(),
    is_ending: false,
});

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something is being made that is to be registered: until it is, [`remove_all`] waits.
#[derive(Debug)]
pub struct Making {
    registry: MutexGuard<'static, Registry>,
}

/// Before something is made that is registered then. Registered only afterwards, and without this, it would stay if a signal came between.
/// In between nothing else may be registered or committed. So is what is made within a directory that is registered: a directory that
/// still grows cannot be removed.
///
/// # Errors
/// `Interrupted` where [`remove_all`] has been called: nothing must be made any more.
pub fn begin() -> io::Result<Making> {
    let registry = registry();
    match registry.is_ending {
        true => Err(ending()),
        false => Ok(Making { registry }),
    }
}

impl Making {
    /// Registers what was made with what removes it, which must not register anything itself.
    pub fn register(mut self, remove: impl FnOnce() + Send + 'static) -> Unfinished {
        let number = self.registry.next;
        self.registry.next += 1;
        self.registry.entries.insert(number, Box::new(remove));
        Unfinished { number }
    }

    /// Registers a file or directory with a name of its own that is renamed or removed at some time: removing it then does nothing.
    pub fn until_end(self, remove: impl FnOnce() + Send + 'static) {
        std::mem::forget(self.register(remove));
    }
}

fn ending() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the process is about to end")
}

/// Registers something that is there already with what removes it, which must not register anything itself.
pub fn register(remove: impl FnOnce() + Send + 'static) -> Unfinished {
    let mut registry = registry();
    let number = registry.next;
    registry.next += 1;
    if registry.is_ending {
        remove();
    } else {
        registry.entries.insert(number, Box::new(remove));
    }
    Unfinished { number }
}

impl Unfinished {
    /// Does what gives it its final name, and not while it is being removed.
    ///
    /// # Errors
    /// `Interrupted` where [`remove_all`] has been called: it is gone then, and `finish` is not called.
    pub fn commit<T>(&self, finish: impl FnOnce() -> T) -> io::Result<T> {
        let registry = registry();
        if registry.is_ending {
            return Err(ending());
        }
        Ok(finish())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let removed = registry().entries.remove(&self.number);
        drop(removed);
    }
}

/// Removes all that is under way, in stores and exports alike. For a process that is about to end: what it writes from then on fails,
/// or is removed at once.
pub fn remove_all() {
    let mut registry = registry();
    registry.is_ending = true;
    // The newest first: it may lie within an older one.
    while let Some((_, remove)) = registry.entries.pop_last() {
        remove();
    }
}
