//! What can be wrong with the files of a store.

use std::io;
use std::path::{Path, PathBuf};

/// A store that cannot be opened, or a part of it that is damaged. Every message is one sentence with the file first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A file could not be read.
    #[error("{}: {error}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory is not a store.
    #[error("{}: not a cellring store: {reason}", path.display())]
    NotAStore {
        /// The path that was opened.
        path: PathBuf,
        /// What is there instead, and what to do.
        reason: String,
    },
    /// The store was written by a later version of the format.
    #[error(
        "{}: the store has format version {found}, expected {expected}: it was made by a newer cellring; update cellring to read it",
        file.display()
    )]
    Version {
        /// The manifest.
        file: PathBuf,
        /// Version of the store.
        found: u64,
        /// Version this crate reads.
        expected: u32,
    },
    /// The index of a linked store has another version than the one this crate reads.
    #[error(
        "{}: the store was linked by another version of cellring (its index has version {found}, expected {expected}); link its files again, \
         with --force if it is to have the same name",
        file.display()
    )]
    LinkVersion {
        /// The index.
        file: PathBuf,
        /// Version of the index.
        found: u32,
        /// Version this crate reads.
        expected: u32,
    },
    /// The store needs features that this version does not know.
    #[error("{}: the store needs the unknown feature {feature:?}; update cellring to read it", file.display())]
    Feature {
        /// The manifest.
        file: PathBuf,
        /// Name of the feature.
        feature: String,
    },
    /// A file has another length than the manifest says.
    #[error(
        "{}: the file has {found} bytes, expected {expected}: it is cut off or not of this store; convert again or restore it",
        file.display()
    )]
    Length {
        /// The file.
        file: PathBuf,
        /// Length that the manifest says.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// Bytes are not those that were written.
    #[error(
        "{}: damaged in bytes {start}..{end}: the checksum is {found:08x}, expected {expected:08x}; convert again or restore the file",
        file.display()
    )]
    Checksum {
        /// The file.
        file: PathBuf,
        /// First byte covered.
        start: u64,
        /// Byte after the last covered.
        end: u64,
        /// Checksum in the store.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// A rule of the specification is broken although the checksums hold.
    #[error("{}: at byte {offset}: {rule}; convert again or restore the file", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// The broken rule, with expected and found.
        rule: String,
    },
    /// An obs is damaged.
    #[error("{}: obs {obs} in bytes {start}..{end} is damaged: {error}; convert again or restore the file", file.display())]
    Obs {
        /// The shard.
        file: PathBuf,
        /// Number of the obs.
        obs: u64,
        /// First byte of the obs in the shard.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// What is wrong.
        error: super::encoding::error::FrameError,
    },
    /// A table is not what the specification says, or Arrow cannot read it.
    #[error("{}: {reason}; convert again or restore the file", file.display())]
    Table {
        /// The table's file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A column was asked for that the table does not have.
    #[error("{}: no column {column:?}; the table has: {columns}", file.display())]
    NoColumn {
        /// The table's file.
        file: PathBuf,
        /// What was asked for.
        column: String,
        /// What there is.
        columns: String,
    },
    /// Another matrix was asked for that the store does not have.
    #[error("{}: no other matrix {name:?}; the store has: {available}; convert with it, or ask for another", store.display())]
    NoMatrix {
        /// The store.
        store: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
}

impl FormatError {
    /// For `map_err` where an operation on `file` failed.
    pub(crate) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_path_buf();
        move |error| {
            let error = cellring_core::explain(&file, error);
            Self::Io { file, error }
        }
    }

    pub(crate) fn invalid(file: &Path, offset: u64, rule: impl Into<String>) -> Self {
        Self::Invalid {
            file: file.to_path_buf(),
            offset,
            rule: rule.into(),
        }
    }

    pub(crate) fn table(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Table {
            file: file.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}
