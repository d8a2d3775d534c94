//! The packed encoding: one frame per obs (`FORMAT.md`, section 5).
//!
//! [`FrameEncoder`] makes a frame, [`FrameDecoder`] turns it back into column indices and values. What both share is
//! here: the descriptor of a group.

mod arch;
mod decode;
mod encode;
mod pack;
mod patch;
mod values;

pub use arch::Kernel;
pub use decode::{FrameDecoder, FrameError, Padded};
pub use encode::{FrameEncoder, Mode};
pub(crate) use values::{check_bools, check_exact, check_large_count, may_round, safe_codes};

use super::constants::{DESCRIPTOR_BYTES, GROUP_LEN};

/// Head of a group: widths and exceptions of its gaps and its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptor {
    gap: Stream,
    code: Stream,
}

/// One of the two bit-packed streams of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stream {
    /// Bits per entry, 0 to 31.
    width: u32,
    /// Whether high parts take 4 bytes rather than 1.
    wide: bool,
    /// Number of exceptions, 0 to 63.
    exceptions: usize,
}

impl Stream {
    /// Bytes of the packed part of `m` entries.
    const fn packed_bytes(self, m: usize) -> usize {
        (m * self.width as usize).div_ceil(8)
    }

    /// Bytes of a high part.
    const fn high_bytes(self) -> usize {
        if self.wide { 4 } else { 1 }
    }

    /// Bytes of the positions and high parts of the exceptions.
    const fn exception_bytes(self) -> usize {
        self.exceptions * (1 + self.high_bytes())
    }
}

/// A stream as it is in a frame. Small, since many are made before the first is used.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    stream: Stream,
    /// Entries of the group.
    m: u32,
    /// Start of the packed entries in the frame, in bytes.
    at: u32,
    /// Start of the exceptions: positions, then high parts.
    exceptions_at: u32,
}

impl Packed {
    /// Positions and high parts of the exceptions.
    #[inline(always)]
    fn exceptions(self, body: &[u8]) -> &[u8] {
        &body[self.exceptions_at as usize..][..self.stream.exception_bytes()]
    }
}

impl Descriptor {
    fn to_bytes(self) -> [u8; DESCRIPTOR_BYTES] {
        let bits = self.gap.width
            | self.code.width << 5
            | u32::from(self.gap.wide) << 10
            | u32::from(self.code.wide) << 11
            | (self.gap.exceptions as u32) << 12
            | (self.code.exceptions as u32) << 18;
        let [a, b, c, _] = bits.to_le_bytes();
        [a, b, c]
    }

    #[inline]
    fn from_bytes(bytes: [u8; DESCRIPTOR_BYTES]) -> Self {
        let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        Self {
            gap: Stream {
                width: bits & 31,
                wide: bits >> 10 & 1 == 1,
                exceptions: (bits >> 12 & 63) as usize,
            },
            code: Stream {
                width: bits >> 5 & 31,
                wide: bits >> 11 & 1 == 1,
                exceptions: (bits >> 18 & 63) as usize,
            },
        }
    }
}

/// Entries of a group while it is encoded or decoded.
type Group = [u32; GROUP_LEN];

#[cfg(test)]
mod tests;
