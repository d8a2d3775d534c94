//! The packed encoding: one frame per obs (`FORMAT.md`, section 5).
//!
//! [`FrameEncoder`] makes a frame, [`FrameDecoder`] turns it back into column indices and values.

mod arch;
mod checksum;
mod codec;
mod decode;
mod encode;
mod group;
mod pack;
mod patch;

pub use arch::Kernel;
pub(crate) use codec::PackedCodec;
pub use decode::FrameDecoder;
pub use encode::{FrameEncoder, Mode};

#[cfg(test)]
mod tests;
