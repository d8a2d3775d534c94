//! Memory page-locked for a GPU, and copies to it ahead of the consumer.
//!
//! With the Cargo feature `cuda` this drives NVIDIA GPUs: libcuda is loaded at run time, so that the same program runs without it
//! ([`Gpu::find`] says once that there is none). Without the feature the module is there too, and [`Gpu::open`] always refuses.
//!
//! A [`Gpu`] in [`LoaderConfig::gpu`](crate::LoaderConfig::gpu) has the NVMe write into the very pages that the GPU reads from. A
//! [`Feed`] then copies minibatches, or fetches of undecoded bytes ([`Loader::fetches`](crate::Loader::fetches)), a few stages ahead:
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::gpu::{Feed, Gpu, StagerConfig};
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let gpu = Gpu::open(0)?;
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let loader = Loader::new(store, LoaderConfig::default().gpu(gpu.clone()))?;
//! let (copies, kernels) = (gpu.stream()?, gpu.stream()?);
//! for minibatch in Feed::new(&gpu, &copies, loader.epoch(0)?, StagerConfig::default())? {
//!     let minibatch = minibatch?;
//!     // Kernels that are launched on this stream from now on find the minibatch complete.
//!     if let Some(x) = minibatch.csr(&kernels)? {
//!         println!("{:?}: indptr at {:#x}, {} values", x.shape, x.indptr.address, x.values.len());
//!     }
//!     // Dropped: its place is written again when what was put on the stream so far is done.
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Addresses are `CUdeviceptr` in the device's primary context, [`Stream::as_raw`] is a `CUstream`, and
//! [`Gpu::stream_from_raw`] takes one: so cudarc, candle and burn work with both. [`dlpack`] is for everybody else.
//!
//! Order of ends: reads are over and the ring has forgotten the memory, copies are over, the driver unlocks the memory, it is
//! unmapped. Each owner sees to it as it is dropped: slots keep their arena, copies under way keep their slots, and the arena unlocks
//! itself before it goes.

mod array;
mod config;
mod copy_plan;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
pub mod dlpack;
mod driver;
mod error;
mod feed;
mod host;
mod on_device;
mod pending;
mod source;
mod stage;
mod stager;
#[cfg(any(test, feature = "sim"))]
mod standin;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use array::{ArraySpec, Arrays};
pub use array::{DeviceArray, ElementType};
pub use config::{CopyStats, StagerConfig};
pub use device::Gpu;
pub(crate) use device::Locked;
pub use driver::DevicePtr;
#[doc(hidden)]
pub use driver::DriverError;
#[doc(hidden)]
pub use error::GpuError;
pub use feed::{Feed, FeedError};
#[doc(hidden)]
pub use host::HostBuffer;
pub use on_device::OnDevice;
pub use source::CopySource;
pub(crate) use source::private;
pub use stager::Stager;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub use standin::{Counts, Refusals, StandIn};
pub use stream::Stream;
