//! Runs begin with the files out of the page cache.

use std::path::PathBuf;

use cellring::engine::cached_fraction;

use crate::failure::Failure;
use crate::page_cache::evict;

/// Drops the files from the page cache as far as the kernel does it, and returns which part of them is still there: the
/// largest, and `None` where the kernel does not tell.
pub(super) fn drop_page_cache(paths: &[PathBuf]) -> Result<Option<f64>, Failure> {
    let mut largest = Some(0.0_f64);
    for path in paths {
        evict(path).map_err(|error| {
            Failure::because(format!(
                "{}: cannot be dropped from the page cache: {error}",
                path.display()
            ))
        })?;
        let fraction = cached_fraction(path).ok();
        largest = largest.zip(fraction).map(|(a, b)| a.max(b));
    }
    Ok(largest)
}
