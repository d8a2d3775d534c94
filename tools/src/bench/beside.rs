//! A directory beside a store for what is only measured, which goes with it, or is removed by the next of its kind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use cellring::writer::unfinished::{self, Unfinished};

const PREFIX: &str = ".cellring-bench-";
/// Locked while its process lives.
const LOCK_FILE: &str = "lock";

/// Dropped, it is removed; so it is when a signal ends the process.
#[derive(Debug)]
pub(super) struct Beside {
    directory: tempfile::TempDir,
    _lock: File,
    _unfinished: Unfinished,
}

impl Beside {
    /// Makes one in the directory that the store is in, and removes those of processes that were killed.
    pub(super) fn create(store: &Path) -> io::Result<Self> {
        let parent = match store.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        remove_remains(parent);
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let path = directory.path().to_path_buf();
        let unfinished = unfinished::register(move || {
            // What writes to it may go on for a moment.
            for _ in 0..100 {
                if fs::remove_dir_all(&path).is_ok() || !path.exists() {
                    return;
                }
            }
        });
        let lock = File::create(directory.path().join(LOCK_FILE))?;
        lock.lock()?;
        Ok(Self {
            directory,
            _lock: lock,
            _unfinished: unfinished,
        })
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Removes what nothing holds a lock of. What cannot be removed stays.
fn remove_remains(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let remains = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for path in remains.map(|entry| entry.path()) {
        // One without this file is being made.
        let Ok(lock) = File::open(path.join(LOCK_FILE)) else {
            continue;
        };
        if !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let store = parent.path().join("s.cellring");
        let living = Beside::create(&store).unwrap();
        let left = parent.path().join(".cellring-bench-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK_FILE), "").unwrap();
        fs::write(left.join("shard"), "some").unwrap();
        let next = Beside::create(&store).unwrap();
        assert!(!left.exists() && living.join(LOCK_FILE).exists());
        drop((living, next));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
