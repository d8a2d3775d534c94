//! How long a request a device takes.

use std::fs;

/// Bytes of the longest request that the kernel makes to a block device: longer reads are cut into several. `None` where
/// there is no such device (a network filesystem, tmpfs, btrfs) or the kernel does not tell.
pub(super) fn max_request_bytes(device: u64) -> Option<u64> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    // A partition has no queue of its own: that of its disk is beside it.
    ["queue", "../queue"].into_iter().find_map(|queue| {
        let file = format!("/sys/dev/block/{major}:{minor}/{queue}/max_sectors_kb");
        let kib: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Some(kib << 10)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_device_says_what_it_takes_or_there_is_none() {
        let here = fs::metadata(env!("CARGO_MANIFEST_DIR")).unwrap();
        if let Some(bytes) = max_request_bytes(here.dev()) {
            assert!(bytes >= 4096 && bytes % 1024 == 0, "{bytes}");
        }
        let proc = fs::metadata("/proc").unwrap();
        assert_eq!(max_request_bytes(proc.dev()), None);
    }
}
