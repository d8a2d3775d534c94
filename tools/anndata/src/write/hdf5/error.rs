//! Why a file could not be completed.

use std::io;

use crate::write::error::WriteErrorKind;

/// Why the file could not be completed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hdf5Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{what} needs {bytes} bytes in an object header, which holds at most 65535")]
    MessageTooLarge { what: String, bytes: usize },
}

impl From<Hdf5Error> for WriteErrorKind {
    fn from(error: Hdf5Error) -> Self {
        match error {
            Hdf5Error::Io(error) => Self::Io(error),
            Hdf5Error::MessageTooLarge { what, bytes } => Self::TooLong { what, bytes },
        }
    }
}
