//! Why a store cannot be written.

use std::io;
use std::path::{Path, PathBuf};

use super::block::EncodeError;
use crate::format::FormatError;

/// Why a store cannot be written. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file could not be written.
    #[error("{}: {error}{}", file.display(), advice(error))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is something under the store's name.
    #[error("{}: exists already; allow it to be replaced, or give another name", path.display())]
    Exists {
        /// The store's path.
        path: PathBuf,
    },
    /// What is to be replaced is not a store.
    #[error("{}: exists and is not a cellring store, so it is not replaced; give another name", path.display())]
    NotReplaceable {
        /// The path.
        path: PathBuf,
    },
    /// What is to be replaced cannot be removed.
    #[error("{}: this store cannot be replaced: {reason}; give another name", path.display())]
    NotRemovable {
        /// The store's path.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// The new store is there, but the one that it replaced is not gone.
    #[error(
        "{}: the new store is complete, but {} of the store that it replaced remains ({error}); remove it by hand",
        path.display(),
        remains.display()
    )]
    Remains {
        /// The new store.
        path: PathBuf,
        /// What is left of the old one.
        remains: PathBuf,
        /// Why it was not removed.
        error: io::Error,
    },
    /// The directory in which the store is to be made does not exist or cannot be written.
    #[error("{}: {reason}", path.display())]
    Directory {
        /// The store's path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The path has no last part.
    #[error("{}: the path does not end in a name for the store", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A directory for shards cannot be used.
    #[error("{}: shards cannot be put there ({error}); name a directory that exists and can be written", path.display())]
    Stripe {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process writes to the store.
    #[error("{}: another process is appending to this store; wait until it is done", path.display())]
    Busy {
        /// The store's path.
        path: PathBuf,
    },
    /// A lock file names a process that writes to the store, or did.
    #[error(
        "{}: {owner}, appends to this store or replaces it; wait until it is done, or remove {} if that process is gone",
        path.display(),
        lock.display()
    )]
    Held {
        /// The store's path.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
        /// Who made it: process, host, and for how long.
        owner: String,
    },
    /// The filesystem cannot rename directories, so that nothing can be published on it.
    #[error(
        "{}: its filesystem cannot rename a directory ({error}), which is how a store gets its name; make the store on another one, and copy it",
        path.display()
    )]
    NoRename {
        /// The store's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A part of a store cannot be used.
    #[error("{}: {problem}", path.display())]
    Part {
        /// The part, or the store where it is about all of them.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The thread that writes is gone.
    #[error("the writing thread ended early, so the store is not complete; run the conversion again")]
    Sink,
    /// The format's rules do not allow what was asked for.
    #[error("{0}")]
    Option(String),
    /// A block is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A table or the manifest could not be made.
    #[error(transparent)]
    Format(#[from] FormatError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if error.raw_os_error() == Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        io::ErrorKind::FileTooLarge => "; raise the limit on the length of files (ulimit -f)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another place for the store"
        }
        _ => "",
    }
}

impl WriteError {
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_path_buf();
        move |error| {
            let error = cellring_core::explain(&file, error);
            Self::Io { file, error }
        }
    }
}
