//! What can be wrong with the files that a linked store leads to.

use std::io;
use std::path::{Path, PathBuf};

/// Files that a process has open besides those of a store, with room.
const OTHER_FILES: usize = 256;

/// A file that a linked store refers to is not what it was, or cannot be read. Every message is one sentence with that file first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkedError {
    /// The file could not be opened or read.
    #[error("{}: {error}{}", file.display(), put_back(error, store))]
    Io {
        /// The file.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The process may not have as many files open as the store leads to.
    #[error(
        "{}: the store leads to {n_files} files, all of which are open while it is read, and this process may have {limit} open; allow it {} \
         (ulimit -n), so that a loader can open each once more, or convert the file",
        store.display(),
        2 * n_files + OTHER_FILES
    )]
    TooManyFiles {
        /// The store.
        store: PathBuf,
        /// The files that it leads to.
        n_files: usize,
        /// How many the process may have open.
        limit: u64,
    },
    /// The file is not what was linked.
    #[error("{}: the file has changed since it was linked ({what}); link it again as {}", file.display(), store.display())]
    Changed {
        /// The file.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// The difference.
        what: String,
    },
    /// A row has another checksum than when it was linked.
    #[error(
        "{}: obs {obs} of {}, which is in this input, does not have the checksum that it had when it was linked: the input is damaged, or was changed in \
         place; restore it, or link it again if the change was meant",
        file.display(),
        store.display()
    )]
    Row {
        /// A file of its input.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// The obs.
        obs: u64,
    },
    /// The file would lie outside of where it may.
    #[error(
        "{}: the store {} refers to it, and it is not below {}; name a directory that both are below, if you trust the store",
        file.display(),
        store.display(),
        root.display()
    )]
    Outside {
        /// The file.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// Below which files may lie.
        root: PathBuf,
    },
    /// A chunk is damaged.
    #[error(
        "{}: chunk {chunk} of {array}, at byte {offset_bytes}, is damaged: {detail}; restore the file",
        file.display()
    )]
    Chunk {
        /// The file.
        file: PathBuf,
        /// The dataset.
        array: String,
        /// Number of the chunk.
        chunk: u64,
        /// Where it is.
        offset_bytes: u64,
        /// What is wrong.
        detail: String,
    },
    /// A column is not one of the matrix.
    #[error(
        "{}: element {position} of {array} is {found}, expected a column from 0 to {}; the file is damaged, or not of this matrix",
        file.display(),
        n_vars.saturating_sub(1)
    )]
    Column {
        /// The file.
        file: PathBuf,
        /// The dataset.
        array: String,
        /// Which element.
        position: u64,
        /// What it is.
        found: i128,
        /// Number of columns.
        n_vars: u64,
    },
    /// Values of the same obs and column do not add up within their type.
    #[error(
        "{}: obs {obs} of {} has several values in column {column}, whose sum is beyond {value_type}; correct them in the file, and link it again",
        file.display(),
        store.display()
    )]
    Overflow {
        /// A file of its input.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// The obs.
        obs: u64,
        /// The column.
        column: u32,
        /// Type of the values.
        value_type: &'static str,
    },
    /// The type of the store does not hold a value of an input that has another one.
    #[error(
        "{}: obs {obs} of {} has the value {value}, which is not a {value_type}, the type the inputs were joined in; link this file by itself",
        file.display(),
        store.display()
    )]
    Inexact {
        /// A file of its input.
        file: PathBuf,
        /// The store.
        store: PathBuf,
        /// The obs.
        obs: u64,
        /// The value.
        value: String,
        /// Type of the values.
        value_type: &'static str,
    },
    /// What is asked for needs the blocks of a store.
    #[error(
        "{}: the store is linked, and {what} needs one that holds its values; make one with `cellring convert`",
        store.display()
    )]
    NoBlocks {
        /// The store.
        store: PathBuf,
        /// What was asked for.
        what: &'static str,
    },
    /// A chunk needs more memory than there is.
    #[error(
        "{}: what is read and decoded at once takes too much of the memory budget of {budget_bytes} bytes (chunks of {chunk_bytes}, {threads} threads); \
         raise it to {needed_bytes}, or convert the file",
        store.display()
    )]
    Budget {
        /// The store.
        store: PathBuf,
        /// Bytes of a decoded chunk.
        chunk_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
        /// Decoding threads.
        threads: usize,
        /// The budget.
        budget_bytes: u64,
    },
}

/// What to do about a file that cannot be read: nothing is wrong with it if the process has too many open.
fn put_back(error: &io::Error, store: &Path) -> String {
    let remedy = match error.kind() {
        _ if cellring_core::is_out_of_files(error) => return String::new(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ": put it back, or link it again",
        io::ErrorKind::PermissionDenied => ": allow this user to read it",
        // It says so itself.
        _ => "",
    };
    format!("; the store {} refers to it{remedy}", store.display())
}

impl LinkedError {
    /// The file or store that it is about.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Io { file, .. }
            | Self::Changed { file, .. }
            | Self::Row { file, .. }
            | Self::Outside { file, .. }
            | Self::Chunk { file, .. }
            | Self::Column { file, .. } => file,
            Self::TooManyFiles { store, .. }
            | Self::Overflow { store, .. }
            | Self::Inexact { store, .. }
            | Self::NoBlocks { store, .. }
            | Self::Budget { store, .. } => store,
        }
    }
}
