//! Locks against other processes, on this and on other hosts.
//!
//! flock(2) is the best of locks: it ends with its process. But Lustre and some FUSE filesystems refuse it, NFS refuses it on
//! directories, and elsewhere (BeeGFS, `local_lock`, `localflock`) it holds on one host only. So each lock is also a file that says who
//! holds it. A lock file whose process is gone is taken over, where that can be told: on the same machine.

mod file;
mod owner;
mod store_lock;
#[cfg(test)]
mod tests;

pub(super) use file::{LOCK_FILE, claim, is_abandoned};

/// Whether the process is gone that had a temporary directory of a store under way.
pub fn is_abandoned_directory(directory: &std::path::Path) -> bool {
    is_abandoned(&directory.join(LOCK_FILE))
}
pub(super) use store_lock::StoreLock;
