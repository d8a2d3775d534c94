//! What kind of pages memory is on.

use std::fmt;

/// What kind of pages the buffers of a pool lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageKind {
    /// Pages of 2 MiB from the pool that `vm.nr_hugepages` reserves.
    Hugetlb,
    /// Transparent huge pages, for at least half of the memory that is taken at the start.
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

/// Reads from the text of `/proc/self/smaps` which part of the memory in `start..end` is on huge pages. A
/// line of the form `start-end perms ...` opens the account of one mapping; mappings with equal flags may
/// have been merged, so that the answer is that of all mappings that overlap the range.
pub(super) fn huge_fraction(smaps: &str, start: usize, end: usize) -> f64 {
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
    fn huge_pages_are_counted_in_the_mappings_that_overlap() {
        let smaps = "1000-3000 rw-p 00000000 00:00 0\nSize: 8 kB\nRss:          8 kB\nAnonHugePages:    6 kB\n\
                     3000-4000 r--p 00000000 08:01 9 /lib/x-y.so\nRss: 100 kB\nAnonHugePages: 0 kB\nVmFlags: rd\n";
        assert_eq!(huge_fraction(smaps, 0x1000, 0x3000), 0.75);
        assert_eq!(huge_fraction(smaps, 0x3800, 0x3900), 0.0);
        assert_eq!(huge_fraction(smaps, 0x2000, 0x4000), 6.0 / 108.0);
        assert_eq!(huge_fraction("", 0x1000, 0x2000), 0.0);
    }
}
