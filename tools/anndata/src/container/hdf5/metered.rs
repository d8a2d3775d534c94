//! The bytes of a file as the parser sees them: only so many in one call.
//!
//! Whatever the structures of a file claim, or refer to in circles, is read before it is acted upon. So a limit on the bytes that
//! one call reads is one on its time and memory.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::ops::Range;

use hdf5_reader::error::Error;
use hdf5_reader::{FileStorage, Storage, StorageBuffer};

/// One call may read the whole file so many times, and these bytes more, but never more than that: structures are small beside the
/// data.
const MAX_TIMES: u64 = 8;
const MANY_BYTES: u64 = 64 << 20;
const MAX_BYTES: u64 = 4 << 30;

/// The most bytes that are read at a time. Only a long text takes more than some MiB.
const MAX_READ_BYTES: usize = 256 << 20;

thread_local! {
    /// Bytes that the current call of this thread may still read.
    static LEFT_BYTES: Cell<u64> = const { Cell::new(0) };
    /// What this thread has read, if that is noted.
    static READ: RefCell<Option<Vec<Range<u64>>>> = const { RefCell::new(None) };
}

/// A file that is read within limits.
pub(super) struct Metered {
    file: FileStorage,
}

impl Metered {
    pub(super) fn new(file: File) -> Result<Self, Error> {
        let file = FileStorage::from_file(file)?;
        Ok(Self { file })
    }
}

/// Runs a call that reads of a file of so many bytes, on this thread.
pub(super) fn metered<T>(len_bytes: u64, call: impl FnOnce() -> T) -> T {
    let most_bytes = len_bytes.saturating_mul(MAX_TIMES).saturating_add(MANY_BYTES);
    let before = LEFT_BYTES.replace(most_bytes.min(MAX_BYTES));
    let outcome = call();
    LEFT_BYTES.set(before);
    outcome
}

/// Runs a call on this thread, and gives what it read of the file.
pub(super) fn noted<T>(call: impl FnOnce() -> T) -> (T, Vec<Range<u64>>) {
    let before = READ.replace(Some(Vec::new()));
    let outcome = call();
    (outcome, READ.replace(before).unwrap_or_default())
}

impl Storage for Metered {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<StorageBuffer, Error> {
        if len > MAX_READ_BYTES {
            return Err(Error::ResourceLimit(format!(
                "a structure of {len} bytes at offset {offset} is larger than the {MAX_READ_BYTES} that are read"
            )));
        }
        match LEFT_BYTES.get().checked_sub(len as u64) {
            Some(left) => LEFT_BYTES.set(left),
            None => {
                return Err(Error::ResourceLimit(
                    "its structures take far more reading than any sound file of this length".to_owned(),
                ));
            }
        }
        READ.with_borrow_mut(|read| {
            if let Some(read) = read {
                read.push(offset..offset.saturating_add(len as u64));
            }
        });
        self.file.read_range(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_reads_is_noted() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let storage = Metered::new(file).unwrap();
        let read =
            |at: u64, len: usize| metered(storage.len(), || storage.read_range(at, len).map(drop)).unwrap();
        read(0, 1);
        let (inner, outer) = noted(|| {
            read(7, 5);
            let ((), inner) = noted(|| read(100, 1));
            read(9, 0);
            inner
        });
        read(0, 1);
        assert_eq!(
            (inner.as_slice(), &outer[..]),
            (&[100..101, 9..9][..1], &[7..12, 9..9][..])
        );
    }

    #[test]
    fn a_call_reads_so_much_and_no_more() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        let storage = Metered::new(file).unwrap();
        let read = |n_times: u64| {
            metered(storage.len(), || {
                (0..n_times).try_for_each(|_| storage.read_range(0, 10 << 20).map(drop))
            })
        };
        assert!(storage.read_range(0, 1).is_err(), "outside a call");
        for _ in 0..2 {
            read(14).unwrap();
            assert!(matches!(read(15), Err(Error::ResourceLimit(_))));
        }
        let large = tempfile::tempfile().unwrap();
        large.set_len(1 << 40).unwrap();
        let large = Metered::new(large).unwrap();
        let read = metered(large.len(), || large.read_range(0, MAX_READ_BYTES + 1).map(drop));
        assert!(matches!(read, Err(Error::ResourceLimit(_))));
    }
}
