//! Paths of stores.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory that holds `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The path of a store, from the root, so that it is the same from every working directory.
pub(super) fn absolute(target: &Path) -> io::Result<PathBuf> {
    Ok(fs::canonicalize(parent_of(target))?.join(target.file_name().unwrap_or_default()))
}
