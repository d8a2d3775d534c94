//! What belongs to the process that made it: rings and threads do not survive a fork.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::exception;

/// Something with threads of its own, which may be closed, and is left alone in a process forked from the one that made it.
pub(crate) struct Owned<T: Send> {
    value: Mutex<ManuallyDrop<Option<T>>>,
    pid: u32,
    what: &'static str,
}

impl<T: Send> Owned<T> {
    pub(crate) fn new(value: T, what: &'static str) -> Self {
        Self {
            value: Mutex::new(ManuallyDrop::new(Some(value))),
            pid: std::process::id(),
            what,
        }
    }

    /// Whether it was made by this process.
    pub(crate) fn is_usable(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Does something with it, without the interpreter's lock.
    ///
    /// # Errors
    /// If it was closed, or this is a process forked from that which made it; else those of `work`.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> cellring::Result<R> + Send,
    ) -> PyResult<R> {
        if !self.is_usable() {
            return Err(exception(
                py,
                "StoppedError",
                &format!(
                    "this {} was opened by the process that this one was forked from, whose threads it needs: open it after the \
                     fork, or start processes by \"spawn\" or \"forkserver\"",
                    self.what
                ),
            ));
        }
        let done = crate::error::detached(py, || {
            let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            value.as_mut().map(work).transpose()
        })?;
        done.ok_or_else(|| {
            let sentence = format!("this {} was closed; iterate over its loader again", self.what);
            exception(py, "StoppedError", &sentence)
        })
    }

    /// A copy of it; `None` if it was closed, or is of another process.
    pub(crate) fn cloned(&self, py: Python<'_>) -> Option<T>
    where
        T: Clone,
    {
        if !self.is_usable() {
            return None;
        }
        py.detach(|| {
            let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            Option::clone(&value)
        })
    }

    /// Ends it: waits for its threads, unless a copy is in use.
    pub(crate) fn close(&self, py: Python<'_>) {
        if self.is_usable() {
            py.detach(|| {
                // Dropped outside the lock: no thread has to wait for it.
                let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(value);
            });
        }
    }
}

impl<T: Send> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.is_usable() {
            // Its threads are not here to be waited for, and its ring is the parent's.
            return;
        }
        let value = self
            .value
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if value.is_some() {
            // Other Python threads go on while its threads are waited for.
            // At the end of the interpreter the closure is not called, and what it holds is dropped as it is.
            let _ = Python::try_attach(|py| py.detach(|| drop(value)));
        }
    }
}
