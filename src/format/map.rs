//! Read-only maps of the store's small files.
#![allow(
    unsafe_code,
    reason = "mapping a file is unsafe: another process may change it"
)]

use std::path::Path;

use memmap2::Mmap;

use super::error::FormatError;
use super::file::{Links, open};

/// Maps a whole file after comparing its length.
pub(crate) fn map_file(path: &Path, expected: u64) -> Result<Mmap, FormatError> {
    let file = open(path, Links::Followed).map_err(FormatError::io(path))?;
    let found = file.metadata().map_err(FormatError::io(path))?.len();
    if found != expected {
        return Err(FormatError::Length {
            file: path.to_path_buf(),
            expected,
            found,
        });
    }
    // SAFETY: the map is only read. A store is immutable once it is published (it is built elsewhere and renamed into
    // place), so no writer of ours changes the bytes; what another program does to them is caught by checksums, or
    // ends the process with SIGBUS if it truncates the file, as for every mapped file.
    unsafe { Mmap::map(&file) }.map_err(FormatError::io(path))
}
