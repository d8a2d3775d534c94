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

mod merged;
mod names;
mod remains;
mod staging;
mod target;

pub(super) use merged::{remove_merged, remove_rest_of_merged};
pub use remains::recover;
pub(super) use staging::Staging;
pub use target::{check_directory, check_target};
