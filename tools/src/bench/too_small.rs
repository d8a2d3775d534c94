//! Stores that are too small to measure.

use crate::output;

/// Fetches and cells that an epoch must have at least, or the start of the loader's threads and the first fetch, which nothing
/// overlaps with, make up much of what is measured.
const LEAST_FETCHES: u64 = 8;
const LEAST_OBS: u64 = 50_000;

/// What is said where epochs of so many cells are too short to tell how fast larger ones are.
pub(crate) fn too_small(n_obs: u64, fetch_obs: u64) -> Option<String> {
    let needed = fetch_obs.saturating_mul(LEAST_FETCHES).max(LEAST_OBS);
    (n_obs < needed).then(|| {
        format!(
            "{} cells are too few to measure with fetches of {}: an epoch ends before the loader reaches a steady rate, so the rates mostly reflect the start; use a store of {} cells or more",
            output::count(n_obs),
            output::count(fetch_obs),
            output::count(needed)
        )
    })
}
