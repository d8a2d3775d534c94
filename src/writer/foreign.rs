//! Finds what does not belong to a store, before its directory is removed.

use std::fs;
use std::path::{Path, PathBuf};

use super::append::WORK_DIRECTORY;
use super::part::names::PART_INDEX_FILE;
use crate::format::constants::{MANIFEST_FILE, MATRICES_DIRECTORY, PART_FILE, VAR_FILE};
use crate::format::names::{shard_number, version_of};

/// What is in the directory of a store or a part and has no name that belongs there: it would be removed with it. Names that begin with
/// a dot are left to writers and filesystems.
pub(super) fn foreign_in(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_foreign = |entry: &fs::DirEntry| {
        let (name, is_directory) = (
            entry.file_name(),
            entry.file_type().is_ok_and(|kind| kind.is_dir()),
        );
        let Some(name) = name.to_str() else {
            return true;
        };
        let is_file = [MANIFEST_FILE, PART_FILE, PART_INDEX_FILE, VAR_FILE].contains(&name)
            || version_of(name, "index", "bin").is_some()
            || version_of(name, "obs", "arrow").is_some()
            || shard_number(name).is_some();
        match is_directory {
            // Of an append that runs, and is waited for, or that was killed.
            true => ![MATRICES_DIRECTORY, WORK_DIRECTORY].contains(&name),
            false => !is_file && !name.starts_with('.'),
        }
    };
    let matrices = directory.join(MATRICES_DIRECTORY);
    entries
        .filter(is_foreign)
        .map(|entry| entry.path())
        .next()
        .or_else(|| {
            let entries = fs::read_dir(matrices).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path())
                .find_map(|path| match path.is_dir() {
                    true => foreign_in(&path),
                    false => Some(path),
                })
        })
}
