//! Removes the parts of a store that is complete.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::remains::{removal, remove_remains};
use crate::Error;
use crate::writer::error::WriteError;
use crate::writer::paths::{absolute, parent_of};
use crate::writer::stripe;
use cellring_core::unfinished;

/// In the name of a part that is being removed: what follows the part's own name.
const MERGED: &str = ".merged-";

/// Removes a part whose store is complete, in a way that leaves nothing half-removed under its name. What is left where the process
/// is killed has a name that says so.
pub(in crate::writer) fn remove_merged(target: &Path) -> Result<(), Error> {
    let owner = absolute(target).map_err(WriteError::io(target))?;
    remove_remains(target, &owner);
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!("{MERGED}{}", std::process::id()));
    let temporary = parent_of(target).join(name);
    let _unfinished = unfinished::register(removal(&temporary, &owner));
    match fs::rename(target, &temporary) {
        Ok(()) => {
            let _ = stripe::remove(&temporary, &owner);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(WriteError::io(target)(error).into()),
    }
    Ok(())
}

/// Removes what killed processes left of those parts in a directory that `is_part` tells, and gives their names.
pub(in crate::writer) fn remove_rest_of_merged(
    directory: &Path,
    is_part: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let part = name
            .strip_prefix('.')
            .and_then(|name| name.rsplit_once(MERGED))
            .map(|(part, _)| directory.join(part))
            .filter(|part| is_part(part));
        if let Some(part) = part
            && let Ok(owner) = absolute(&part)
        {
            let _ = stripe::remove(&entry.path(), &owner);
            parts.push(part);
        }
    }
    parts
}
