//! Names of parts, and of the files in them.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::writer::error::WriteError;
use crate::writer::paths::parent_of;

/// Name of the index of a part.
pub(in crate::writer) const PART_INDEX_FILE: &str = "index.part";

/// Where part `number` of `of` of a store is by default.
pub fn part_path(store: &Path, number: u32, of: u32) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".part-{number:04}-of-{of:04}"));
    store.with_file_name(name)
}

/// Whether a path is what [`part_path`] calls a part of this store.
pub(in crate::writer) fn is_part_of(path: &Path, store: &Path) -> bool {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let prefix = format!("{}.part-", name(store));
    let (name, is_number) = (name(path), |text: &str| {
        text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let numbers = name
        .strip_prefix(&prefix)
        .and_then(|rest| rest.split_once("-of-"));
    numbers.is_some_and(|(number, of)| is_number(number) && is_number(of))
}

/// The parts of a store that lie where [`part_path`] says, in order.
///
/// # Errors
/// If the directory cannot be read.
pub fn parts_of(store: &Path) -> Result<Vec<PathBuf>, Error> {
    let parent = parent_of(store);
    let entries = std::fs::read_dir(parent).map_err(WriteError::io(parent))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = parent.join(entry.map_err(WriteError::io(parent))?.file_name());
        if is_part_of(&path, store) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
