//! A read for a backend to carry out: a read of a submission, or a piece of a long one.

use crate::buffer::Target;

/// Longer reads are cut into pieces of this many bytes: what one command of the device can carry, and what
/// lets one large read keep several in flight.
pub(super) const MAX_PIECE_BYTES: u32 = 1 << 20;

/// A read for a backend to carry out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) file: u32,
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u32,
    pub(super) target: Target,
}
