//! Buffers for reads: one [`Pool`] cuts one anonymous mapping into equal [`Slot`]s that move by value.
//!
//! A slot is free (in the pool), in flight (owned by the engine; only the kernel touches it), filled (owned
//! by whoever decodes it), and free again when it is dropped. An empty pool is back-pressure: [`Pool::take`]
//! blocks.
//!
//! Huge pages matter more than any flag of the ring: a 1 MiB read into 4 KiB pages is cut into two or more
//! commands of the device, and the CPU pays for every page. The mapping therefore tries, in this order, pages
//! of the hugetlb pool, transparent huge pages, and 4 KiB pages; [`Pool::page_kind`] says which it got.
//!
//! ```
//! use cellring::buffer::Pool;
//!
//! let pool = Pool::new(4, 64 * 1024)?;
//! let mut slots = pool.take(3).expect("nobody closed the pool");
//! slots[0].as_mut_slice()[..5].copy_from_slice(b"cells");
//! assert_eq!(pool.free(), 1);
//! drop(slots);
//! assert_eq!(pool.free(), 4);
//! # Ok::<(), cellring::buffer::BufferError>(())
//! ```

mod arena;
mod pool;
mod slot;

use std::io;

pub use arena::PageKind;
pub use pool::Pool;
pub use slot::Slot;
pub(crate) use slot::Target;

/// Size in bytes of a slot where the caller has no reason for another: one huge page.
pub const DEFAULT_SLOT_BYTES: usize = 2 << 20;

/// Bytes that may be read after the last byte of a slot (see [`Slot::as_padded_slice`]): SIMD decoders load
/// whole vectors and so read past the end of their input.
pub const SLACK_BYTES: usize = 64;

/// Every slot starts at a multiple of this many bytes, and its size is one: enough for direct I/O on any
/// device with sectors of up to 4 KiB.
pub const SLOT_ALIGN_BYTES: usize = 4096;

/// Why a [`Pool`] could not be made.
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
