//! The packed encoding: one frame per obs (`FORMAT.md`, section 5).
//!
//! [`FrameEncoder`] makes a frame, [`FrameDecoder`] turns it back into column indices and values.

mod arch;
mod checksum;
mod codec;
mod decode;
mod encode;
mod frame;
mod group;
mod pack;
mod patch;
mod values;

pub use arch::Kernel;
pub(crate) use codec::PackedCodec;
pub use decode::FrameDecoder;
pub use encode::FrameEncoder;
pub use group::Mode;

#[cfg(test)]
mod tests;
