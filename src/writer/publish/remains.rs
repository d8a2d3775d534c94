//! What killed processes left beside a store: gives it back, or removes it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names::{old_prefix, temporary_prefix};
use crate::format::constants::{MANIFEST_FILE, PART_FILE};
use crate::writer::lock::{self, LOCK_FILE, StoreLock};
use crate::writer::paths::{absolute, parent_of};
use crate::writer::sync::sync;
use crate::writer::{rename, stripe};

/// Finishes what a killed process began that was replacing a store in steps, on a filesystem that cannot exchange two names: if nothing
/// has the name `target`, the old store gets it back; if the new store has it, the old one is removed. Else nothing happens.
///
/// Writers do so themselves. It is for programs that read the store before they write to it.
pub fn recover(target: &Path) {
    let prefix = old_prefix(target);
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
                if let Ok(owner) = absolute(target) {
                    let _ = stripe::remove(&path, &owner);
                }
            }
            Err(_) => {}
        }
    }
}

/// Whether a directory holds a store or a part of one.
pub(super) fn is_ours(path: &Path) -> bool {
    [MANIFEST_FILE, PART_FILE]
        .iter()
        .any(|file| path.join(file).is_file())
}

/// Removes temporary directories for this target whose process is gone.
pub(super) fn remove_remains(target: &Path, absolute: &Path) {
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

/// What removes a temporary directory while other threads may still write into it.
pub(super) fn removal(path: &Path, owner: &Path) -> impl FnOnce() + Send + use<> {
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
