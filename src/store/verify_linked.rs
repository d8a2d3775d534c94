//! Compares a linked store with everything that the specification says of it, and reads all that it leads to.

use super::Store;
use super::padding::check_zero;
use crate::Error;
use crate::format::FormatError;
use crate::format::constants::MANIFEST_FILE;
use crate::format::linked::GROUP_OBS;
use crate::linked::Link;

/// Values that are read at a time, where they are not in longer chunks.
const READ_VALUES: u64 = 1 << 20;

/// Verifies the index, and reads every row. Gives the number of values that are stored.
pub(super) fn verify_linked(
    store: &Store,
    link: &Link,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, Error> {
    let manifest = store.manifest();
    let bytes = link.bytes()?;
    // Its checksums were compared when it was opened.
    for (from, to) in link.layout().gaps() {
        check_zero(link.file(), &bytes[from as usize..to as usize], from)?;
    }
    link.check_runs()?;
    let invalid = |rule: String| FormatError::invalid(&store.path().join(MANIFEST_FILE), 0, rule);
    // Ranges of obs with about as many values as a chunk, so that few chunks are decoded twice.
    let many = store.chunk_values().unwrap_or(0).max(READ_VALUES);
    let (mut next, mut max_obs_nnz) = (0u64, 0);
    let (mut unread, mut unread_values) = (0, 0);
    for group in 0..store.n_blocks() {
        let obs = group * GROUP_OBS..((group + 1) * GROUP_OBS).min(store.n_obs());
        for obs in obs.clone() {
            let values = link.values(obs)?;
            let first = link.input(values.input).first_value + values.first;
            if first != next {
                let rule = format!("obs {obs} begins at value {first}, expected {next}");
                return Err(FormatError::invalid(link.file(), 0, rule).into());
            }
            next += u64::from(values.nnz);
            max_obs_nnz = max_obs_nnz.max(values.nnz);
            unread_values += u64::from(values.nnz);
        }
        if unread_values >= many || obs.end == store.n_obs() {
            link.rows(unread..obs.end)?;
            (unread, unread_values) = (obs.end, 0);
        }
        progress(group + 1);
    }
    let (says, is) = ((manifest.nnz, manifest.max_obs_nnz), (next, max_obs_nnz));
    match says == is {
        true => Ok(next),
        false => {
            let rule = format!("the manifest says (nnz, max_obs_nnz) = {says:?}, the index has {is:?}");
            Err(invalid(rule).into())
        }
    }
}
