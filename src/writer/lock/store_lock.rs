//! The lock on a store.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::{LOCK_FILE, create, held, pause, remove_drafts, take_over};
use super::owner::{Owner, OwnerState};
use crate::Error;
use crate::error::Cause;
use crate::writer::error::WriteError;
use cellring_core::unfinished::{self, Unfinished};

/// A lock on a store, against others that append to it or replace it.
#[derive(Debug)]
pub(in crate::writer) struct StoreLock {
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
    /// If another process has.
    pub(in crate::writer) fn acquire(path: &Path) -> Result<Self, Error> {
        let directory = File::open(path).map_err(WriteError::io(path))?;
        let busy = || WriteError::Busy {
            path: path.to_path_buf(),
        };
        let is_locked = match directory.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(busy().into()),
            Err(TryLockError::Error(_)) => false,
        };
        let lock = Self::with_file(directory, path, is_locked)?;
        // Another store may have been put in its place before it was locked.
        match lock.is_there().map_err(WriteError::io(path))? {
            true => Ok(lock),
            false => Err(busy().into()),
        }
    }

    /// Locks a store that is about to be replaced, or removed; waits for those that append to it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(in crate::writer) fn wait(path: &Path) -> Result<Self, Error> {
        let mut has_warned = false;
        loop {
            let directory = File::open(path).map_err(WriteError::io(path))?;
            let is_locked = directory.lock().is_ok();
            match Self::with_file(directory, path, is_locked) {
                Ok(lock) => return Ok(lock),
                Err(held) if matches!(held.cause(), Cause::Write(WriteError::Held { .. })) => {
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
    pub(in crate::writer) fn check(path: &Path) -> Result<(), Error> {
        let lock = path.join(LOCK_FILE);
        match File::open(&lock).ok().and_then(|mut file| Owner::read(&mut file)) {
            Some(owner) if owner.state(&Owner::me()) == OwnerState::Unknown => {
                Err(held(path, Some(&owner)).into())
            }
            _ => Ok(()),
        }
    }

    /// The directory has got another name.
    pub(in crate::writer) fn moved(&mut self, path: &Path) {
        self.path = path.to_path_buf();
        let lock = self.owner.as_ref().map(|_| path.join(LOCK_FILE));
        self._unfinished = lock.map(|lock| unfinished::register(removal(lock)));
    }

    fn is_there(&self) -> io::Result<bool> {
        let (locked, named) = (self._directory.metadata()?, fs::metadata(&self.path)?);
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        Ok(identity(locked) == identity(named))
    }

    fn with_file(directory: File, path: &Path, is_locked: bool) -> Result<Self, Error> {
        let lock = path.join(LOCK_FILE);
        let me = Owner::me();
        loop {
            let making = unfinished::begin().map_err(WriteError::io(&lock))?;
            let created = create(&lock, &me);
            let unfinished = match &created {
                Ok(()) => Some(making.register(removal(lock.clone()))),
                Err(_) => {
                    drop(making);
                    None
                }
            };
            match created {
                Ok(()) => {
                    remove_drafts(path, &me);
                    return Ok(Self {
                        _directory: directory,
                        path: path.to_path_buf(),
                        owner: Some(me),
                        _unfinished: unfinished,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    take_over(path, &lock, &me, is_locked)?;
                }
                // No process can append to a store in which no file can be made.
                Err(error) if is_read_only(&error) => {
                    return Ok(Self {
                        _directory: directory,
                        path: path.to_path_buf(),
                        owner: None,
                        _unfinished: None,
                    });
                }
                Err(error) => return Err(WriteError::io(&lock)(error).into()),
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

fn removal(lock: PathBuf) -> impl FnOnce() + Send {
    move || drop(fs::remove_file(&lock))
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}
