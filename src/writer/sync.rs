//! Writes a file or a directory to the disk.

use crate::Error;
use std::fs::File;
use std::path::Path;

use super::error::WriteError;
use cellring_core::sync_directory;

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
