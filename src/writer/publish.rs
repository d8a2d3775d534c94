//! Builds a directory under a temporary name and gives it its final name in one step.
#![allow(unsafe_code, reason = "renameat2 has no safe interface in libc")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::WriteError;

/// A directory that exists under a temporary name until it is published; dropped before that, it is removed.
///
/// It holds a lock while its process lives, so that a later run can tell the remains of a killed one from the work of
/// another that is still going on.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    target: PathBuf,
    replace: bool,
    lock: File,
    published: bool,
}

const LOCK_FILE: &str = ".lock";

impl Staging {
    /// Creates the temporary directory beside `target`, after removing what killed runs for the same target left.
    pub(super) fn create(target: &Path, replace: bool) -> Result<Self, WriteError> {
        let name = target.file_name().ok_or_else(|| WriteError::NoName {
            path: target.to_path_buf(),
        })?;
        if !replace && fs::symlink_metadata(target).is_ok() {
            return Err(WriteError::Exists {
                path: target.to_path_buf(),
            });
        }
        if replace {
            check_replaceable(target)?;
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let prefix = format!(".{}.tmp-", name.to_string_lossy());
        remove_remains(parent, &prefix);
        let path = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&path).map_err(WriteError::io(&path))?;
        let lock = File::create(path.join(LOCK_FILE))
            .and_then(|lock| lock.try_lock().map_err(io::Error::from).map(|()| lock));
        let lock = lock.map_err(WriteError::io(&path))?;
        Ok(Self {
            path,
            target: target.to_path_buf(),
            replace,
            lock,
            published: false,
        })
    }

    /// The temporary directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its final name.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the directory and everything in it, and renames it to its final name.
    pub(super) fn publish(mut self) -> Result<(), WriteError> {
        let lock = self.path.join(LOCK_FILE);
        fs::remove_file(&lock).map_err(WriteError::io(&lock))?;
        for entry in fs::read_dir(&self.path).map_err(WriteError::io(&self.path))? {
            let path = entry.map_err(WriteError::io(&self.path))?.path();
            sync(&path)?;
        }
        sync(&self.path)?;
        let renamed = rename(&self.path, &self.target, libc::RENAME_NOREPLACE);
        match renamed {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replace => {
                // Both names exist at every moment; what was the old store now has the temporary name and is
                // removed when `self` is dropped.
                rename(&self.path, &self.target, libc::RENAME_EXCHANGE)
                    .map_err(WriteError::io(&self.target))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Exists {
                    path: self.target.clone(),
                });
            }
            Err(error) => return Err(WriteError::io(&self.target)(error)),
        }
        match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the next run for the same target tries again.
            let _ = fs::remove_dir_all(&self.path);
        }
        let _ = self.lock.unlock();
    }
}

/// Only a store, or what looks like one, is replaced: `--force` with a mistyped path must not remove a home directory.
fn check_replaceable(target: &Path) -> Result<(), WriteError> {
    match fs::symlink_metadata(target) {
        Err(_) => Ok(()),
        Ok(_) if target.join(crate::format::constants::MANIFEST_FILE).is_file() => Ok(()),
        Ok(_) => Err(WriteError::NotReplaceable {
            path: target.to_path_buf(),
        }),
    }
}

/// Removes temporary directories whose process is gone.
fn remove_remains(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
    {
        let unlocked = match File::open(entry.path().join(LOCK_FILE)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Without a lock file the run was killed while publishing or while removing an old store.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if unlocked {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn sync(path: &Path) -> Result<(), WriteError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(WriteError::io(path))
}

fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from_c, to_c) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are NUL-terminated strings that live until the call returns.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from_c.as_ptr(),
            libc::AT_FDCWD,
            to_c.as_ptr(),
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => {
            let error = io::Error::last_os_error();
            // Filesystems without the flag: a plain rename refuses a directory that is not empty.
            if error.raw_os_error() == Some(libc::EINVAL) && flags == libc::RENAME_NOREPLACE {
                return match fs::symlink_metadata(to) {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(_) => fs::rename(from, to),
                };
            }
            Err(error)
        }
    }
}
