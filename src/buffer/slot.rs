//! A slot: a piece of the arena that one owner at a time may touch.
#![allow(unsafe_code, reason = "a slot turns its part of the arena into slices")]

use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use super::layout::SLACK_BYTES;
use super::shared::Shared;

/// An aligned buffer, owned by value; dropping it returns it to its [`Pool`](super::Pool).
///
/// The memory stays mapped as long as any slot, pool or engine is alive. A slot that is leaked is lost to the
/// pool and keeps the memory mapped; it does no other harm. What a slot holds when it is taken is what its
/// last user left.
pub struct Slot {
    shared: Arc<Shared>,
    index: u32,
    region: u16,
    start: NonNull<u8>,
}

// SAFETY: a slot owns its bytes alone: they are lent to one slot at a time, and a slot cannot be cloned.
unsafe impl Send for Slot {}
// SAFETY: a shared slot can only be read.
unsafe impl Sync for Slot {}

impl Slot {
    /// Takes the slot of this index; `Shared` sees to it that no other slot of this index exists.
    pub(super) fn new(shared: &Arc<Shared>, index: u32) -> Slot {
        let (start, region) = shared.arena().slot(index as usize);
        #[expect(
            clippy::expect_used,
            reason = "there are more only with slots of over 64 TiB together"
        )]
        let region = u16::try_from(region).expect("regions fit 16 bits");
        Slot {
            shared: Arc::clone(shared),
            index,
            region,
            start,
        }
    }

    /// Size of the slot in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a slot has at least one byte")]
    pub fn len(&self) -> usize {
        self.shared.arena().layout().slot_bytes()
    }

    /// The bytes of the slot.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the slot's bytes are mapped, were zeroed by the kernel, and are this slot's alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    /// The bytes of the slot and [`SLACK_BYTES`] more of no meaning, for decoders that read whole vectors.
    pub fn as_padded_slice(&self) -> &[u8] {
        // SAFETY: as in `as_slice`; the layout leaves a tail of at least SLACK_BYTES after each slot, which
        // belongs to this slot alone and is never written.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len() + SLACK_BYTES) }
    }

    /// The bytes of the slot, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len()) }
    }

    /// Whether the slot comes from the pool that `shared` is the inside of.
    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Where a read of `len_bytes` to `offset_bytes` of this slot goes.
    ///
    /// # Panics
    /// If that is not inside the slot.
    pub(crate) fn target(&mut self, offset_bytes: u32, len_bytes: u32) -> Target {
        let (offset, len) = (offset_bytes as usize, len_bytes as usize);
        assert!(
            offset + len <= self.len(),
            "{len} bytes at {offset} of a slot of {} bytes",
            self.len()
        );
        // SAFETY: just checked to be inside the slot.
        let start = unsafe { self.start.add(offset) };
        Target {
            start,
            region: self.region,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.give_back(self.index);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index)
            .field("len_bytes", &self.len())
            .finish()
    }
}

/// An address that a read in flight writes to. It keeps nothing alive: whoever holds a target holds its slot
/// too, and gives the slot away only when the read is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    start: NonNull<u8>,
    region: u16,
}

// SAFETY: a target is an address; using it is unsafe and has its own conditions.
unsafe impl Send for Target {}

impl Target {
    /// A target that belongs to no slot: the pool's probe space.
    pub(super) fn probe(start: NonNull<u8>) -> Target {
        Target { start, region: 0 }
    }

    pub(crate) fn as_ptr(self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Index of the registered buffer that holds the target.
    pub(crate) fn region(self) -> u16 {
        self.region
    }

    /// The target `bytes` further on, for the rest of a read that came back short.
    pub(crate) fn skip(self, bytes: u32) -> Target {
        // Wrapping, because the address is only ever used for the bytes that the read was checked for.
        let start = self.start.as_ptr().wrapping_add(bytes as usize);
        Target {
            start: NonNull::new(start).unwrap_or(self.start),
            region: self.region,
        }
    }
}
