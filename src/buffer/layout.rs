//! Where each slot of a pool is in its memory.

use super::error::BufferError;

/// Bytes that may be read after the last byte of a slot (see [`Slot::as_padded_slice`](super::Slot::as_padded_slice)): SIMD decoders load
/// whole vectors and so read past the end of their input.
pub const SLACK_BYTES: usize = 64;

/// Every slot starts at a multiple of this many bytes, and its size is one: enough for direct I/O on any
/// device with sectors of up to 4 KiB.
pub const SLOT_ALIGN_BYTES: usize = 4096;

/// The kernel refuses (EFAULT) to register a buffer of more than this many bytes.
pub(super) const MAX_REGION_BYTES: usize = 1 << 30;

/// Bytes of a region: what is taken from the kernel, and registered with a ring, in one piece. It holds one slot of the usual size, so that
/// a ring that registers one on its way has enough in flight meanwhile. Larger slots have regions of their own, and large pools larger ones.
const REGION_BYTES: usize = 4 << 20;

/// The most buffers that every kernel registers with a ring (more from Linux 5.13 on).
const MAX_REGIONS: usize = 1 << 10;

/// The huge page of x86-64 and of aarch64 with 4 KiB pages; the mapping is aligned to it.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The first region: space that belongs to no slot, with which engines prove a way of reading.
pub(super) const PROBE_BYTES: usize = SLOT_ALIGN_BYTES;

/// Distance from the end of a slot to the start of the next. Slack has to belong to its slot alone: were it
/// the head of the next slot, a decoder could read what the kernel is writing.
const TAIL_BYTES: usize = SLOT_ALIGN_BYTES;

const _: () = assert!(TAIL_BYTES >= SLACK_BYTES);

/// Where each slot is: after the region of the probe, regions of at most 1 GiB, each holding whole slots with their tails.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotLayout {
    n_slots: usize,
    slot_bytes: usize,
    stride_bytes: usize,
    slots_per_region: usize,
}

impl SlotLayout {
    /// Plans `n_slots` slots of `slot_bytes`, rounded up to [`SLOT_ALIGN_BYTES`].
    pub(super) fn new(n_slots: usize, slot_bytes: usize) -> Result<SlotLayout, BufferError> {
        let max_slot_bytes = MAX_REGION_BYTES - TAIL_BYTES;
        if n_slots == 0 || u32::try_from(n_slots).is_err() || slot_bytes == 0 || slot_bytes > max_slot_bytes {
            return Err(BufferError::Shape {
                n_slots,
                slot_bytes,
                max_slot_bytes,
            });
        }
        let slot_bytes = slot_bytes.next_multiple_of(SLOT_ALIGN_BYTES);
        let stride_bytes = slot_bytes + TAIL_BYTES;
        let slots_per_region = (REGION_BYTES / stride_bytes)
            .max(n_slots.div_ceil(MAX_REGIONS - 1))
            .clamp(1, MAX_REGION_BYTES / stride_bytes);
        Ok(SlotLayout {
            n_slots,
            slot_bytes,
            stride_bytes,
            slots_per_region,
        })
    }

    pub(super) fn n_slots(&self) -> usize {
        self.n_slots
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(super) fn n_regions(&self) -> usize {
        1 + self.n_slots.div_ceil(self.slots_per_region)
    }

    /// Bytes of the whole mapping, whole huge pages; `None` when they do not fit the address space.
    pub(super) fn total_bytes(&self) -> Option<usize> {
        let total = self.n_slots.checked_mul(self.stride_bytes)?;
        let total = (total.checked_add(PROBE_BYTES)?).checked_next_multiple_of(HUGE_PAGE_BYTES)?;
        (total <= isize::MAX as usize - HUGE_PAGE_BYTES).then_some(total)
    }

    /// The region of a slot, and the slot's offset in bytes from the start of the mapping.
    pub(super) fn place(&self, slot: usize) -> (usize, usize) {
        let region = 1 + slot / self.slots_per_region;
        (region, PROBE_BYTES + slot * self.stride_bytes)
    }

    /// Offset and length in bytes of a region.
    pub(super) fn region(&self, region: usize) -> (usize, usize) {
        let Some(before) = region.checked_sub(1) else {
            return (0, PROBE_BYTES);
        };
        let first = before * self.slots_per_region;
        let n_slots = self.slots_per_region.min(self.n_slots - first);
        (
            PROBE_BYTES + first * self.stride_bytes,
            n_slots * self.stride_bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_disjoint_aligned_and_inside_one_region() {
        for (n_slots, slot_bytes) in [
            (1, 1),
            (3, 4096),
            (700, 2 << 20),
            (200_000, 2 << 20),
            (3_000_000, 4096),
            (5, 400 << 20),
            (3, MAX_REGION_BYTES - 4096),
        ] {
            let layout = SlotLayout::new(n_slots, slot_bytes).unwrap();
            assert!(layout.slot_bytes() >= slot_bytes);
            let mut end = PROBE_BYTES;
            for slot in 0..n_slots {
                let (region, offset) = layout.place(slot);
                let (region_offset, region_len) = layout.region(region);
                assert!(region_len <= MAX_REGION_BYTES, "{n_slots} x {slot_bytes}");
                assert!(0 < region && region < MAX_REGIONS);
                assert_eq!(region_offset % SLOT_ALIGN_BYTES, 0);
                assert_eq!(offset % SLOT_ALIGN_BYTES, 0);
                assert!(offset >= end && offset >= region_offset);
                end = offset + layout.slot_bytes() + SLACK_BYTES;
                assert!(end <= region_offset + region_len);
            }
            assert!(end <= layout.total_bytes().unwrap());
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (n_slots, slot_bytes) in [
            (0, 4096),
            (1, 0),
            (1, MAX_REGION_BYTES),
            (usize::MAX, 1),
            (1, usize::MAX),
        ] {
            let refused = SlotLayout::new(n_slots, slot_bytes);
            assert!(
                matches!(refused, Err(BufferError::Shape { .. })),
                "{n_slots} x {slot_bytes}"
            );
        }
    }
}
