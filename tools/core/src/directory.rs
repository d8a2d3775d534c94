//! Writes the entries of directories to the disk.

use std::fs::File;
use std::io;
use std::path::Path;

/// Writes the entries of a directory to the disk, on filesystems that do so.
///
/// # Errors
/// If the directory cannot be opened, or the disk fails.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Their entries are written by the server, or with the files.
        Err(error) if is_directory_refusal(&error) => Ok(()),
        synced => synced,
    }
}

/// What filesystems say that sync files, but not directories.
fn is_directory_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EBADF | libc::EISDIR)
    )
}
