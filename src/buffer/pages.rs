//! What kind of pages memory is on.

use std::fmt;

/// What kind of pages the buffers of a pool are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageKind {
    /// Pages of 2 MiB from the pool that `vm.nr_hugepages` reserves.
    Hugetlb,
    /// Transparent huge pages, at least for the memory that is taken at the start.
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
