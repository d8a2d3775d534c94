//! Writes files and directories to the disk.

use crate::Error;
use std::fs::File;
use std::io;
use std::path::Path;

use super::error::WriteError;

/// Writes a file or the entries of a directory to the disk.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    let write = || {
        if path.is_dir() {
            return sync_directory(path);
        }
        match File::open(path)?.sync_all() {
            // Some filesystems do that only for who may write.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                File::options().write(true).open(path)?.sync_all()
            }
            synced => synced,
        }
    };
    Ok(write().map_err(WriteError::io(path))?)
}

/// Writes the entries of a directory to the disk, on filesystems that do so.
///
/// # Errors
/// Where the directory cannot be opened, or the disk fails.
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
