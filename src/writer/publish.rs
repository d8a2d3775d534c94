//! Builds a directory under a temporary name and gives it its final name in one step.
#![allow(
    unsafe_code,
    reason = "renameat2, faccessat and geteuid have no safe interface in libc"
)]

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::stripe::{self, Stripe};
use crate::format::constants::{MANIFEST_FILE, PART_FILE};
use crate::format::{explain, obstacle};

/// A directory that exists under a temporary name until it is published; dropped before that, it is removed.
///
/// It holds a lock while its process lives, so that a later run can tell the remains of a killed one from the work of
/// another that is still going on.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    target: PathBuf,
    /// The path from the root of the store that this will be, or be a part of.
    owner: PathBuf,
    stripe: Stripe,
    replace: bool,
    lock: File,
    published: bool,
}

const LOCK_FILE: &str = ".lock";

impl Staging {
    /// Creates the temporary directory beside `target`, after removing what killed runs for the same target left, and a
    /// directory for shards in each of `stripe`.
    /// The store that it is for is `owner`, from the root, or `target` itself.
    pub(super) fn create(
        target: &Path,
        replace: bool,
        stripe: &[PathBuf],
        owner: Option<&Path>,
    ) -> Result<Self, WriteError> {
        check_target(target, replace)?;
        let name = target.file_name().unwrap_or_default();
        let parent = parent_of(target);
        let absolute = match owner {
            Some(owner) => owner.to_path_buf(),
            None => stripe::absolute(target).map_err(WriteError::io(parent))?,
        };
        remove_remains(target, &absolute);
        let path = parent.join(temporary_name(name));
        fs::create_dir(&path).map_err(WriteError::io(&path))?;
        let lock = File::create(path.join(LOCK_FILE))
            .and_then(|lock| lock.try_lock().map_err(io::Error::from).map(|()| lock));
        let lock = lock.map_err(WriteError::io(&path))?;
        let mut staging = Self {
            stripe: Stripe::create(&path, &absolute, &[])?,
            path,
            target: target.to_path_buf(),
            owner: absolute,
            replace,
            lock,
            published: false,
        };
        // Where one of these cannot be made, what was made before it is removed with `staging`.
        staging.stripe = Stripe::create(&staging.path, &staging.owner, stripe)?;
        Ok(staging)
    }

    /// Where to write shard `number`.
    pub(super) fn new_shard(&mut self, number: u32) -> Result<PathBuf, WriteError> {
        self.stripe.new_shard(number)
    }

    /// Takes a shard from elsewhere on the same filesystem as shard `number`, without copying it.
    pub(super) fn adopt(&mut self, shard: &Path, number: u32) -> Result<(), WriteError> {
        self.stripe.adopt(shard, number)
    }

    /// The temporary directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path from the root of the store that this will be, or be a part of.
    pub(super) fn owner(&self) -> &Path {
        &self.owner
    }

    /// Its final name.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the directory and everything in it, and renames it to its final name.
    pub(super) fn publish(mut self) -> Result<(), WriteError> {
        for entry in fs::read_dir(&self.path).map_err(WriteError::io(&self.path))? {
            let path = entry.map_err(WriteError::io(&self.path))?.path();
            sync(&path)?;
        }
        self.stripe.publish()?;
        // Whoever appends to the store that is replaced is waited for, not cut off.
        let _replaced = match File::open(&self.target) {
            Ok(old) if self.replace => {
                old.lock().map_err(WriteError::io(&self.target))?;
                Some(old)
            }
            _ => None,
        };
        sync(&self.path)?;
        // The lock goes along, and is removed behind the new name: without it another process would take the directory for what a
        // killed one left.
        let mut replaced = false;
        let renamed = rename(&self.path, &self.target, libc::RENAME_NOREPLACE);
        match renamed {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replace => {
                // Both names exist at every moment; what was the old store now has the temporary name and is
                // removed when `self` is dropped. Something else may have come to lie there since `create`.
                check_replaceable(&self.target)?;
                rename(&self.path, &self.target, libc::RENAME_EXCHANGE)
                    .map_err(WriteError::io(&self.target))?;
                replaced = true;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Exists {
                    path: self.target.clone(),
                });
            }
            Err(error) => return Err(WriteError::io(&self.target)(error)),
        }
        // Readers ignore it: where this fails nothing is lost.
        let _ = fs::remove_file(self.target.join(LOCK_FILE));
        sync(parent_of(&self.target))?;
        if replaced {
            self.published = true;
            stripe::remove(&self.path, &self.owner).map_err(|(remains, error)| WriteError::Remains {
                path: self.target.clone(),
                remains,
                error,
            })?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the next run for the same target tries again.
            let _ = stripe::remove(&self.path, &self.owner);
        }
        let _ = self.lock.unlock();
    }
}

/// Whether a store could be published as `target`, before anything is done for it: the path has a name, its directory exists and
/// can be written, nothing is there, or with `replace` a store that can be removed.
///
/// # Errors
/// [`WriteError`] that says what is in the way.
pub fn check_target(target: &Path, replace: bool) -> Result<(), WriteError> {
    if !replace && fs::symlink_metadata(target).is_ok() {
        return Err(WriteError::Exists {
            path: target.to_path_buf(),
        });
    }
    if target.file_name().is_none() {
        return Err(WriteError::NoName {
            path: target.to_path_buf(),
        });
    }
    check_directory(target)?;
    match replace {
        true => check_replaceable(target),
        false => Ok(()),
    }
}

/// Whether the directory that holds `target` exists and can be written.
///
/// # Errors
/// [`WriteError::Directory`] that says why not.
pub fn check_directory(target: &Path) -> Result<(), WriteError> {
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
            Err(failed(format!("{missing}; make it first")))
        }
        Err(error) => Err(failed(explain(parent, error).to_string())),
        Ok(found) if !found.is_dir() => Err(failed(format!("{parent:?} is a file, not a directory"))),
        Ok(_) => can_change(parent)
            .map_err(|error| failed(format!("the directory {parent:?} may not be written ({error})"))),
    }
}

/// Only a store, or what looks like one, is replaced: `--force` with a mistyped path must not remove a home directory. And only
/// one that can be removed, so that nothing remains of it.
fn check_replaceable(target: &Path) -> Result<(), WriteError> {
    let Ok(found) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    let is_ours = |file: &str| target.join(file).is_file();
    if ![MANIFEST_FILE, PART_FILE].into_iter().any(is_ours) {
        return Err(WriteError::NotReplaceable {
            path: target.to_path_buf(),
        });
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
        )));
    }
    if found.is_dir() {
        let absolute = stripe::absolute(target).map_err(WriteError::io(target))?;
        for directory in stripe::directories_to_empty(target, &absolute) {
            can_change(&directory).map_err(|error| {
                failed(format!(
                    "{directory:?} belongs to it and may not be emptied ({error})"
                ))
            })?;
        }
    }
    Ok(())
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

/// The name of a temporary directory for the target of this name.
fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = temporary_prefix(name);
    temporary.push(std::process::id().to_string());
    temporary
}

fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".tmp-");
    prefix
}

/// Removes temporary directories for this target whose process is gone.
fn remove_remains(target: &Path, absolute: &Path) {
    let prefix = temporary_prefix(target.file_name().unwrap_or_default());
    let Ok(entries) = fs::read_dir(parent_of(target)) else {
        return;
    };
    let is_temporary = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(prefix.as_bytes());
    for entry in entries.flatten().filter(is_temporary) {
        let unlocked = match File::open(entry.path().join(LOCK_FILE)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Without a lock file the run was killed while removing an old store.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if unlocked {
            let _ = stripe::remove(&entry.path(), absolute);
        }
    }
}

/// In the name of a part that is being removed: what follows the part's own name.
const MERGED: &str = ".merged-";

/// Removes a part whose store is complete, in a way that leaves nothing half-removed under its name. What is left where the process
/// is killed has a name that says so.
pub(super) fn remove_merged(target: &Path) -> Result<(), WriteError> {
    let absolute = stripe::absolute(target).map_err(WriteError::io(target))?;
    remove_remains(target, &absolute);
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!("{MERGED}{}", std::process::id()));
    let temporary = parent_of(target).join(name);
    match fs::rename(target, &temporary) {
        Ok(()) => {
            let _ = stripe::remove(&temporary, &absolute);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(WriteError::io(target)(error)),
    }
    Ok(())
}

/// Removes what killed processes left of those parts in a directory that `is_part` tells, and gives their names.
pub(super) fn remove_rest_of_merged(directory: &Path, is_part: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let part = name
            .strip_prefix('.')
            .and_then(|name| name.rsplit_once(MERGED))
            .map(|(part, _)| directory.join(part))
            .filter(|part| is_part(part));
        if let Some(part) = part
            && let Ok(absolute) = stripe::absolute(&part)
        {
            let _ = stripe::remove(&entry.path(), &absolute);
            parts.push(part);
        }
    }
    parts
}

/// Locks the directory of a store against others that append to it.
pub(super) fn lock_store(directory: File, path: &Path) -> Result<File, WriteError> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let is_there = |directory: &File| {
        let (locked, named) = (directory.metadata()?, fs::metadata(path)?);
        Ok(identity(locked) == identity(named))
    };
    match directory.try_lock() {
        // Another one may have been put in its place before it was locked.
        Ok(()) if is_there(&directory).map_err(WriteError::io(path))? => Ok(directory),
        Ok(()) => Err(WriteError::Busy {
            path: path.to_path_buf(),
        }),
        Err(fs::TryLockError::WouldBlock) => Err(WriteError::Busy {
            path: path.to_path_buf(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(WriteError::io(path)(error)),
    }
}

/// The directory that holds `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn sync(path: &Path) -> Result<(), WriteError> {
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
