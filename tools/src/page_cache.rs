//! Putting files out of the page cache, so that a measurement reads them from the device.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Asks the kernel to drop what it holds of a file. Bytes that are not yet on the device are written there first,
/// because the kernel keeps those.
///
/// It is a request: pages that another process has mapped stay, and so does everything where the file is in memory
/// (tmpfs). [`cellring::engine::cached_fraction`] tells what is left.
///
/// # Errors
/// If the file cannot be opened, or the kernel refuses.
pub fn evict(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_data()?;
    // No length means to the end of the file.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_stays_and_a_missing_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 10_000]).unwrap();
        evict(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [7; 10_000]);
        let error = evict(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
