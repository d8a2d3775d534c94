//! A part that is to be merged.

use std::path::PathBuf;

use crate::writer::error::WriteError;
use crate::writer::part::PartManifest;

/// A part and where it is.
pub(super) struct FoundPart {
    pub(super) path: PathBuf,
    pub(super) manifest: PartManifest,
}

pub(super) fn too_many(part: &FoundPart) -> WriteError {
    WriteError::Part {
        path: part.path.clone(),
        problem: "with it there are more values or shards than a store can hold; convert with larger shards"
            .into(),
    }
}
