//! Whether a store can get its name, before anything is done for it.
#![allow(unsafe_code, reason = "faccessat and geteuid have no safe interface in libc")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::remains::is_ours;
use crate::Error;
use crate::format::constants::{MANIFEST_FILE, VAR_FILE};
use crate::writer::error::WriteError;
use crate::writer::foreign::foreign_in;
use crate::writer::paths::{absolute, parent_of};
use crate::writer::stripe;
use cellring_core::{explain, obstacle};

/// Whether a store could be published as `target`, before anything is done for it: the path has a name, its directory exists and
/// can be written, nothing is there, or with `replace` a store that can be removed.
///
/// # Errors
/// If something is in the way; the message says what.
pub fn check_target(target: &Path, replace: bool) -> Result<(), Error> {
    if !replace && fs::symlink_metadata(target).is_ok() {
        return Err(WriteError::Exists {
            path: target.to_path_buf(),
        }
        .into());
    }
    if target.file_name().is_none() {
        return Err(WriteError::NoName {
            path: target.to_path_buf(),
        }
        .into());
    }
    check_directory(target)?;
    match replace {
        true => check_replaceable(target),
        false => Ok(()),
    }
}

/// Whether the directory that holds `target` exists, can be written, and is not a store.
///
/// # Errors
/// If not; the message says why.
pub fn check_directory(target: &Path) -> Result<(), Error> {
    let parent = parent_of(target);
    let failed = |reason: String| WriteError::Directory {
        path: target.to_path_buf(),
        reason,
    };
    match fs::metadata(parent) {
        Err(_)
            if fs::symlink_metadata(parent).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) =>
        {
            let missing = obstacle(target).unwrap_or_default();
            Err(failed(format!("{missing}; create it first")).into())
        }
        Err(error) => Err(failed(explain(parent, error).to_string()).into()),
        Ok(found) if !found.is_dir() => Err(failed(format!("{parent:?} is a file, not a directory")).into()),
        // It would no longer be whole, nor could it be replaced.
        Ok(_) if is_store(parent) => {
            let reason =
                format!("the directory {parent:?} is a store, which holds nothing else; choose another one");
            Err(failed(reason).into())
        }
        Ok(_) => Ok(can_change(parent)
            .map_err(|error| failed(format!("the directory {parent:?} cannot be written ({error})")))?),
    }
}

/// Only a store, or what looks like one, is replaced: `--force` with a mistyped path must not remove a home directory. And only
/// one that can be removed, so that nothing remains of it.
pub(super) fn check_replaceable(target: &Path) -> Result<(), Error> {
    let Ok(found) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    if !is_ours(target) {
        return Err(WriteError::NotReplaceable {
            path: target.to_path_buf(),
        }
        .into());
    }
    let failed = |reason: String| WriteError::NotRemovable {
        path: target.to_path_buf(),
        reason,
    };
    let parent = parent_of(target);
    let holder = fs::metadata(parent).map_err(WriteError::io(parent))?;
    let user = effective_user();
    // In a directory such as /tmp everybody may write, but only the owner may rename and remove.
    if holder.mode() & libc::S_ISVTX != 0 && user != 0 && ![holder.uid(), found.uid()].contains(&user) {
        return Err(failed(format!(
            "it belongs to user {}, and in {parent:?} (sticky bit) only the owner may replace it",
            found.uid()
        ))
        .into());
    }
    if found.is_dir() {
        if let Some(foreign) = foreign_in(target) {
            return Err(failed(format!(
                "{foreign:?} is in it and does not belong to it, so it would be lost"
            ))
            .into());
        }
        let owner = absolute(target).map_err(WriteError::io(target))?;
        for directory in stripe::directories_to_empty(target, &owner) {
            can_change(&directory).map_err(|error| {
                failed(format!(
                    "{directory:?} belongs to it and cannot be emptied ({error})"
                ))
            })?;
        }
    }
    Ok(())
}

/// Whether a directory holds a store, and not only a file that is called as its manifest is.
fn is_store(directory: &Path) -> bool {
    [MANIFEST_FILE, VAR_FILE]
        .iter()
        .all(|file| directory.join(file).is_file())
}

/// Whether files can be made in, and removed from, a directory.
fn can_change(directory: &Path) -> io::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: a NUL-terminated string that lives until the call returns.
    let result = unsafe {
        libc::faccessat(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::W_OK | libc::X_OK,
            libc::AT_EACCESS,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::PermissionDenied => {
                io::Error::new(error.kind(), "permission denied")
            }
            error => error,
        }),
    }
}

fn effective_user() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
