//! Files that say where in an epoch a run stopped.

use std::path::Path;

use crate::paths::{PathError, check_file, write_file};
use cellring::plan::SamplerState;

use crate::failure::Failure;

/// Far more than any state takes.
const MAX_BYTES: u64 = 1 << 24;

/// Reads what [`save`] wrote.
pub(super) fn load(path: &Path) -> Result<SamplerState, Failure> {
    let found = std::fs::metadata(path).map_err(PathError::io(path))?;
    let not_a_state = |why: &str| {
        let path = path.display();
        Failure::because(format!(
            "{path}: not a state that --save-state wrote ({why}); start the epoch again"
        ))
    };
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(not_a_state(
            "it is not a regular file, or is larger than any state",
        ));
    }
    let bytes = std::fs::read(path).map_err(PathError::io(path))?;
    serde_json::from_slice(&bytes).map_err(|error| not_a_state(&error.to_string()))
}

/// Whether a state may be saved there: nothing is there, or an older state, which a later one takes the place of.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    check_file(path, true)?;
    let is_there = path.symlink_metadata().is_ok();
    if is_there && load(path).is_err() {
        return Err(PathError::NotReplaceable {
            path: path.to_path_buf(),
            what: "exists and is not a state that --save-state wrote, so it is not replaced",
            remedy: "another name",
        }
        .into());
    }
    Ok(())
}

/// Whoever is killed meanwhile leaves the old state or the new one.
pub(super) fn save(path: &Path, state: &SamplerState) -> Result<(), Failure> {
    Ok(write_file(path, &serde_json::to_vec(state)?, true)?)
}
