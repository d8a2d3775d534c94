//! A file that is read into memory page by page, as its bytes are looked at.
//!
//! As quick as a map to open and to look into; but where the file is cut short or cannot be read, that is an error, and not the
//! end of the process by SIGBUS.
#![allow(
    unsafe_code,
    reason = "pages are filled while others are looked at; posix_fadvise has no safe wrapper in the standard library"
)]

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use memmap2::{MmapMut, MmapOptions};

use super::error::FormatError;
use super::file::StoreFile;

/// What is read at once: a page, as it is asked for ahead.
const PAGE_BYTES: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Lazy {
    file: StoreFile,
    /// Room for the whole file, of which the kernel gives only what is written. Never touched but through `start`.
    _memory: MmapMut,
    start: *mut u8,
    /// A bit for each page that has been read, and is never written again.
    is_read: Box<[AtomicU64]>,
    /// Pages whose bit is not set.
    n_left: AtomicUsize,
    reading: Mutex<()>,
}

// SAFETY: the pointer leads to memory that the value owns.
unsafe impl Send for Lazy {}
// SAFETY: a page is written under the lock `reading`, and only until its bit is set; it is looked at only after that.
unsafe impl Sync for Lazy {}

impl Lazy {
    /// Opens a file after comparing its length. Nothing of it is read.
    pub(crate) fn open(path: &Path, expected: u64) -> Result<Self, FormatError> {
        let file = StoreFile::open(path.to_path_buf(), expected)?;
        let len = file.len();
        let mut memory = MmapOptions::new()
            .len(len.max(1).next_multiple_of(PAGE_BYTES))
            .no_reserve_swap()
            .map_anon()
            .map_err(FormatError::io(path))?;
        let n_pages = len.div_ceil(PAGE_BYTES);
        Ok(Self {
            file,
            start: memory.as_mut_ptr(),
            _memory: memory,
            is_read: (0..n_pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            n_left: AtomicUsize::new(n_pages),
            reading: Mutex::default(),
        })
    }

    /// Length of the file in bytes.
    pub(crate) fn len(&self) -> usize {
        self.file.len()
    }

    /// A few bytes. What has not been read yet is read now.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    ///
    /// # Panics
    /// If they do not lie within the file.
    #[inline]
    pub(crate) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], FormatError> {
        assert!(at + N <= self.len(), "{N} bytes at {at} of {}", self.len());
        let (first, last) = (at / PAGE_BYTES, (at + N - 1) / PAGE_BYTES);
        // In the end all is read, and that is quicker to see.
        let is_read = self.n_left.load(Ordering::Acquire) == 0 || (self.has(first) && self.has(last));
        if !is_read {
            self.read(first..last + 1)?;
        }
        // SAFETY: the bytes lie within the memory, and their pages have been read, so that no thread writes there any more. An array of
        // bytes needs no alignment.
        Ok(unsafe { self.start.add(at).cast::<[u8; N]>().read() })
    }

    /// Some bytes. What has not been read yet is read now.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    ///
    /// # Panics
    /// If the range is not within the file.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Result<&[u8], FormatError> {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "{range:?} of {} bytes",
            self.file.len()
        );
        let mut pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        if !pages.all(|page| self.has(page)) {
            self.read(range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES))?;
        }
        // SAFETY: the range lies within the memory, and every page of it has been read, so that no thread writes there any more.
        Ok(unsafe { slice::from_raw_parts(self.start.add(range.start), range.end - range.start) })
    }

    /// Has the kernel read these bytes into its cache without waiting for them. They may reach beyond the end.
    pub(crate) fn will_need(&self, range: Range<u64>) {
        let (start, len) = (
            range.start as libc::off_t,
            (range.end - range.start) as libc::off_t,
        );
        // SAFETY: the call touches no memory. Advice: where it is refused, whoever looks at the page waits for it.
        unsafe {
            libc::posix_fadvise(
                self.file.as_fd().as_raw_fd(),
                start,
                len,
                libc::POSIX_FADV_WILLNEED,
            )
        };
    }

    #[inline]
    fn has(&self, page: usize) -> bool {
        self.is_read[page / 64].load(Ordering::Acquire) & 1 << (page % 64) != 0
    }

    #[cold]
    fn read(&self, pages: Range<usize>) -> Result<(), FormatError> {
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = pages.start;
        while next < pages.end {
            let first = next;
            next += 1;
            if self.has(first) {
                continue;
            }
            while next < pages.end && !self.has(next) {
                next += 1;
            }
            let bytes = first * PAGE_BYTES..(next * PAGE_BYTES).min(self.len());
            // SAFETY: the bytes lie within the memory; none of their pages has been read, so that no thread looks at them, and the lock
            // keeps others from writing there.
            let into = unsafe { slice::from_raw_parts_mut(self.start.add(bytes.start), bytes.len()) };
            self.file.read_at(into, bytes.start)?;
            for page in first..next {
                self.is_read[page / 64].fetch_or(1 << (page % 64), Ordering::Release);
            }
            self.n_left.fetch_sub(next - first, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let content: Vec<u8> = (0..len).map(|at| (at / 7 % 251) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        (file, content)
    }

    #[test]
    fn every_range_is_that_of_the_file_whatever_was_read_before() {
        let (file, content) = file(10 * PAGE_BYTES + 77);
        for step in [1, 1000, PAGE_BYTES, 3 * PAGE_BYTES + 5] {
            let lazy = Lazy::open(file.path(), content.len() as u64).unwrap();
            let mut at = 0;
            // Forth and back, so that pages that were read lie within ranges that were not.
            while at < content.len() {
                for start in [at, content.len() - at] {
                    let range = start..(start + step).min(content.len());
                    assert_eq!(lazy.bytes(range.clone()).unwrap(), &content[range]);
                }
                let near = (at * 31) % (content.len() - 8);
                assert_eq!(lazy.array::<8>(near).unwrap(), content[near..near + 8]);
                at += step.max(101);
            }
            assert_eq!(lazy.bytes(0..content.len()).unwrap(), content);
        }
        let (empty, _) = self::file(0);
        assert!(
            Lazy::open(empty.path(), 0)
                .unwrap()
                .bytes(0..0)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn several_threads_see_the_same() {
        let (file, content) = file(100 * PAGE_BYTES);
        let lazy = Lazy::open(file.path(), content.len() as u64).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let (lazy, content) = (&lazy, &content);
                scope.spawn(move || {
                    for k in 0..2000usize {
                        let start = (k * 7919 + thread * 101) % (content.len() - 9000);
                        let range = start..start + 1 + (k * 31) % 9000;
                        assert!(lazy.bytes(range.clone()).unwrap() == &content[range]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_but_for_what_was_read() {
        let (file, content) = file(4 * PAGE_BYTES);
        let lazy = Lazy::open(file.path(), content.len() as u64).unwrap();
        lazy.bytes(0..10).unwrap();
        file.as_file().set_len(100).unwrap();
        assert_eq!(lazy.bytes(0..10).unwrap(), &content[..10]);
        let error = lazy.bytes(2 * PAGE_BYTES..2 * PAGE_BYTES + 1).unwrap_err();
        assert!(matches!(error, FormatError::Length { found: 100, .. }), "{error}");
        assert!(matches!(
            Lazy::open(file.path(), 4 * PAGE_BYTES as u64),
            Err(FormatError::Length { .. })
        ));
    }
}
