//! One anonymous mapping, cut into slots that never straddle two regions: what is registered with a ring in one piece.
#![allow(
    unsafe_code,
    reason = "the mapping is made, advised, populated and unmapped here, and nowhere else"
)]

use std::any::Any;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use super::error::BufferError;
use super::layout::{HUGE_PAGE_BYTES, SlotLayout};
use super::pages::PageKind;

/// The mapping. Whoever holds a pointer into it holds an `Arc` of it too.
#[derive(Debug)]
pub(super) struct Arena {
    base: NonNull<u8>,
    mapped_bytes: usize,
    page_kind: PageKind,
    layout: SlotLayout,
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
    pub(super) fn new(layout: SlotLayout) -> Result<Arena, BufferError> {
        let memory_bytes = physical_bytes();
        let needed = layout
            .total_bytes()
            .filter(|&needed| memory_bytes.is_none_or(|has| needed as u64 <= has));
        let Some(needed_bytes) = needed else {
            let needed_bytes = (layout.n_slots() as u64).saturating_mul(layout.slot_bytes() as u64);
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
                // A page that is missing would be a SIGBUS later.
                .and_then(|()| arena.populate(arena.mapped_bytes))
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
        // The rest is taken from the kernel as it is used: clearing all of a large budget would take longer than the first fetch.
        let before = faults_of_thread();
        arena.populate(HUGE_PAGE_BYTES).map_err(refused)?;
        // One huge page is one fault, where small pages are 512; 0 if faults are not counted. What the kernel says of a mapping, in
        // `/proc/self/smaps`, it says of all others too: 20 ms in a process that has loaded torch.
        if advised && faults_of_thread() - before == 1 {
            arena.page_kind = PageKind::Transparent;
        }
        Ok(arena)
    }

    pub(super) fn page_kind(&self) -> PageKind {
        self.page_kind
    }

    pub(super) fn layout(&self) -> &SlotLayout {
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
            slot < self.layout.n_slots(),
            "slot {slot} of {}",
            self.layout.n_slots()
        );
        let (region, offset) = self.layout.place(slot);
        // SAFETY: the layout places every slot, with its tail, inside the `mapped_bytes` from `base` on.
        (unsafe { self.base.add(offset) }, region)
    }

    /// Address and length in bytes of each region.
    pub(super) fn regions(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> + '_ {
        (0..self.layout.n_regions()).map(|region| {
            let (offset, len) = self.layout.region(region);
            // SAFETY: the layout places every region inside the `mapped_bytes` from `base` on.
            (unsafe { self.base.add(offset) }, len)
        })
    }

    /// Address and length in bytes of the regions of all slots: they follow each other.
    pub(super) fn slot_memory(&self) -> (NonNull<u8>, usize) {
        let (first, (last, len)) = (
            self.layout.region(1).0,
            self.layout.region(self.layout.n_regions() - 1),
        );
        // SAFETY: the layout places every region inside the `mapped_bytes` from `base` on.
        (unsafe { self.base.add(first) }, last + len - first)
    }

    /// Address and length in bytes of the first region, which is of no slot.
    pub(super) fn probe(&self) -> (NonNull<u8>, usize) {
        (self.base, self.layout.region(0).1)
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        self.advise_first(self.mapped_bytes, advice)
    }

    /// Advises the kernel about the first so many bytes.
    fn advise_first(&self, n_bytes: usize, advice: libc::c_int) -> io::Result<()> {
        let n_bytes = n_bytes.min(self.mapped_bytes);
        // SAFETY: the range is within the mapping that `self` owns; every advice used here keeps its
        // contents.
        let refused = unsafe { libc::madvise(self.base.as_ptr().cast(), n_bytes, advice) } != 0;
        if refused {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Has the pages of the first so many bytes allocated now.
    fn populate(&self, n_bytes: usize) -> io::Result<()> {
        loop {
            match self.advise_first(n_bytes, libc::MADV_POPULATE_WRITE) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                // Unknown before Linux 5.14.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => break,
                other => return other,
            }
        }
        for offset in (0..n_bytes.min(self.mapped_bytes)).step_by(4096) {
            // SAFETY: in bounds of the mapping, which no other code knows of yet.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
        Ok(())
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

/// Page faults of this thread that needed no reading, so far.
fn faults_of_thread() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one `rusage` to memory that holds one.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: all bytes are initialized, by zeros at the least, and every field is an integer.
    unsafe { usage.assume_init() }.ru_minflt
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
    // SAFETY: the last `tail` bytes of our own new mapping, after the `len_bytes` that are kept.
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

#[cfg(test)]
mod tests {
    use super::super::layout::MAX_REGION_BYTES;
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_refused() {
        let too_large = Arena::new(SlotLayout::new(u32::MAX as usize, MAX_REGION_BYTES / 2).unwrap());
        assert!(matches!(too_large, Err(BufferError::TooLarge { .. })));
    }

    #[test]
    fn memory_is_aligned_zero_and_writable_to_its_ends() {
        let arena = Arena::new(SlotLayout::new(3, 1 << 20).unwrap()).unwrap();
        assert_eq!(arena.base.as_ptr() as usize % HUGE_PAGE_BYTES, 0);
        // SAFETY: the mapping belongs to this test alone and is as long as it says.
        let bytes = unsafe { std::slice::from_raw_parts_mut(arena.base.as_ptr(), arena.mapped_bytes) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        bytes.fill(7);
        assert_eq!(arena.regions().next(), Some(arena.probe()));
    }

    /// Against the kernel's own account of the mapping.
    #[test]
    fn the_kind_of_pages_is_what_the_kernel_says() {
        let arena = Arena::new(SlotLayout::new(3, 1 << 20).unwrap()).unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = arena.base.as_ptr() as usize;
        let of_mapping = smaps.lines().skip_while(|line| {
            let bounds = line
                .split_whitespace()
                .next()
                .and_then(|bounds| bounds.split_once('-'));
            let ends = bounds.and_then(|(_, end)| usize::from_str_radix(end, 16).ok());
            ends.is_none_or(|end| end <= start)
        });
        let line = { of_mapping }
            .find(|line| line.starts_with("AnonHugePages:"))
            .unwrap();
        let is_huge = line.split_whitespace().nth(1) != Some("0");
        match arena.page_kind() {
            PageKind::Hugetlb => assert!(!is_huge, "{line}"),
            PageKind::Transparent => assert!(is_huge, "{line}"),
            // Neighbours that were merged with it may be on huge pages.
            PageKind::Small => {}
        }
    }
}
