//! Why a pool could not be made.

use std::io;

/// Why a [`Pool`](super::Pool) could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// No slots, or slots of no bytes, or a slot that does not fit a registered buffer.
    #[error(
        "a buffer pool of {n_slots} slots of {slot_bytes} bytes cannot be made: it needs at least one slot of 1 to {max_slot_bytes} bytes"
    )]
    Shape {
        /// Number of slots asked for.
        n_slots: usize,
        /// Bytes asked for in each.
        slot_bytes: usize,
        /// Most bytes that a slot can have.
        max_slot_bytes: usize,
    },
    /// More memory than the machine has.
    #[error(
        "a buffer pool of {needed_bytes} bytes was asked for but the machine has {total_bytes} bytes of memory; ask for fewer or smaller slots"
    )]
    TooLarge {
        /// Bytes that the pool would take.
        needed_bytes: u64,
        /// Bytes of physical memory.
        total_bytes: u64,
    },
    /// The kernel gave no memory.
    #[error(
        "the kernel refused {needed_bytes} bytes for read buffers: {source}; free memory or ask for fewer slots"
    )]
    Memory {
        /// Bytes asked for.
        needed_bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}
