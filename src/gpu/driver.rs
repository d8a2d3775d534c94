//! The few calls of a GPU driver that are needed, as a trait: implemented by the real driver, and in tests by a stand-in.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// An address in the memory of the device, as `CUdeviceptr`.
pub type DevicePtr = u64;

/// A stream of the driver, as the number that its pointer is. 0 is the default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RawStream(pub(crate) u64);

/// An event of the driver, as the number that its pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RawEvent(pub(crate) u64);

/// What the driver answered when it did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DriverError {
    /// The call.
    pub call: &'static str,
    /// Its `CUresult`.
    pub code: u32,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, code } = self;
        match name(*code) {
            Some(name) => write!(f, "{call} was refused with {name} ({code})"),
            None => write!(f, "{call} was refused with CUDA error {code}"),
        }
    }
}

/// `CUresult` values that have a remedy of their own, from the manual of the CUDA driver API.
pub(crate) mod code {
    pub(crate) const INVALID_VALUE: u32 = 1;
    pub(crate) const OUT_OF_MEMORY: u32 = 2;
    pub(crate) const NOT_INITIALIZED: u32 = 3;
    pub(crate) const STUB_LIBRARY: u32 = 34;
    pub(crate) const NO_DEVICE: u32 = 100;
    pub(crate) const INVALID_DEVICE: u32 = 101;
    pub(crate) const OPERATING_SYSTEM: u32 = 304;
    pub(crate) const ILLEGAL_ADDRESS: u32 = 700;
    pub(crate) const ALREADY_REGISTERED: u32 = 712;
    pub(crate) const NOT_PERMITTED: u32 = 800;
    pub(crate) const NOT_SUPPORTED: u32 = 801;
    pub(crate) const SYSTEM_DRIVER_MISMATCH: u32 = 803;
    pub(crate) const UNKNOWN: u32 = 999;
}

fn name(code: u32) -> Option<&'static str> {
    Some(match code {
        code::INVALID_VALUE => "CUDA_ERROR_INVALID_VALUE",
        code::OUT_OF_MEMORY => "CUDA_ERROR_OUT_OF_MEMORY",
        code::NOT_INITIALIZED => "CUDA_ERROR_NOT_INITIALIZED",
        code::STUB_LIBRARY => "CUDA_ERROR_STUB_LIBRARY",
        code::NO_DEVICE => "CUDA_ERROR_NO_DEVICE",
        code::INVALID_DEVICE => "CUDA_ERROR_INVALID_DEVICE",
        code::OPERATING_SYSTEM => "CUDA_ERROR_OPERATING_SYSTEM",
        code::ILLEGAL_ADDRESS => "CUDA_ERROR_ILLEGAL_ADDRESS",
        code::ALREADY_REGISTERED => "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
        code::NOT_PERMITTED => "CUDA_ERROR_NOT_PERMITTED",
        code::NOT_SUPPORTED => "CUDA_ERROR_NOT_SUPPORTED",
        code::SYSTEM_DRIVER_MISMATCH => "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        code::UNKNOWN => "CUDA_ERROR_UNKNOWN",
        _ => return None,
    })
}

/// What can be done about memory that the driver refuses to page-lock.
pub(crate) fn remedy(code: u32) -> &'static str {
    match code {
        code::OUT_OF_MEMORY | code::OPERATING_SYSTEM => {
            "raise the limit of locked memory (ulimit -l unlimited; docker run --ulimit memlock=-1) or lower the memory budget"
        }
        code::NOT_PERMITTED => {
            "allow this process to lock memory (docker run --cap-add IPC_LOCK --ulimit memlock=-1)"
        }
        code::ALREADY_REGISTERED => "let no other library register memory of this process",
        code::NOT_SUPPORTED => {
            "use a driver and a platform that can page-lock memory of the process (not all virtual GPUs can)"
        }
        _ => "update the driver, and see what it wrote to the kernel's log (dmesg)",
    }
}

/// What can be done where there is no device to open.
pub(crate) fn open_remedy(code: u32) -> &'static str {
    match code {
        code::NO_DEVICE => "make a GPU visible to this process (docker run --gpus all; CUDA_VISIBLE_DEVICES)",
        code::INVALID_DEVICE => "name the number of a device that nvidia-smi lists",
        code::STUB_LIBRARY => {
            "put the driver's own libcuda.so.1 before the stub of the CUDA toolkit in the library path"
        }
        code::SYSTEM_DRIVER_MISMATCH => "restart the machine, or the container with the driver of its host",
        _ => "see whether nvidia-smi works here",
    }
}

pub(crate) type Result<T> = std::result::Result<T, DriverError>;

/// One device and the calls made for it. Every method may be called on any thread.
pub(crate) trait Driver: fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// The device's name.
    fn device_name(&self) -> String;

    /// `cuMemHostRegister` with `CU_MEMHOSTREGISTER_PORTABLE`: never write-combined, for the CPU decodes from this memory.
    fn register(&self, start: *const u8, len_bytes: usize) -> Result<()>;

    /// `cuMemHostUnregister`. What goes wrong is nobody's business any more: the process may be about to end.
    fn unregister(&self, start: *const u8);

    fn allocate(&self, len_bytes: usize) -> Result<DevicePtr>;
    fn free(&self, memory: DevicePtr);

    fn create_stream(&self) -> Result<RawStream>;
    fn destroy_stream(&self, stream: RawStream);
    /// Waits for all that has been put on the stream.
    fn synchronize(&self, stream: RawStream) -> Result<()>;

    fn create_event(&self) -> Result<RawEvent>;
    fn destroy_event(&self, event: RawEvent);
    /// Puts the event on the stream: it occurs when all that was put there before is done.
    fn record(&self, event: RawEvent, stream: RawStream) -> Result<()>;
    /// Waits for the event as it was last recorded. One that never was has occurred.
    fn wait(&self, event: RawEvent) -> Result<()>;
    /// Has what is put on the stream from now on wait for the event, without waiting here.
    fn stream_wait(&self, stream: RawStream, event: RawEvent) -> Result<()>;
    /// Nanoseconds between two events that have occurred.
    fn elapsed_ns(&self, from: RawEvent, to: RawEvent) -> Result<u64>;

    /// Puts a copy to the device on the stream.
    ///
    /// # Safety
    /// `from` must be readable for `len_bytes`, and not change, until the copy is done; `to` must lie, with as many bytes, in
    /// memory of [`allocate`](Driver::allocate) that is not freed before that.
    #[allow(unsafe_code, reason = "the caller vouches for the addresses")]
    unsafe fn copy_to_device(
        &self,
        to: DevicePtr,
        from: *const u8,
        len_bytes: usize,
        stream: RawStream,
    ) -> Result<()>;

    /// Copies from the device after all that is on the stream, and waits for it.
    fn copy_to_host(&self, to: &mut [u8], from: DevicePtr, stream: RawStream) -> Result<()>;
}
