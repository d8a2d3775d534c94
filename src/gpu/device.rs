//! One device: opened once, shared by all that copy to it; and the memory that is page-locked for it.

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};
#[cfg(feature = "cuda")]
use std::sync::{Mutex, PoisonError, Weak};

use super::driver::{self, DevicePtr, Driver, DriverError, RawStream};
use super::error::GpuError;
use super::stream::Stream;
use crate::Error;
use crate::buffer::Pool;

/// A GPU. Clones are the same device.
///
/// A loader with a GPU ([`LoaderConfig::gpu`](crate::LoaderConfig::gpu)) has its read buffers page-locked, the very pages that are
/// registered with io_uring, and the large arrays of its minibatches. Memory that the driver refuses to lock is used all the
/// same: copies from it are slower and wait for the CPU. One warning says so, and what can be done about it, and
/// [`degraded`](Gpu::degraded) too.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Arc<dyn Driver>,
    ordinal: u32,
    pinned_bytes: Arc<AtomicUsize>,
    degraded: OnceLock<String>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("ordinal", &self.ordinal())
            .field("name", &self.name())
            .field("pinned_bytes", &self.pinned_bytes())
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the device of this number, in its primary context.
    ///
    /// # Errors
    /// If there is no driver, no such device, or no code for it.
    pub fn open(ordinal: u32) -> Result<Self, Error> {
        #[cfg(feature = "cuda")]
        {
            // Loaders of one process share a device, and so its one warning.
            static OPEN: Mutex<Vec<(u32, Weak<Inner>)>> = Mutex::new(Vec::new());
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(_, inner)| inner.strong_count() > 0);
            let known = open.iter().find(|(known, _)| *known == ordinal);
            if let Some(inner) = known.and_then(|(_, inner)| inner.upgrade()) {
                return Ok(Self { inner });
            }
            let gpu = Self::with(Arc::new(super::cuda::Cuda::open(ordinal)?), ordinal);
            open.push((ordinal, Arc::downgrade(&gpu.inner)));
            Ok(gpu)
        }
        #[cfg(not(feature = "cuda"))]
        {
            let _ = ordinal;
            Err(GpuError::NotBuilt.into())
        }
    }

    /// The device of this number, or `None`: then one warning has told why, at the first such call of the process.
    pub fn find(ordinal: u32) -> Option<Self> {
        static SAID: Once = Once::new();
        Self::open(ordinal)
            .inspect_err(|error| SAID.call_once(|| tracing::warn!("no GPU is used: {error}")))
            .ok()
    }

    /// The device that a stand-in for the driver pretends to be.
    #[cfg(any(test, feature = "sim"))]
    pub fn stand_in(stand_in: &super::standin::StandIn) -> Self {
        Self::with(Arc::new(stand_in.clone()), 0)
    }

    #[cfg_attr(
        not(any(test, feature = "sim", feature = "cuda")),
        expect(dead_code, reason = "without any driver there is no device")
    )]
    fn with(driver: Arc<dyn Driver>, ordinal: u32) -> Self {
        Self {
            inner: Arc::new(Inner {
                driver,
                ordinal,
                pinned_bytes: Arc::default(),
                degraded: OnceLock::new(),
            }),
        }
    }

    /// Number of the device among those that this process sees.
    pub fn ordinal(&self) -> u32 {
        self.inner.ordinal
    }

    /// Name of the device.
    pub fn name(&self) -> String {
        self.inner.driver.device_name()
    }

    /// Bytes of host memory that are page-locked for this device at this moment.
    pub fn pinned_bytes(&self) -> usize {
        self.inner.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Why some host memory is not page-locked, and what can be done about it; `None` where all of it is.
    pub fn degraded(&self) -> Option<&str> {
        self.inner.degraded.get().map(String::as_str)
    }

    /// A new stream, which does not wait for the default stream.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn stream(&self) -> Result<Stream, Error> {
        Ok(Stream::new(&self.inner.driver)?)
    }

    /// The stream of a caller, a `CUstream` or `cudaStream_t` of this device's primary context; null is the default stream.
    ///
    /// # Safety
    /// The stream must not be destroyed as long as the returned value or a clone of it lives, which data on the device
    /// that was [used on](super::OnDevice::on) the stream holds.
    ///
    /// # Panics
    /// If it is the default stream of a thread (`cudaStreamPerThread`, 2): on each thread that is another stream.
    #[allow(unsafe_code, reason = "only its contract is unsafe")]
    pub unsafe fn stream_from_raw(&self, stream: *mut c_void) -> Stream {
        assert_ne!(
            stream as usize, 2,
            "the default stream of a thread is another one on each thread"
        );
        Stream::from_raw(&self.inner.driver, RawStream(stream as usize as u64), false)
    }

    /// Page-locks the read buffers of a pool until they are no longer used.
    pub(crate) fn pin_pool(&self, pool: &Pool) {
        let (start, len_bytes) = pool.slot_memory();
        if let Some(locked) = self.lock_at(start.as_ptr(), len_bytes) {
            pool.guard(Box::new(locked));
        }
    }

    /// Page-locks memory. `None` where that is refused.
    ///
    /// The caller keeps the memory as long as what is returned. Nothing else may lie on its pages that is locked too: begin and end
    /// are best those of pages.
    pub(crate) fn lock_pages(&self, memory: &[u8]) -> Option<Locked> {
        self.lock_at(memory.as_ptr(), memory.len())
    }

    fn lock_at(&self, start: *const u8, len_bytes: usize) -> Option<Locked> {
        // Asked for once more for each minibatch it would be refused as often.
        if self.degraded().is_some() || len_bytes == 0 {
            return None;
        }
        match self.inner.driver.register(start, len_bytes) {
            Ok(()) => {
                self.inner.pinned_bytes.fetch_add(len_bytes, Ordering::Relaxed);
                Some(Locked {
                    driver: self.inner.driver.clone(),
                    start: start as usize,
                    len_bytes,
                    pinned_bytes: self.inner.pinned_bytes.clone(),
                })
            }
            Err(error) => {
                self.degrade(error, len_bytes);
                None
            }
        }
    }

    fn degrade(&self, error: DriverError, len_bytes: usize) {
        let mut is_first = false;
        let text = self.inner.degraded.get_or_init(|| {
            is_first = true;
            format!(
                "{len_bytes} bytes of host memory could not be page-locked: {error}; copies to the GPU are slower for it; {}",
                driver::remedy(error.code)
            )
        });
        if is_first {
            tracing::warn!("{text}");
        }
    }

    pub(super) fn driver(&self) -> &Arc<dyn Driver> {
        &self.inner.driver
    }

    pub(super) fn allocate(&self, len_bytes: usize) -> Result<DeviceMemory, Error> {
        let allocated = self.inner.driver.allocate(len_bytes);
        let start = allocated.map_err(|source| GpuError::Memory {
            needed_bytes: len_bytes,
            source,
        })?;
        Ok(DeviceMemory {
            driver: self.inner.driver.clone(),
            start,
            len_bytes,
        })
    }
}

/// Page-locked memory; dropping it unlocks the memory.
pub(crate) struct Locked {
    driver: Arc<dyn Driver>,
    start: usize,
    len_bytes: usize,
    pinned_bytes: Arc<AtomicUsize>,
}

const _: fn() = || {
    fn is_a_guard<T: Any + Send + Sync>() {}
    is_a_guard::<Locked>();
};

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({} bytes)", self.len_bytes)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.driver.unregister(self.start as *const u8);
        self.pinned_bytes.fetch_sub(self.len_bytes, Ordering::Relaxed);
    }
}

/// Memory of the device; freed when dropped, which the owner does only when nothing uses it any more.
pub(super) struct DeviceMemory {
    driver: Arc<dyn Driver>,
    pub(super) start: DevicePtr,
    pub(super) len_bytes: usize,
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.driver.free(self.start);
    }
}
