//! Files that options name: numbers of cells, names.

use std::path::Path;

use crate::failure::Failure;
use crate::list;
use crate::paths::PathError;

/// Numbers of cells, one in a line; empty lines and those that begin with # count for nothing.
pub(super) fn read_ids(path: &Path) -> Result<Vec<u64>, Failure> {
    let text = list::read(path, list::MAX_NUMBERS_BYTES).map_err(PathError::io(path))?;
    let ids = list::lines(&text).map(|(number, line)| {
        line.parse().map_err(|_| {
            Failure::because(format!(
                "{}: line {number} is {line:?}, expected the number of a cell, from 0",
                path.display()
            ))
        })
    });
    ids.collect()
}

/// The lines of a file of names.
pub(super) fn read_names(path: &Path) -> Result<Vec<String>, Failure> {
    let text = list::read(path, list::MAX_NAMES_BYTES).map_err(PathError::io(path))?;
    Ok(list::lines(&text).map(|(_, line)| line.to_owned()).collect())
}
