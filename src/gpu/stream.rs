//! Streams and events as values that clean up after themselves.

use crate::Error;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use super::driver::{Driver, RawEvent, RawStream, Result};

/// A stream of the device: what is put on it happens one after the other. Clones are the same stream.
#[derive(Clone)]
pub struct Stream {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Arc<dyn Driver>,
    raw: RawStream,
    is_owned: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:#x})", self.inner.raw.0)
    }
}

impl PartialEq for Stream {
    /// Whether they are the same stream of the driver.
    fn eq(&self, other: &Self) -> bool {
        self.inner.raw == other.inner.raw && Arc::ptr_eq(&self.inner.driver, &other.inner.driver)
    }
}

impl Eq for Stream {}

impl Stream {
    pub(super) fn new(driver: &Arc<dyn Driver>) -> Result<Self> {
        let raw = driver.create_stream()?;
        Ok(Self::from_raw(driver, raw, true))
    }

    /// The stream of somebody else.
    pub(super) fn from_raw(driver: &Arc<dyn Driver>, raw: RawStream, is_owned: bool) -> Self {
        let driver = driver.clone();
        Self {
            inner: Arc::new(Inner {
                driver,
                raw,
                is_owned,
            }),
        }
    }

    /// The driver's handle, a `CUstream`: for a launch of a kernel, or a library that takes streams. Valid as long as this
    /// stream or a clone of it lives.
    pub fn as_raw(&self) -> *mut c_void {
        self.inner.raw.0 as usize as *mut c_void
    }

    pub(super) fn raw(&self) -> RawStream {
        self.inner.raw
    }

    /// Waits for all that has been put on the stream.
    pub(super) fn synchronize_raw(&self) -> Result<()> {
        self.inner.driver.synchronize(self.inner.raw)
    }

    pub(super) fn driver(&self) -> &Arc<dyn Driver> {
        &self.inner.driver
    }

    /// Waits for all that has been put on the stream.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn synchronize(&self) -> std::result::Result<(), Error> {
        Ok(self.inner.driver.synchronize(self.inner.raw)?)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_owned {
            // What is on it would go on; no thread could wait for it any more.
            let _ = self.driver.synchronize(self.raw);
            self.driver.destroy_stream(self.raw);
        }
    }
}

/// An event of the device.
pub(super) struct Event {
    driver: Arc<dyn Driver>,
    raw: RawEvent,
}

impl Event {
    pub(super) fn new(driver: &Arc<dyn Driver>) -> Result<Self> {
        let raw = driver.create_event()?;
        let driver = driver.clone();
        Ok(Self { driver, raw })
    }

    pub(super) fn record(&self, stream: &Stream) -> Result<()> {
        self.driver.record(self.raw, stream.raw())
    }

    /// Waits until it has occurred.
    pub(super) fn wait(&self) -> Result<()> {
        self.driver.wait(self.raw)
    }

    /// Has the stream wait for it.
    pub(super) fn hold(&self, stream: &Stream) -> Result<()> {
        self.driver.stream_wait(stream.raw(), self.raw)
    }

    /// Nanoseconds since another one that has occurred, as this one has.
    pub(super) fn elapsed_ns(&self, since: &Event) -> Result<u64> {
        self.driver.elapsed_ns(since.raw, self.raw)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.driver.destroy_event(self.raw);
    }
}
