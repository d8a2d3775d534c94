//! What encoder and decoder share: the mode of a frame, the descriptor of a group, and its two streams.

use crate::format::constants::{DESCRIPTOR_BYTES, GROUP_LEN};

/// How the values of a frame are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Positive integers, as code = value - 1.
    Counts = 0,
    /// Codes into a dictionary of the frame's distinct values.
    Dictionary = 1,
    /// Values as they are.
    Plain = 2,
}

impl Mode {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Counts, Self::Dictionary, Self::Plain]
            .into_iter()
            .find(|&mode| mode as u8 == byte)
    }
}

/// Head of a group: widths and exceptions of its gaps and its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) gap: Stream,
    pub(super) code: Stream,
}

/// One of the two bit-packed streams of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// Bits per entry, 0 to 31.
    pub(super) width: u32,
    /// Whether high parts take 4 bytes rather than 1.
    pub(super) wide: bool,
    /// Number of exceptions, 0 to 63.
    pub(super) exceptions: usize,
}

impl Stream {
    /// Bytes of the packed part of `m` entries.
    pub(super) const fn packed_bytes(self, m: usize) -> usize {
        (m * self.width as usize).div_ceil(8)
    }

    /// Bytes of a high part.
    pub(super) const fn high_bytes(self) -> usize {
        if self.wide { 4 } else { 1 }
    }

    /// Bytes of the positions and high parts of the exceptions.
    pub(super) const fn exception_bytes(self) -> usize {
        self.exceptions * (1 + self.high_bytes())
    }
}

/// A stream as it is in a frame. Small, since many are made before the first is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed {
    pub(super) stream: Stream,
    /// Entries of the group.
    pub(super) m: u32,
    /// Start of the packed entries in the frame, in bytes.
    pub(super) at: u32,
    /// Start of the exceptions: positions, then high parts.
    pub(super) exceptions_at: u32,
}

impl Packed {
    /// Positions and high parts of the exceptions.
    #[inline(always)]
    pub(super) fn exceptions(self, body: &[u8]) -> &[u8] {
        &body[self.exceptions_at as usize..][..self.stream.exception_bytes()]
    }
}

impl Descriptor {
    pub(super) fn to_bytes(self) -> [u8; DESCRIPTOR_BYTES] {
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
    pub(super) fn from_bytes(bytes: [u8; DESCRIPTOR_BYTES]) -> Self {
        Self::from_bits(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
    }

    /// From a number whose low 24 bits are the descriptor.
    #[inline(always)]
    pub(super) fn from_bits(bits: u32) -> Self {
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
pub(super) type Group = [u32; GROUP_LEN];
