//! Opens inputs. A store that is given as one is named for what it is: the reader of AnnData does not know stores.

use std::path::{Path, PathBuf};

use cellring::format::constants::{INDEX_FILE, MANIFEST_FILE, PART_FILE};
use cellring::store::LinkTargets;
use cellring_anndata::{Input, JoinOptions, OpenOptions, ReadError};

/// Opens one input.
///
/// # Errors
/// As [`Input::open_with`].
pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Input, ReadError> {
    Input::open_with(path, options).map_err(name_store)
}

/// Opens several inputs as one.
///
/// # Errors
/// As [`Input::join`].
pub(super) fn join(paths: &[PathBuf], open: &OpenOptions, options: &JoinOptions) -> Result<Input, ReadError> {
    Input::join(paths, open, options).map_err(name_store)
}

/// If a directory that cannot be read is a store, or a part of one: says so.
fn name_store(error: ReadError) -> ReadError {
    let (ReadError::Foreign { file, .. } | ReadError::Choice { file, .. } | ReadError::Io { file, .. }) =
        &error
    else {
        return error;
    };
    let has = |name: &str| file.join(name).exists();
    let (form, remedy) = match () {
        () if LinkTargets::read(file).is_ok_and(|found| found.is_some()) => (
            "a linked cellring store",
            "give the file that it refers to, which cellring info shows; cellring convert takes a linked store as its only input",
        ),
        () if has(MANIFEST_FILE) && has(INDEX_FILE) => (
            "a cellring store already",
            "train on it with cellring epoch or the library, or convert it back to AnnData with cellring export",
        ),
        () if has(PART_FILE) => (
            "a part of a cellring store",
            "cellring merge makes the store of all parts",
        ),
        () => return error,
    };
    ReadError::Foreign {
        file: file.clone(),
        form: form.to_owned(),
        remedy: remedy.to_owned(),
    }
}
