//! Builds a directory under a temporary name and gives it its final name in one step.
//!
//! The directory is `.NAME.tmp-PID` beside its target `NAME`. Everything in it is synced before it is renamed. Where nothing has the
//! name, a crash leaves either that directory, which the next run for the same target removes, or the store. Where a store is
//! replaced, the two exchange their names, and what then has the temporary name is removed.
//!
//! Filesystems that cannot exchange two names (NFS, Lustre, many FUSE filesystems) take three steps, under a lock on the old store:
//!
//! | after | a crash leaves | the next run that writes to `NAME` |
//! |---|---|---|
//! | nothing | the old store; `.NAME.tmp-PID` | removes `.NAME.tmp-PID` |
//! | 1. `NAME` is renamed `.NAME.old-PID` | no store under its name; the old one as `.NAME.old-PID`; `.NAME.tmp-PID` | gives the old store its name back, and removes `.NAME.tmp-PID` |
//! | 2. `.NAME.tmp-PID` is renamed `NAME` | the new store; the old one as `.NAME.old-PID` | removes `.NAME.old-PID` |
//! | 3. `.NAME.old-PID` is removed | the new store; perhaps some of the old one's files | removes these |
//!
//! A run that still lives is told from a killed one by its [lock](super::lock), and left alone.
#![allow(unsafe_code, reason = "faccessat and geteuid have no safe interface in libc")]

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::foreign::foreign_in;
use super::lock::{self, LOCK_FILE, StoreLock};
use super::rename::{self, Ability};
use super::stripe::{self, Stripe};
use super::unfinished::{self, Unfinished};
use crate::format::constants::{MANIFEST_FILE, PART_FILE};
use crate::format::file::FileName;
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
    ability: Ability,
    lock: File,
    published: bool,
    unfinished: Unfinished,
}

/// Most processes of the same number, each on a host of its own, that have the same target.
const MAX_NAMESAKES: u32 = 100;

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
        let name = target.file_name().ok_or_else(|| WriteError::NoName {
            path: target.to_path_buf(),
        })?;
        recover(target);
        check_target(target, replace)?;
        if replace {
            StoreLock::check(target)?;
        }
        let parent = parent_of(target);
        let absolute = match owner {
            Some(owner) => owner.to_path_buf(),
            None => stripe::absolute(target).map_err(WriteError::io(parent))?,
        };
        remove_remains(target, &absolute);
        let path = create_temporary(parent, name)?;
        let unfinished = unfinished::register(removal(&path, &absolute));
        let lock = lock::claim(&path).map_err(|error| {
            let _ = fs::remove_dir_all(&path);
            WriteError::io(&path)(error)
        })?;
        // Now, and not when the store is complete.
        let ability = Ability::probe(&path).map_err(|error| WriteError::NoRename {
            path: target.to_path_buf(),
            error,
        });
        let mut staging = Self {
            stripe: Stripe::create(&path, &absolute, &[])?,
            path,
            target: target.to_path_buf(),
            owner: absolute,
            replace,
            ability: Ability::Move,
            lock,
            published: false,
            unfinished,
        };
        staging.ability = ability?;
        // Where one of these cannot be made, what was made before it is removed with `staging`.
        staging.stripe = Stripe::create(&staging.path, &staging.owner, stripe)?;
        Ok(staging)
    }

    /// Where to write shard `number`.
    pub(super) fn new_shard(&mut self, number: u32) -> Result<PathBuf, WriteError> {
        self.stripe.new_shard(number)
    }

    /// Takes a shard of a part on the same filesystem as shard `number`, without copying it.
    pub(super) fn adopt(
        &mut self,
        part: &Path,
        name: &FileName,
        number: u32,
        header_bytes: u32,
    ) -> Result<(), WriteError> {
        self.stripe.adopt(part, name, number, header_bytes)
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
        let mut replaced = match self.replace && fs::symlink_metadata(&self.target).is_ok() {
            true => Some(StoreLock::wait(&self.target)?),
            false => None,
        };
        sync(&self.path)?;
        // The lock goes along, and is removed behind the new name: without it another process would take the directory for what a
        // killed one left.
        let mut is_replacing = false;
        let move_there = || rename::move_to(&self.path, &self.target);
        let renamed = self.unfinished.commit(move_there).and_then(|renamed| renamed);
        match renamed {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replace => {
                // Something else may have come to lie there since `create`.
                check_replaceable(&self.target)?;
                let replace = || self.take_the_place();
                let old = self.unfinished.commit(replace).and_then(|old| old);
                let old = old.map_err(WriteError::io(&self.target))?;
                if let Some(lock) = &mut replaced {
                    lock.moved(&old);
                }
                // What was the old store is removed when `self` is dropped.
                self.unfinished = unfinished::register(removal(&old, &self.owner));
                self.path = old;
                is_replacing = true;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Exists {
                    path: self.target.clone(),
                });
            }
            Err(error) => return Err(WriteError::io(&self.target)(error)),
        }
        drop(replaced);
        // Readers ignore it: where this fails nothing is lost.
        let _ = fs::remove_file(self.target.join(LOCK_FILE));
        sync(parent_of(&self.target))?;
        if is_replacing {
            self.published = true;
            stripe::remove(&self.path, &self.owner).map_err(|(remains, error)| WriteError::Remains {
                path: self.target.clone(),
                remains,
                error,
            })?;
        }
        Ok(())
    }

    /// Gives this the name of the store that is replaced, and tells where that is then.
    fn take_the_place(&self) -> io::Result<PathBuf> {
        if self.ability == Ability::Exchange {
            // Both names exist at every moment.
            match rename::exchange(&self.path, &self.target) {
                Ok(()) => return Ok(self.path.clone()),
                // The directory may have become another mount since it was probed.
                Err(error) if rename::is_unknown(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let old = self.move_away()?;
        if let Err(error) = rename::move_to(&self.path, &self.target) {
            // Else the next run does that.
            let _ = rename::move_to(&old, &self.target);
            return Err(error);
        }
        Ok(old)
    }

    /// Renames the store that is replaced, and tells how it is called then.
    fn move_away(&self) -> io::Result<PathBuf> {
        let mut number = 0;
        loop {
            let old = parent_of(&self.target).join(old_name(&self.target, number));
            match rename::move_to(&self.target, &old) {
                Ok(()) => return Ok(old),
                // What an earlier process of this number left, and nobody could remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NAMESAKES => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes the temporary directory for a target of this name. A process on another host may have the same number.
fn create_temporary(parent: &Path, name: &OsStr) -> Result<PathBuf, WriteError> {
    let mut number = 0;
    loop {
        let path = parent.join(temporary_name(name, number));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NAMESAKES => {
                number += 1;
            }
            Err(error) => return Err(WriteError::io(&path)(error)),
        }
    }
}

/// What removes a temporary directory while other threads may still write into it.
fn removal(path: &Path, owner: &Path) -> impl FnOnce() + Send + use<> {
    let (path, owner) = (path.to_path_buf(), owner.to_path_buf());
    move || {
        for _ in 0..100 {
            let _ = stripe::remove(&path, &owner);
            if fs::symlink_metadata(&path).is_err() {
                return;
            }
        }
    }
}

/// In the name of a store that is being replaced, where that takes several steps.
const OLD: &str = ".old-";

fn old_name(target: &Path, number: u32) -> OsString {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(OLD);
    name.push(process_name(number));
    name
}

/// What tells this process in a name, and one try of it from another.
fn process_name(number: u32) -> String {
    match number {
        0 => std::process::id().to_string(),
        number => format!("{}-{number}", std::process::id()),
    }
}

/// Finishes what a killed process began that was replacing a store in steps, on a filesystem that cannot exchange two names: if nothing
/// has the name `target`, the old store gets it back; if the new store has it, the old one is removed. Else nothing happens.
///
/// Writers do so themselves. It is for programs that read the store before they write to it.
pub fn recover(target: &Path) {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(OLD);
    let entries = fs::read_dir(parent_of(target)).into_iter().flatten().flatten();
    let is_old = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(prefix.as_bytes());
    let mut old: Vec<(i64, PathBuf)> = entries
        .filter(is_old)
        .filter_map(|entry| Some((entry.metadata().ok()?.ctime(), entry.path())))
        .filter(|(_, path)| is_ours(path))
        .collect();
    // The one that was renamed last is what the store was last.
    old.sort_by_key(|&(changed, _)| std::cmp::Reverse(changed));
    for (_, path) in old {
        // A process that is replacing it holds its lock.
        let Ok(mut lock) = StoreLock::acquire(&path) else {
            continue;
        };
        match rename::move_to(&path, target) {
            Ok(()) => {
                lock.moved(target);
                let _ = sync(parent_of(target));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(target) => {
                if let Ok(absolute) = stripe::absolute(target) {
                    let _ = stripe::remove(&path, &absolute);
                }
            }
            Err(_) => {}
        }
    }
}

/// Whether a directory holds a store or a part of one.
fn is_ours(path: &Path) -> bool {
    [MANIFEST_FILE, PART_FILE]
        .iter()
        .any(|file| path.join(file).is_file())
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
            Err(failed(format!("{missing}; create it first")))
        }
        Err(error) => Err(failed(explain(parent, error).to_string())),
        Ok(found) if !found.is_dir() => Err(failed(format!("{parent:?} is a file, not a directory"))),
        Ok(_) => can_change(parent)
            .map_err(|error| failed(format!("the directory {parent:?} cannot be written ({error})"))),
    }
}

/// Only a store, or what looks like one, is replaced: `--force` with a mistyped path must not remove a home directory. And only
/// one that can be removed, so that nothing remains of it.
fn check_replaceable(target: &Path) -> Result<(), WriteError> {
    let Ok(found) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    if !is_ours(target) {
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
        if let Some(foreign) = foreign_in(target) {
            return Err(failed(format!(
                "{foreign:?} is in it and does not belong to it, so it would be lost"
            )));
        }
        let absolute = stripe::absolute(target).map_err(WriteError::io(target))?;
        for directory in stripe::directories_to_empty(target, &absolute) {
            can_change(&directory).map_err(|error| {
                failed(format!(
                    "{directory:?} belongs to it and cannot be emptied ({error})"
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
fn temporary_name(name: &OsStr, number: u32) -> OsString {
    let mut temporary = temporary_prefix(name);
    temporary.push(process_name(number));
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
        if lock::is_abandoned(&entry.path().join(LOCK_FILE)) {
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
    let _unfinished = unfinished::register(removal(&temporary, &absolute));
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

/// The directory that holds `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a file or the entries of a directory to the disk.
pub(super) fn sync(path: &Path) -> Result<(), WriteError> {
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
    write().map_err(WriteError::io(path))
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
