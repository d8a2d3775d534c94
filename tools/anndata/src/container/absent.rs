//! Chunks that arrays should have, and that are not in their files.

use std::fmt;
use std::path::PathBuf;

use super::SourceFile;

/// Chunks of an array that are read as its fill value, since they are not there: zarr leaves out those that hold nothing else, and others
/// were never written, or are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentChunks {
    /// The input.
    pub file: PathBuf,
    /// Path of the array in it.
    pub array: String,
    /// How many are not there. Of an array in a directory, files that are not there are looked for until 2^20 of them are found.
    pub n_absent: u64,
    /// How many there should be.
    pub n_chunks: u64,
}

impl AbsentChunks {
    /// Nothing if all chunks are there.
    pub(super) fn of(file: &SourceFile, array: &str, (n_absent, n_chunks): (u64, u64)) -> Option<Self> {
        (n_absent > 0).then(|| Self {
            file: file.path().to_owned(),
            array: array.to_owned(),
            n_absent,
            n_chunks,
        })
    }
}

impl fmt::Display for AbsentChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            array,
            n_absent,
            n_chunks,
        } = self;
        write!(
            f,
            "{}: {n_absent} of {n_chunks} chunks of {array} were never written or are lost, and are read as its fill value; if they should hold \
             anything else, write the file again",
            file.display()
        )
    }
}
