//! Has the kernel read parts of a file into its cache before they are looked at.
//!
//! A page of the index that is not in memory costs a read, during which whoever looks at it waits. The first fetch of an
//! epoch looks at some thousand pages all over the index: one after the other that takes hundreds of milliseconds, all
//! at once a few.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unit in which pages are asked for.
const PAGE_BYTES: u64 = 4096;
/// Pages that are not needed are read along where no more of them lie between two that are: that costs less than another
/// request.
const GAP_PAGES: u64 = 4;

/// Which pages of a file were asked for already: each is asked for once.
#[derive(Debug)]
pub(super) struct Readahead {
    asked: Box<[AtomicU64]>,
    /// Pages that have not been asked for.
    left: AtomicU64,
}

impl Readahead {
    /// For a file of this length, of which nothing was asked for.
    pub(super) fn new(file_bytes: u64) -> Self {
        let n_pages = file_bytes.div_ceil(PAGE_BYTES);
        Self {
            asked: (0..n_pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            left: AtomicU64::new(n_pages),
        }
    }

    /// Whether every page was asked for.
    pub(super) fn is_done(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Hands to `ask` the byte ranges, all of whole pages, that hold these ascending ranges, but for what was
    /// asked for before. The last may reach beyond the end of the file.
    pub(super) fn ask(&self, ranges: impl Iterator<Item = Range<u64>>, mut ask: impl FnMut(Range<u64>)) {
        let mut run: Option<Range<u64>> = None;
        let mut next = 0;
        for range in ranges {
            // Most ranges lie in the page of the one before.
            for page in next.max(range.start / PAGE_BYTES)..range.end.div_ceil(PAGE_BYTES) {
                next = page + 1;
                if !self.mark(page) {
                    continue;
                }
                run = Some(match run {
                    Some(run) if page - run.end <= GAP_PAGES => {
                        for between in run.end..page {
                            self.mark(between);
                        }
                        run.start..next
                    }
                    Some(run) => {
                        ask(run.start * PAGE_BYTES..run.end * PAGE_BYTES);
                        page..next
                    }
                    None => page..next,
                });
            }
        }
        if let Some(run) = run {
            ask(run.start * PAGE_BYTES..run.end * PAGE_BYTES);
        }
    }

    /// Marks a page as asked for; false if it was already.
    fn mark(&self, page: u64) -> bool {
        let (word, bit) = (&self.asked[(page / 64) as usize], 1 << (page % 64));
        // Nearly always it was, and then nothing is written.
        let new = word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        if new {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
        new
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    fn asked(readahead: &Readahead, ranges: &[Range<u64>]) -> Vec<(u64, u64)> {
        let mut asked = vec![];
        readahead.ask(ranges.iter().cloned(), |range| {
            assert!(range.start % PAGE_BYTES == 0 && range.end % PAGE_BYTES == 0);
            asked.push((range.start / PAGE_BYTES, range.end / PAGE_BYTES));
        });
        asked
    }

    #[test]
    fn each_page_is_asked_for_once_and_near_ones_together() {
        let readahead = Readahead::new(200 * PAGE_BYTES - 5);
        // Page 0; pages 9 and 10, whose border lies within a range; page 15, four pages on; page 21, five pages on.
        let page = |page: u64| page * PAGE_BYTES + 8..page * PAGE_BYTES + 12;
        let ranges = [
            0..4,
            4..8,
            page(9),
            10 * PAGE_BYTES - 4..10 * PAGE_BYTES + 4,
            page(15),
            page(21),
        ];
        assert_eq!(asked(&readahead, &ranges), [(0, 1), (9, 16), (21, 22)]);
        assert_eq!(asked(&readahead, &ranges), []);
        // What was read along counts as asked for; what is there already does not make a gap shorter.
        assert_eq!(asked(&readahead, &[page(12), page(20), page(22)]), [(20, 23)]);
        assert_eq!(asked(&readahead, &[page(199)]), [(199, 200)]);
        assert!(!readahead.is_done());
        asked(&readahead, &[0..200 * PAGE_BYTES - 5]);
        assert!(readahead.is_done());
        assert_eq!(asked(&readahead, &[0..200 * PAGE_BYTES - 5]), []);
    }

    #[test]
    fn an_empty_file_needs_nothing() {
        let readahead = Readahead::new(0);
        assert!(readahead.is_done());
        assert_eq!(asked(&readahead, &[]), []);
    }
}
