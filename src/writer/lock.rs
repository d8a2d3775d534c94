//! Locks against other processes, on this and on other hosts.
//!
//! flock(2) is the best of locks: it ends with its process. But Lustre and some FUSE filesystems refuse it, NFS refuses it on
//! directories, and elsewhere (BeeGFS, `local_lock`, `localflock`) it holds on one host only. So each lock is also a file that says who
//! holds it. A lock file whose process is gone is taken over, where that can be told: on the same machine.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::WriteError;
use super::unfinished::{self, Unfinished};

/// Name of a lock file.
pub(super) const LOCK_FILE: &str = ".lock";
/// More than an owner takes.
const MAX_OWNER_BYTES: u64 = 4096;
/// A lock file that says nothing after so long was left by a process that died as it made it.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// The same where flock says that no process of this host has made it. It is waited for.
const SHORT_SILENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether a lock is free.
const PAUSE: Duration = Duration::from_millis(200);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    /// Differs from machine to machine, and from start to start.
    boot_id: String,
    /// Process ids mean something only within one.
    pid_namespace: String,
    pid: u32,
    /// When the process started, in ticks since the start of the machine: another one may get its number.
    started: Option<u64>,
    /// When the lock was taken, in seconds since 1970.
    time: u64,
}

/// Whether an owner still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Gone,
    /// It runs, or ran, on another host.
    Unknown,
}

impl Owner {
    /// This process.
    fn me() -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: line("/proc/sys/kernel/hostname"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: namespace.to_string_lossy().into_owned(),
            pid,
            started: started(pid),
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }

    fn read(file: &mut File) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(MAX_OWNER_BYTES).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        file.write_all(&line)?;
        // Other hosts are to see it now, where the filesystem lets them.
        let _ = file.sync_all();
        Ok(())
    }

    fn life(&self, me: &Self) -> Life {
        let is_same_start = !me.boot_id.is_empty() && self.boot_id == me.boot_id;
        let is_named = !me.host.is_empty() && !me.host.starts_with("localhost");
        if is_same_start && self.pid_namespace == me.pid_namespace {
            // Only a process that was seen to start at another time is another one.
            let is_same = match (self.started, started(self.pid)) {
                (Some(then), Some(now)) => then == now,
                _ => Path::new(&format!("/proc/{}", self.pid)).exists(),
            };
            return if is_same { Life::Alive } else { Life::Gone };
        }
        match is_same_start || self.boot_id.is_empty() || !is_named || self.host != me.host {
            true => Life::Unknown,
            // The machine was started again.
            false => Life::Gone,
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().saturating_sub(self.time) / 60);
        write!(
            f,
            "process {} on host {}, for {minutes} minutes",
            self.pid, self.host
        )
    }
}

/// When a process started, in ticks since the start of the machine.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, in parentheses, may hold anything; the 22nd is the time.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Makes the lock file of a directory that no other process knows yet. It is locked as long as it is open.
pub(super) fn claim(directory: &Path) -> io::Result<File> {
    let mut file = File::create_new(directory.join(LOCK_FILE))?;
    // Refused or not: whoever looks at it reads the owner too.
    let _ = file.try_lock();
    Owner::me().write(&mut file)?;
    Ok(file)
}

/// Whether the process is gone that made this lock file by [`claim`]. Where that cannot be told it is not.
pub(super) fn is_abandoned(lock: &Path) -> bool {
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
        Some(owner) => owner.life(&Owner::me()) == Life::Gone,
        // Made by an earlier version, or killed as it made the file.
        None => is_free,
    }
}

/// A lock on a store, against others that append to it or replace it.
#[derive(Debug)]
pub(super) struct StoreLock {
    // Open, and where possible locked, as long as this lives.
    _directory: File,
    path: PathBuf,
    owner: Option<Owner>,
    _unfinished: Option<Unfinished>,
}

impl StoreLock {
    /// Locks a store that no other process has locked.
    ///
    /// # Errors
    /// [`WriteError::Busy`] or [`WriteError::Held`] where somebody has.
    pub(super) fn acquire(path: &Path) -> Result<Self, WriteError> {
        let directory = File::open(path).map_err(WriteError::io(path))?;
        let busy = || WriteError::Busy {
            path: path.to_path_buf(),
        };
        let is_locked = match directory.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(_)) => false,
        };
        let lock = Self::with_file(directory, path, is_locked)?;
        // Another store may have been put in its place before it was locked.
        match lock.is_there().map_err(WriteError::io(path))? {
            true => Ok(lock),
            false => Err(busy()),
        }
    }

    /// Locks a store that is about to be replaced, or removed; waits for those that append to it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn wait(path: &Path) -> Result<Self, WriteError> {
        let mut has_warned = false;
        loop {
            let directory = File::open(path).map_err(WriteError::io(path))?;
            let is_locked = directory.lock().is_ok();
            match Self::with_file(directory, path, is_locked) {
                Ok(lock) => return Ok(lock),
                Err(held @ WriteError::Held { .. }) => {
                    if !has_warned {
                        tracing::warn!("waiting for a lock: {held}");
                        has_warned = true;
                    }
                    pause();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fails where a lock file names a process of another host: whether it is gone cannot be seen here, so a wait might never end.
    pub(super) fn check(path: &Path) -> Result<(), WriteError> {
        let lock = path.join(LOCK_FILE);
        match File::open(&lock).ok().and_then(|mut file| Owner::read(&mut file)) {
            Some(owner) if owner.life(&Owner::me()) == Life::Unknown => Err(held(path, Some(&owner))),
            _ => Ok(()),
        }
    }

    /// The directory has got another name.
    pub(super) fn moved(&mut self, path: &Path) {
        self.path = path.to_path_buf();
        self._unfinished = self.owner.as_ref().map(|_| removal(path));
    }

    fn is_there(&self) -> io::Result<bool> {
        let (locked, named) = (self._directory.metadata()?, fs::metadata(&self.path)?);
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        Ok(identity(locked) == identity(named))
    }

    fn with_file(directory: File, path: &Path, is_locked: bool) -> Result<Self, WriteError> {
        let lock = path.join(LOCK_FILE);
        let me = Owner::me();
        loop {
            match create(&lock, &me) {
                Ok(()) => {
                    remove_drafts(path, &me);
                    return Ok(Self {
                        _directory: directory,
                        path: path.to_path_buf(),
                        owner: Some(me),
                        _unfinished: Some(removal(path)),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    take_over(path, &lock, &me, is_locked)?;
                }
                // Nobody can append to a store in which no file can be made.
                Err(error) if is_read_only(&error) => {
                    return Ok(Self {
                        _directory: directory,
                        path: path.to_path_buf(),
                        owner: None,
                        _unfinished: None,
                    });
                }
                Err(error) => return Err(WriteError::io(&lock)(error)),
            }
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        let lock = self.path.join(LOCK_FILE);
        let owner = File::open(&lock).ok().and_then(|mut file| Owner::read(&mut file));
        if owner.is_some() && owner == self.owner {
            let _ = fs::remove_file(&lock);
        }
    }
}

fn removal(path: &Path) -> Unfinished {
    let lock = path.join(LOCK_FILE);
    unfinished::register(move || drop(fs::remove_file(&lock)))
}

fn pause() {
    #[allow(
        clippy::disallowed_methods,
        reason = "a process on another host does not announce that it is done"
    )]
    std::thread::sleep(PAUSE);
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn held(path: &Path, owner: Option<&Owner>) -> WriteError {
    WriteError::Held {
        path: path.to_path_buf(),
        lock: path.join(LOCK_FILE),
        owner: owner.map_or("an unknown process".into(), Owner::to_string),
    }
}

/// A new name for a lock file that is not complete yet, or was taken over.
fn draft(lock: &Path, me: &Owner) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    lock.with_file_name(format!("{LOCK_FILE}-{}-{}-{number}", me.host, me.pid))
}

/// Makes a lock file. It says who made it from its first moment: a process that is killed here must not leave one that names no process.
///
/// # Errors
/// `AlreadyExists` where there is one.
fn create(lock: &Path, me: &Owner) -> io::Result<()> {
    if fs::symlink_metadata(lock).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let draft = draft(lock, me);
    let linked = File::create(&draft)
        .and_then(|mut file| me.write(&mut file))
        .and_then(|()| fs::hard_link(&draft, lock));
    let _ = fs::remove_file(&draft);
    match linked {
        // Not every filesystem has hard links. There a process that is killed in between may leave an empty file.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => me.write(&mut File::create_new(lock)?),
        linked => linked,
    }
}

/// Removes what processes that are gone left of lock files. The store is locked.
fn remove_drafts(path: &Path, me: &Owner) {
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
        if owner.map_or_else(is_old, |owner| owner.life(me) == Life::Gone) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes a lock file whose process is gone.
///
/// `is_locked`: the directory is locked with flock, so that no other process of this host does the same now, and none of it holds the
/// lock file.
fn take_over(path: &Path, lock: &Path, me: &Owner, is_locked: bool) -> Result<(), WriteError> {
    let mut file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::io(lock)(error)),
    };
    let owner = Owner::read(&mut file);
    let is_stale = match &owner {
        Some(owner) if owner.pid == me.pid && owner.life(me) == Life::Alive => is_locked,
        Some(owner) => owner.life(me) == Life::Gone,
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
        return Err(held(path, owner.as_ref()));
    }
    // Renamed first: of several processes one gets it. What that one got may be the lock file of another that was faster still.
    let aside = draft(lock, me);
    match fs::rename(lock, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::io(lock)(error)),
    }
    let taken = File::open(&aside)
        .ok()
        .and_then(|mut file| Owner::read(&mut file));
    if taken == owner {
        let _ = fs::remove_file(&aside);
        return Ok(());
    }
    let _ = super::rename::move_to(&aside, lock);
    Err(held(path, taken.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write(directory: &Path, owner: &Owner) {
        owner
            .write(&mut File::create(directory.join(LOCK_FILE)).unwrap())
            .unwrap();
    }

    /// A process that has ended.
    fn gone() -> Owner {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        Owner {
            pid,
            started: Some(1),
            ..Owner::me()
        }
    }

    #[test]
    fn a_process_is_judged_by_machine_start_namespace_number_and_start() {
        let me = Owner::me();
        assert_eq!(me.life(&me), Life::Alive);
        assert_eq!(gone().life(&me), Life::Gone);
        let other = |change: fn(&mut Owner)| {
            let mut owner = me.clone();
            change(&mut owner);
            owner.life(&me)
        };
        // Another process has got its number.
        assert_eq!(other(|owner| owner.started = Some(1)), Life::Gone);
        assert_eq!(
            other(|owner| owner.pid_namespace = "pid:[1]".into()),
            Life::Unknown
        );
        let elsewhere = |owner: &mut Owner| (owner.host, owner.boot_id) = ("other".into(), "b".into());
        assert_eq!(other(elsewhere), Life::Unknown);
        let mut named = me.clone();
        named.host = "node7".into();
        let before = Owner {
            boot_id: "before".into(),
            ..named.clone()
        };
        assert_eq!(before.life(&named), Life::Gone);
        named.host = "localhost".into();
        assert_eq!(before.life(&named), Life::Unknown);
    }

    #[test]
    fn a_lock_is_held_once_and_let_go() {
        let store = store();
        let lock = StoreLock::acquire(store.path()).unwrap();
        assert!(matches!(
            StoreLock::acquire(store.path()),
            Err(WriteError::Busy { .. })
        ));
        drop(lock);
        drop(StoreLock::acquire(store.path()).unwrap());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_file_is_taken_over_only_from_a_process_that_is_gone() {
        let store = store();
        write(store.path(), &gone());
        drop(StoreLock::acquire(store.path()).unwrap());
        // flock knows nothing of another host.
        let other = Owner {
            host: "node8".into(),
            boot_id: "b".into(),
            ..Owner::me()
        };
        write(store.path(), &other);
        let error = StoreLock::acquire(store.path()).unwrap_err().to_string();
        assert!(
            error.contains("on host node8") && error.contains("/.lock"),
            "{error}"
        );
        assert!(StoreLock::check(store.path()).is_err());
        fs::remove_file(store.path().join(LOCK_FILE)).unwrap();
        assert!(StoreLock::check(store.path()).is_ok());
        // Half a lock file may be one that is being made: that is waited for where flock works, and else refused at first.
        let file = File::create(store.path().join(LOCK_FILE)).unwrap();
        let take_over = |is_locked| {
            let lock = store.path().join(LOCK_FILE);
            super::take_over(store.path(), &lock, &Owner::me(), is_locked)
        };
        assert!(matches!(take_over(false), Err(WriteError::Held { .. })));
        assert_eq!(file.metadata().unwrap().nlink(), 1);
        file.set_modified(SystemTime::now() - 2 * LONGEST_SILENCE)
            .unwrap();
        take_over(false).unwrap();
        File::create(store.path().join(LOCK_FILE)).unwrap();
        drop(StoreLock::acquire(store.path()).unwrap());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    }

    #[test]
    fn remains_are_those_of_processes_that_are_gone() {
        let dir = store();
        let lock = dir.path().join(LOCK_FILE);
        assert!(is_abandoned(&lock), "no lock file");
        let held = claim(dir.path()).unwrap();
        assert!(!is_abandoned(&lock));
        drop(held);
        // Not locked, but it lives: as where flock is refused.
        assert!(!is_abandoned(&lock));
        write(dir.path(), &gone());
        assert!(is_abandoned(&lock));
        write(
            dir.path(),
            &Owner {
                boot_id: "b".into(),
                host: "node8".into(),
                ..gone()
            },
        );
        assert!(!is_abandoned(&lock));
        File::create(&lock).unwrap();
        assert!(is_abandoned(&lock), "as earlier versions made it");
    }
}
