//! Lock files: made whole, and taken over from processes that are gone.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::owner::{Owner, OwnerState};
use crate::Error;
use crate::writer::error::WriteError;
use crate::writer::link::is_refusal as is_link_refusal;
use crate::writer::rename;

/// Name of a lock file.
pub(in crate::writer) const LOCK_FILE: &str = ".lock";

/// A lock file that says nothing after so long was left by a process that died as it made it.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// The same where flock says that no process of this host has made it. It is waited for.
const SHORT_SILENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether a lock is free.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes the lock file of a directory that no other process knows yet. It is locked as long as it is open.
pub(in crate::writer) fn claim(directory: &Path) -> io::Result<File> {
    let mut file = File::create_new(directory.join(LOCK_FILE))?;
    // Refused or not: whoever looks at it reads the owner too.
    let _ = file.try_lock();
    Owner::me().write(&mut file)?;
    Ok(file)
}

/// Whether the process is gone that made this lock file by [`claim`]. Where that cannot be told it is not.
pub(in crate::writer) fn is_abandoned(lock: &Path) -> bool {
    // NFS turns the lock into one that needs a file open for writing.
    let opened = File::options().read(true).write(true).open(lock);
    let mut file = match opened.or_else(|_| File::open(lock)) {
        Ok(file) => file,
        // Without a lock file the process was killed while it removed an old store.
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    let is_free = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return false,
        Err(TryLockError::Error(_)) => false,
    };
    match Owner::read(&mut file) {
        Some(owner) => owner.state(&Owner::me()) == OwnerState::Gone,
        // Made by an earlier version, or killed as it made the file.
        None => is_free,
    }
}

/// Makes a lock file. It says who made it from its first moment: a process that is killed here must not leave one that names no process.
///
/// # Errors
/// `AlreadyExists` where there is one.
pub(super) fn create(lock: &Path, me: &Owner) -> io::Result<()> {
    if fs::symlink_metadata(lock).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let draft = draft(lock, me);
    let written = File::create_new(&draft).and_then(|mut file| me.write(&mut file));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(match error.kind() {
            // Not to be taken for the lock's.
            io::ErrorKind::AlreadyExists => io::Error::other("the name of a draft is taken"),
            _ => error,
        });
    }
    let linked = match fs::hard_link(&draft, lock) {
        // An answer of a server may be lost, and the question asked again: then the draft has both names.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && has_two_names(&draft) => Ok(()),
        linked => linked,
    };
    let _ = fs::remove_file(&draft);
    match linked {
        // Without hard links a process that is killed in between may leave an empty file.
        Err(error) if is_link_refusal(&error) => {
            let mut file = File::create_new(lock)?;
            me.write(&mut file).inspect_err(|_| {
                let _ = fs::remove_file(lock);
            })
        }
        linked => linked,
    }
}

fn has_two_names(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.nlink() == 2)
}

/// Removes what processes that are gone left of lock files. The store is locked.
pub(super) fn remove_drafts(path: &Path, me: &Owner) {
    let prefix = format!("{LOCK_FILE}-");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let owner = File::open(entry.path())
            .ok()
            .and_then(|mut file| Owner::read(&mut file));
        let is_old = || {
            let modified = entry.metadata().and_then(|file| file.modified());
            let since = modified.ok().and_then(|then| then.elapsed().ok());
            since.is_some_and(|since| since > LONGEST_SILENCE)
        };
        // Killed before it was written to, it is known by its name.
        let is_gone = || {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(&draft_prefix(me)?)?;
            let pid: u32 = rest.split('-').next()?.parse().ok()?;
            Some(!Path::new(&format!("/proc/{pid}")).exists())
        };
        let is_stale = match owner {
            Some(owner) => owner.state(me) == OwnerState::Gone,
            None => is_old() || is_gone() == Some(true),
        };
        if is_stale {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes a lock file whose process is gone.
///
/// `is_locked`: the directory is locked with flock, so that no other process of this host does the same now, and none of it holds the
/// lock file.
pub(super) fn take_over(path: &Path, lock: &Path, me: &Owner, is_locked: bool) -> Result<(), Error> {
    let mut file = match File::open(lock) {
        Ok(file) if file.metadata().is_ok_and(|file| file.is_file()) => file,
        // Not a lock file, and not to be moved.
        Ok(_) => return Err(held(path, None).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(lock).is_ok() => {
            return Err(held(path, None).into());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::io(lock)(error).into()),
    };
    let owner = Owner::read(&mut file);
    let is_stale = match &owner {
        Some(owner) if owner.pid == me.pid && owner.state(me) == OwnerState::Alive => is_locked,
        Some(owner) => owner.state(me) == OwnerState::Gone,
        None => {
            let modified = file.metadata().and_then(|file| file.modified());
            let since = modified.ok().and_then(|then| then.elapsed().ok());
            let limit = if is_locked { SHORT_SILENCE } else { LONGEST_SILENCE };
            if is_locked && since.is_some_and(|since| since <= limit) {
                pause();
                return Ok(());
            }
            since.is_some_and(|since| since > limit)
        }
    };
    if !is_stale {
        return Err(held(path, owner.as_ref()).into());
    }
    // Renamed first: of several processes one gets it. What that one got may be the lock file of another that was faster still.
    let aside = draft(lock, me);
    match fs::rename(lock, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::io(lock)(error).into()),
    }
    let taken = match File::open(&aside) {
        Ok(mut file) => Owner::read(&mut file),
        // Another process that has the lock by now has cleaned up: it is found at the next look.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => None,
    };
    if taken == owner {
        let _ = fs::remove_file(&aside);
        return Ok(());
    }
    let _ = rename::move_to(&aside, lock);
    Err(held(path, taken.as_ref()).into())
}

/// How the names begin of drafts of processes whose numbers mean the same as here: on this host, since its start, in this namespace.
/// `None` where the system does not say.
fn draft_prefix(me: &Owner) -> Option<String> {
    let boot = me.boot_id.get(..8)?;
    let namespace: String = me.pid_namespace.chars().filter(char::is_ascii_digit).collect();
    (!namespace.is_empty()).then(|| format!("{LOCK_FILE}-{boot}-{namespace}-"))
}

/// A new name for a lock file that is not complete yet, or was taken over.
pub(super) fn draft(lock: &Path, me: &Owner) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Processes of two containers may have the same host and number.
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    let prefix = draft_prefix(me).unwrap_or_else(|| format!("{LOCK_FILE}-{}-", me.host));
    lock.with_file_name(format!("{prefix}{}-{nanos}-{number}", me.pid))
}

pub(super) fn held(path: &Path, owner: Option<&Owner>) -> WriteError {
    WriteError::Held {
        path: path.to_path_buf(),
        lock: path.join(LOCK_FILE),
        owner: owner.map_or("an unknown process".into(), Owner::to_string),
    }
}

pub(super) fn pause() {
    #[allow(
        clippy::disallowed_methods,
        reason = "a process on another host does not announce that it is done"
    )]
    std::thread::sleep(PAUSE);
}
