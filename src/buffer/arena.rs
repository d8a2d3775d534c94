//! One anonymous mapping, cut into slots that never straddle two registered buffers.
#![allow(
    unsafe_code,
    reason = "the mapping is made, advised, prefaulted and unmapped here, and nowhere else"
)]

use std::any::Any;
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use super::{BufferError, SLACK_BYTES, SLOT_ALIGN_BYTES};

/// The kernel refuses (EFAULT) to register a buffer of more than this many bytes.
const MAX_REGION_BYTES: usize = 1 << 30;
/// The huge page of x86-64 and of aarch64 with 4 KiB pages; the mapping is aligned to it.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Space at the end of each region that belongs to no slot: engines prove a way of reading with it.
const PROBE_BYTES: usize = SLOT_ALIGN_BYTES;
/// Distance from the end of a slot to the start of the next. Slack has to belong to its slot alone: were it
/// the head of the next slot, a decoder could read what the kernel is writing.
const TAIL_BYTES: usize = SLOT_ALIGN_BYTES;
const _: () = assert!(TAIL_BYTES >= SLACK_BYTES);

/// What kind of pages the buffers of a pool lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageKind {
    /// Pages of 2 MiB from the pool that `vm.nr_hugepages` reserves.
    Hugetlb,
    /// Transparent huge pages, for at least half of the memory.
    Transparent,
    /// Ordinary pages: reads of 64 KiB and more cost about twice the CPU time, and run slower.
    Small,
}

impl PageKind {
    /// What an administrator can do for faster reads; `None` when the pages are huge.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            PageKind::Hugetlb | PageKind::Transparent => None,
            PageKind::Small => Some(
                "the read buffers lie on 4 KiB pages, which makes large reads slower: write madvise to \
                 /sys/kernel/mm/transparent_hugepage/enabled or raise vm.nr_hugepages",
            ),
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PageKind::Hugetlb => "hugetlb pages",
            PageKind::Transparent => "transparent huge pages",
            PageKind::Small => "4 KiB pages",
        })
    }
}

/// Where each slot is: regions of at most 1 GiB, each starting on a huge page, each holding whole slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    n_slots: usize,
    slot_bytes: usize,
    stride_bytes: usize,
    slots_per_region: usize,
    region_pitch_bytes: usize,
}

impl Layout {
    /// Plans `n_slots` slots of `slot_bytes`, rounded up to [`SLOT_ALIGN_BYTES`].
    pub(super) fn new(n_slots: usize, slot_bytes: usize) -> Result<Layout, BufferError> {
        let max_slot_bytes = MAX_REGION_BYTES - TAIL_BYTES - PROBE_BYTES;
        if n_slots == 0 || u32::try_from(n_slots).is_err() || slot_bytes == 0 || slot_bytes > max_slot_bytes {
            return Err(BufferError::Shape {
                n_slots,
                slot_bytes,
                max_slot_bytes,
            });
        }
        let slot_bytes = slot_bytes.next_multiple_of(SLOT_ALIGN_BYTES);
        let stride_bytes = slot_bytes + TAIL_BYTES;
        let slots_per_region = n_slots.min((MAX_REGION_BYTES - PROBE_BYTES) / stride_bytes);
        let region_pitch_bytes =
            (slots_per_region * stride_bytes + PROBE_BYTES).next_multiple_of(HUGE_PAGE_BYTES);
        Ok(Layout {
            n_slots,
            slot_bytes,
            stride_bytes,
            slots_per_region,
            region_pitch_bytes,
        })
    }

    pub(super) fn n_slots(&self) -> usize {
        self.n_slots
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    fn n_regions(&self) -> usize {
        self.n_slots.div_ceil(self.slots_per_region)
    }

    /// Bytes of the whole mapping; `None` when they do not fit the address space.
    fn total_bytes(&self) -> Option<usize> {
        let total = self.n_regions().checked_mul(self.region_pitch_bytes)?;
        (total <= isize::MAX as usize - HUGE_PAGE_BYTES).then_some(total)
    }

    /// The region of a slot, and the slot's offset in bytes from the start of the mapping.
    pub(super) fn place(&self, slot: usize) -> (usize, usize) {
        let region = slot / self.slots_per_region;
        (
            region,
            region * self.region_pitch_bytes + slot % self.slots_per_region * self.stride_bytes,
        )
    }

    /// Offset and length in bytes of a region: its slots with their tails, and the probe space at its end.
    fn region(&self, region: usize) -> (usize, usize) {
        let n_slots = self
            .slots_per_region
            .min(self.n_slots - region * self.slots_per_region);
        (
            region * self.region_pitch_bytes,
            n_slots * self.stride_bytes + PROBE_BYTES,
        )
    }
}

/// The mapping. Whoever holds a pointer into it holds an `Arc` of it too.
#[derive(Debug)]
pub(super) struct Arena {
    base: NonNull<u8>,
    mapped_bytes: usize,
    page_kind: PageKind,
    layout: Layout,
    /// What must end before the memory is unmapped: its registration with a GPU driver.
    guards: Mutex<Vec<Guard>>,
}

/// Something that is dropped right before the memory that it is about.
pub(crate) type Guard = Box<dyn Any + Send>;

// SAFETY: the arena hands out addresses only; who may read or write through them is ruled by the ownership of
// slots.
unsafe impl Send for Arena {}
// SAFETY: as above; no method writes to the mapping.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn new(layout: Layout) -> Result<Arena, BufferError> {
        let memory_bytes = physical_bytes();
        let needed = layout
            .total_bytes()
            .filter(|&needed| memory_bytes.is_none_or(|has| needed as u64 <= has));
        let Some(needed_bytes) = needed else {
            let needed_bytes = (layout.n_regions() as u64).saturating_mul(layout.region_pitch_bytes as u64);
            return Err(BufferError::TooLarge {
                needed_bytes,
                total_bytes: memory_bytes.unwrap_or(u64::MAX),
            });
        };
        let arena = |base, page_kind| Arena {
            base,
            mapped_bytes: needed_bytes,
            page_kind,
            layout,
            guards: Mutex::default(),
        };
        if let Ok(base) = map(needed_bytes, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            // Owned from here on, so that a failure to populate unmaps it.
            let arena = arena(base, PageKind::Hugetlb);
            if arena
                .advise(libc::MADV_DONTFORK)
                .and_then(|()| arena.populate())
                .is_ok()
            {
                return Ok(arena);
            }
        }
        let refused = |source| BufferError::Memory { needed_bytes, source };
        let base = map_aligned(needed_bytes).map_err(refused)?;
        let mut arena = arena(base, PageKind::Small);
        arena.advise(libc::MADV_DONTFORK).map_err(refused)?;
        // Refused (EINVAL) by kernels built without huge pages: then small ones have to do.
        let advised = arena.advise(libc::MADV_HUGEPAGE).is_ok();
        arena.populate().map_err(refused)?;
        if advised && arena.huge_fraction() >= 0.5 {
            arena.page_kind = PageKind::Transparent;
        }
        Ok(arena)
    }

    pub(super) fn page_kind(&self) -> PageKind {
        self.page_kind
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Keeps a guard until right before the memory is unmapped.
    pub(super) fn guard(&self, guard: Guard) {
        self.guards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(guard);
    }

    /// Address of a slot's first byte, and its region.
    pub(super) fn slot(&self, slot: usize) -> (NonNull<u8>, usize) {
        assert!(
            slot < self.layout.n_slots,
            "slot {slot} of {}",
            self.layout.n_slots
        );
        let (region, offset) = self.layout.place(slot);
        // SAFETY: the layout places every slot, with its tail, inside the `mapped_bytes` behind `base`.
        (unsafe { self.base.add(offset) }, region)
    }

    /// Address and length in bytes of each region.
    pub(super) fn regions(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> + '_ {
        (0..self.layout.n_regions()).map(|region| {
            let (offset, len) = self.layout.region(region);
            // SAFETY: the layout places every region inside the `mapped_bytes` behind `base`.
            (unsafe { self.base.add(offset) }, len)
        })
    }

    /// Address and length in bytes of the probe space at the end of the first region.
    pub(super) fn probe(&self) -> (NonNull<u8>, usize) {
        let (offset, len) = self.layout.region(0);
        // SAFETY: the probe space is the last `PROBE_BYTES` of the region, which lies inside the mapping.
        (unsafe { self.base.add(offset + len - PROBE_BYTES) }, PROBE_BYTES)
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: the range is exactly the mapping that `self` owns; every advice used here keeps its
        // contents.
        let refused = unsafe { libc::madvise(self.base.as_ptr().cast(), self.mapped_bytes, advice) } != 0;
        if refused {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Has every page allocated now: a missing page must fail here, not as SIGBUS or a slow first epoch.
    fn populate(&self) -> io::Result<()> {
        loop {
            match self.advise(libc::MADV_POPULATE_WRITE) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                // Unknown before Linux 5.14.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => break,
                other => return other,
            }
        }
        for offset in (0..self.mapped_bytes).step_by(4096) {
            // SAFETY: in bounds of the mapping, which nobody else knows of yet.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// Which part of the mapping is on transparent huge pages, by the kernel's own account.
    fn huge_fraction(&self) -> f64 {
        let start = self.base.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        huge_fraction(&smaps, start, start + self.mapped_bytes)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.guards
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        // SAFETY: the mapping was made by `map`, is unmapped only here, and every slot and engine that could
        // still use it holds an `Arc` of this arena.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

/// Maps private anonymous memory, readable, writable and zero.
fn map(len_bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { libc::mmap(ptr::null_mut(), len_bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))
}

/// Maps memory that starts at a multiple of [`HUGE_PAGE_BYTES`]: maps more and gives back both ends.
fn map_aligned(len_bytes: usize) -> io::Result<NonNull<u8>> {
    let start = map(len_bytes + HUGE_PAGE_BYTES, 0)?;
    let head = (start.as_ptr() as usize).wrapping_neg() % HUGE_PAGE_BYTES;
    let tail = HUGE_PAGE_BYTES - head;
    // SAFETY: `head` is less than a huge page, so that `len_bytes` follow inside the mapping.
    let base = unsafe { start.add(head) };
    if head > 0 {
        // SAFETY: the first `head` bytes of our own new mapping, a whole number of pages.
        unsafe { libc::munmap(start.as_ptr().cast(), head) };
    }
    // SAFETY: the last `tail` bytes of our own new mapping, behind the `len_bytes` that are kept.
    unsafe { libc::munmap(base.as_ptr().add(len_bytes).cast(), tail) };
    Ok(base)
}

/// Bytes of physical memory, if the system tells.
fn physical_bytes() -> Option<u64> {
    // SAFETY: sysconf reads no memory of ours.
    let (pages, page_bytes) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(page_bytes).ok()?)
}

/// Reads from the text of `/proc/self/smaps` which part of the memory in `start..end` is on huge pages. A
/// line of the form `start-end perms ...` opens the account of one mapping; mappings with equal flags may
/// have been merged, so that the answer is that of all mappings that overlap the range.
fn huge_fraction(smaps: &str, start: usize, end: usize) -> f64 {
    let (mut overlaps, mut resident_kib, mut huge_kib) = (false, 0u64, 0u64);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), value) = (words.next(), words.next()) else {
            continue;
        };
        let kib = || value.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        match key {
            "Rss:" if overlaps => resident_kib += kib(),
            "AnonHugePages:" if overlaps => huge_kib += kib(),
            _ => {
                let bounds = key.split_once('-').and_then(|(from, to)| {
                    Some((
                        usize::from_str_radix(from, 16).ok()?,
                        usize::from_str_radix(to, 16).ok()?,
                    ))
                });
                if let Some((from, to)) = bounds {
                    overlaps = from < end && start < to;
                }
            }
        }
    }
    if resident_kib == 0 {
        0.0
    } else {
        huge_kib as f64 / resident_kib as f64
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
            (5, 400 << 20),
            (3, MAX_REGION_BYTES - 8192),
        ] {
            let layout = Layout::new(n_slots, slot_bytes).unwrap();
            assert!(layout.slot_bytes() >= slot_bytes);
            let mut end = 0;
            for slot in 0..n_slots {
                let (region, offset) = layout.place(slot);
                let (region_offset, region_len) = layout.region(region);
                assert!(region_len <= MAX_REGION_BYTES, "{n_slots} x {slot_bytes}");
                assert_eq!(region_offset % HUGE_PAGE_BYTES, 0);
                assert_eq!(offset % SLOT_ALIGN_BYTES, 0);
                assert!(offset >= end && offset >= region_offset);
                end = offset + layout.slot_bytes() + SLACK_BYTES;
                assert!(end <= region_offset + region_len - PROBE_BYTES);
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
            let refused = Layout::new(n_slots, slot_bytes);
            assert!(
                matches!(refused, Err(BufferError::Shape { .. })),
                "{n_slots} x {slot_bytes}"
            );
        }
        let too_large = Arena::new(Layout::new(u32::MAX as usize, MAX_REGION_BYTES / 2).unwrap());
        assert!(matches!(too_large, Err(BufferError::TooLarge { .. })));
    }

    #[test]
    fn memory_is_aligned_zero_and_writable_to_its_ends() {
        let arena = Arena::new(Layout::new(3, 1 << 20).unwrap()).unwrap();
        assert_eq!(arena.base.as_ptr() as usize % HUGE_PAGE_BYTES, 0);
        // SAFETY: the mapping belongs to this test alone and is as long as it says.
        let bytes = unsafe { std::slice::from_raw_parts_mut(arena.base.as_ptr(), arena.mapped_bytes) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        bytes.fill(7);
        let (probe, len) = arena.probe();
        let (region, region_len) = arena.regions().next().unwrap();
        assert_eq!(
            probe.as_ptr() as usize + len,
            region.as_ptr() as usize + region_len
        );
    }

    #[test]
    fn huge_pages_are_counted_in_the_mappings_that_overlap() {
        let smaps = "1000-3000 rw-p 00000000 00:00 0\nSize: 8 kB\nRss:          8 kB\nAnonHugePages:    6 kB\n\
                     3000-4000 r--p 00000000 08:01 9 /lib/x-y.so\nRss: 100 kB\nAnonHugePages: 0 kB\nVmFlags: rd\n";
        assert_eq!(huge_fraction(smaps, 0x1000, 0x3000), 0.75);
        assert_eq!(huge_fraction(smaps, 0x3800, 0x3900), 0.0);
        assert_eq!(huge_fraction(smaps, 0x2000, 0x4000), 6.0 / 108.0);
        assert_eq!(huge_fraction("", 0x1000, 0x2000), 0.0);
    }
}
