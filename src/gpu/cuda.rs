//! The driver of NVIDIA GPUs, loaded at run time.
#![allow(unsafe_code, reason = "calls libcuda")]

use crate::Error;
use std::ffi::{CStr, c_char, c_int};
use std::process;
use std::ptr;

use cudarc::driver::sys;

use super::driver::{DevicePtr, Driver, DriverError, RawEvent, RawStream, Result};
use super::error::GpuError;

/// All that is called here. cudarc panics at the first call of one that is missing, so that they are looked up beforehand.
const SYMBOLS: &[&str] = &[
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuInit",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// A device, in its primary context: the one that cudarc, candle, burn and PyTorch use too.
#[derive(Debug)]
pub(super) struct Cuda {
    device: sys::CUdevice,
    context: sys::CUcontext,
    name: String,
    /// The driver is not to be called in a forked child.
    made_by: u32,
}

// SAFETY: a context may be made current on any thread, and on several at a time; the driver's calls are thread-safe.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

fn check(call: &'static str, result: sys::CUresult) -> Result<()> {
    match result as u32 {
        0 => Ok(()),
        code => Err(DriverError { call, code }),
    }
}

/// Calls a function of the driver and makes its result one.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: see the comment at the place of the call; the function was found when the device was opened.
        check(stringify!($name), unsafe { sys::$name($($argument),*) })
    };
}

impl Cuda {
    pub(super) fn open(ordinal: u32) -> std::result::Result<Self, Error> {
        let no_driver = |reason: String| GpuError::NoDriver { reason };
        // SAFETY: loads the library that goes by the driver's name, whose initialisers do no harm.
        if !unsafe { sys::is_culib_present() } {
            return Err(no_driver("libcuda.so.1 is not there".into()).into());
        }
        // SAFETY: as above; it has just been found to load.
        let library = unsafe { sys::culib() };
        for symbol in SYMBOLS {
            // SAFETY: only looked up, never called through this type.
            if unsafe { library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_err() {
                return Err(no_driver(format!(
                    "libcuda.so.1 is older than this program and has no {symbol}"
                ))
                .into());
            }
        }
        let refused = |source| GpuError::Open { ordinal, source };
        let number = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        let (mut device, mut context) = (0, ptr::null_mut());
        call!(cuInit(0)).map_err(refused)?;
        call!(cuDeviceGet(&mut device, number)).map_err(refused)?;
        let mut name: [c_char; 256] = [0; 256];
        // The length is that of the array.
        call!(cuDeviceGetName(name.as_mut_ptr(), 255, device)).map_err(refused)?;
        call!(cuDevicePrimaryCtxRetain(&mut context, device)).map_err(refused)?;
        // SAFETY: the driver wrote at most 255 bytes with a 0 after them, and the array was zeros.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        Ok(Self {
            device,
            context,
            name: name.to_string_lossy().into_owned(),
            made_by: process::id(),
        })
    }

    /// Runs calls with the context current on this thread, and puts back what was current before.
    fn within<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        call!(cuCtxPushCurrent_v2(self.context))?;
        let result = run();
        let mut popped = ptr::null_mut();
        call!(cuCtxPopCurrent_v2(&mut popped))?;
        result
    }

    /// The same to clean up: what goes wrong is of no use to anybody, and a forked child leaves the driver alone.
    fn finally(&self, run: impl FnOnce() -> Result<()>) {
        if process::id() == self.made_by
            && let Err(error) = self.within(run)
        {
            tracing::debug!(%error, "cleaning up on the GPU");
        }
    }
}

fn stream_of(stream: RawStream) -> sys::CUstream {
    stream.0 as usize as sys::CUstream
}

fn event_of(event: RawEvent) -> sys::CUevent {
    event.0 as usize as sys::CUevent
}

// Handles come from the driver itself (or, a stream, from a caller who vouched for it), and are not used once destroyed: their
// owners are the types of `stream`.
impl Driver for Cuda {
    fn device_name(&self) -> String {
        self.name.clone()
    }

    fn register(&self, start: *const u8, len_bytes: usize) -> Result<()> {
        // The driver checks the range; locking pages changes nothing in them.
        let start = start.cast_mut().cast();
        self.within(|| {
            call!(cuMemHostRegister_v2(
                start,
                len_bytes,
                sys::CU_MEMHOSTREGISTER_PORTABLE
            ))
        })
    }

    fn unregister(&self, start: *const u8) {
        self.finally(|| call!(cuMemHostUnregister(start.cast_mut().cast())));
    }

    fn allocate(&self, len_bytes: usize) -> Result<DevicePtr> {
        let mut memory = 0;
        self.within(|| call!(cuMemAlloc_v2(&mut memory, len_bytes)))?;
        Ok(memory)
    }

    fn free(&self, memory: DevicePtr) {
        self.finally(|| call!(cuMemFree_v2(memory)));
    }

    fn create_stream(&self) -> Result<RawStream> {
        let mut stream = ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        self.within(|| call!(cuStreamCreate(&mut stream, flags)))?;
        Ok(RawStream(stream as usize as u64))
    }

    fn destroy_stream(&self, stream: RawStream) {
        self.finally(|| call!(cuStreamDestroy_v2(stream_of(stream))));
    }

    fn synchronize(&self, stream: RawStream) -> Result<()> {
        self.within(|| call!(cuStreamSynchronize(stream_of(stream))))
    }

    fn create_event(&self) -> Result<RawEvent> {
        let mut event = ptr::null_mut();
        // A thread that waits for it sleeps; with times, for statistics.
        let flags = sys::CUevent_flags_enum::CU_EVENT_BLOCKING_SYNC as u32;
        self.within(|| call!(cuEventCreate(&mut event, flags)))?;
        Ok(RawEvent(event as usize as u64))
    }

    fn destroy_event(&self, event: RawEvent) {
        self.finally(|| call!(cuEventDestroy_v2(event_of(event))));
    }

    fn record(&self, event: RawEvent, stream: RawStream) -> Result<()> {
        self.within(|| call!(cuEventRecord(event_of(event), stream_of(stream))))
    }

    fn wait(&self, event: RawEvent) -> Result<()> {
        self.within(|| call!(cuEventSynchronize(event_of(event))))
    }

    fn stream_wait(&self, stream: RawStream, event: RawEvent) -> Result<()> {
        self.within(|| call!(cuStreamWaitEvent(stream_of(stream), event_of(event), 0)))
    }

    fn elapsed_ns(&self, from: RawEvent, to: RawEvent) -> Result<u64> {
        let mut milliseconds = 0.0;
        self.within(|| {
            call!(cuEventElapsedTime(
                &mut milliseconds,
                event_of(from),
                event_of(to)
            ))
        })?;
        Ok((f64::from(milliseconds) * 1e6) as u64)
    }

    unsafe fn copy_to_device(
        &self,
        to: DevicePtr,
        from: *const u8,
        len_bytes: usize,
        stream: RawStream,
    ) -> Result<()> {
        // Both ranges are as the caller promises.
        self.within(|| {
            call!(cuMemcpyHtoDAsync_v2(
                to,
                from.cast(),
                len_bytes,
                stream_of(stream)
            ))
        })
    }

    fn copy_to_host(&self, to: &mut [u8], from: DevicePtr, stream: RawStream) -> Result<()> {
        // The range is written before this returns: `to` is borrowed until then, also if waiting fails half-way, for then
        // the context is lost and copies nothing any more.
        self.within(|| {
            call!(cuMemcpyDtoHAsync_v2(
                to.as_mut_ptr().cast(),
                from,
                to.len(),
                stream_of(stream)
            ))?;
            call!(cuStreamSynchronize(stream_of(stream)))
        })
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if process::id() == self.made_by {
            // The context was retained once by `open`.
            let _ = call!(cuDevicePrimaryCtxRelease_v2(self.device));
        }
    }
}
