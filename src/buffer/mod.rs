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
//! use cellring::__internal::buffer::Pool;
//!
//! let pool = Pool::new(4, 64 * 1024)?;
//! let mut slots = pool.take(3).expect("nobody closed the pool");
//! slots[0].as_mut_slice()[..5].copy_from_slice(b"cells");
//! assert_eq!(pool.free(), 1);
//! drop(slots);
//! assert_eq!(pool.free(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod error;
mod layout;
mod pages;
mod pool;
mod shared;
mod slot;

pub use error::BufferError;
pub use layout::{SLACK_BYTES, SLOT_ALIGN_BYTES};
pub use pages::PageKind;
pub use pool::Pool;
pub use slot::Slot;
pub(crate) use slot::Target;

/// Size in bytes of a slot where the caller has no reason for another: one huge page.
pub const DEFAULT_SLOT_BYTES: usize = 2 << 20;
