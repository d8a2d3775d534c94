//! What a file's filesystem and the page cache say about reading it.
#![allow(
    unsafe_code,
    reason = "statx, fstatfs, cachestat and FIEMAP have no safe wrapper in the standard library"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::buffer::SLOT_ALIGN_BYTES;

/// Whether a file can be read past the page cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirectSupport {
    /// It can, if offsets, lengths and addresses are multiples of this power of two.
    Alignment(u32),
    /// It cannot, and why.
    None(String),
}

/// What is assumed where only an old kernel keeps a filesystem from telling: the sector of a 4Kn device,
/// which is right for smaller sectors too.
const ASSUMED_ALIGNMENT: u32 = 4096;

/// Asks the filesystem of `file` about direct I/O. Where it does not say, ext4 and xfs are known to do it
/// (kernels before 6.1 did not tell), btrfs and tmpfs are known to accept the flag and use the page cache all
/// the same, and of others nothing is known: they are taken at their word only with `insist`.
pub(super) fn support(file: &File, insist: bool) -> DirectSupport {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a NUL-terminated empty string, which AT_EMPTY_PATH allows, and `stat` is large
    // enough.
    let refused = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            stat.as_mut_ptr(),
        )
    } != 0;
    // SAFETY: it was zeroed, and zeros are a valid `statx`.
    let stat = unsafe { stat.assume_init() };
    let told = !refused && stat.stx_mask & libc::STATX_DIOALIGN != 0;
    let told = told.then(|| stat.stx_dio_offset_align.max(stat.stx_dio_mem_align));
    judge(told, filesystem(file), insist)
}

fn judge(told: Option<u32>, filesystem: Option<i64>, insist: bool) -> DirectSupport {
    match (told, filesystem) {
        (Some(0), _) => {
            DirectSupport::None("its filesystem says that it cannot bypass the page cache".to_owned())
        }
        (Some(bytes), _) if bytes.is_power_of_two() && bytes as usize <= SLOT_ALIGN_BYTES => {
            DirectSupport::Alignment(bytes)
        }
        (Some(bytes), _) => DirectSupport::None(format!(
            "its filesystem bypasses the page cache only in multiples of {bytes} bytes, and slots are aligned to {SLOT_ALIGN_BYTES}"
        )),
        (None, Some(libc::EXT4_SUPER_MAGIC | libc::XFS_SUPER_MAGIC)) => {
            DirectSupport::Alignment(ASSUMED_ALIGNMENT)
        }
        (None, Some(libc::BTRFS_SUPER_MAGIC)) => {
            DirectSupport::None("btrfs may use the page cache even with O_DIRECT".to_owned())
        }
        (None, Some(libc::TMPFS_MAGIC)) => DirectSupport::None("tmpfs is the page cache itself".to_owned()),
        (None, _) if insist => DirectSupport::Alignment(ASSUMED_ALIGNMENT),
        (None, _) => {
            DirectSupport::None("its filesystem does not say how to bypass the page cache (statx)".to_owned())
        }
    }
}

/// The magic number of the filesystem of a file.
fn filesystem(file: &File) -> Option<i64> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `stat` is large enough for the call.
    let refused = unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) } != 0;
    // SAFETY: it was zeroed, and zeros are a valid `statfs`.
    (!refused).then(|| unsafe { stat.assume_init() }.f_type)
}

/// Has the filesystem read the map of the file's extents now, all at once, instead of bit by bit in the
/// middle of the first epoch's random reads. Best effort.
pub(super) fn cache_extents(file: &File) {
    /// `struct fiemap` of linux/fiemap.h, without room for extents.
    #[repr(C)]
    struct Fiemap {
        start: u64,
        length: u64,
        flags: u32,
        mapped_extents: u32,
        extent_count: u32,
        reserved: u32,
    }
    const FLAG_CACHE: u32 = 4;
    const FS_IOC_FIEMAP: libc::Ioctl = libc::_IOWR::<Fiemap>(b'f' as u32, 11);
    let mut request = Fiemap {
        start: 0,
        length: u64::MAX,
        flags: FLAG_CACHE,
        mapped_extents: 0,
        extent_count: 0,
        reserved: 0,
    };
    // SAFETY: the request is as FIEMAP wants it, and room for no extents means that nothing is written after
    // it.
    unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut request) };
}

/// How many pages of a file are in the page cache, and how many pages it has.
///
/// # Errors
/// `Unsupported` on kernels before 6.5, which lack cachestat(2); `PermissionDenied` for files that the caller
/// neither owns nor may write to (from Linux 6.14 on).
pub(super) fn cached_pages(file: &File) -> io::Result<(u64, u64)> {
    /// The same number on every architecture that has had its own table unified.
    const SYS_CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Range {
        offset: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct CacheStat {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let range = Range { offset: 0, len: 0 };
    let mut stat = CacheStat::default();
    // SAFETY: both structs are laid out as cachestat(2) wants them and live through the call; a length of 0
    // means to the end of the file.
    let refused = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0,
        )
    } != 0;
    if refused {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sysconf reads no memory of ours.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    Ok((stat.cached, file.metadata()?.len().div_ceil(page_bytes)))
}

/// Which part of a file is in the page cache, 0 to 1; 0 for an empty file.
///
/// # Errors
/// If the file cannot be opened, the kernel is older than 6.5 (`Unsupported`), or does not tell the caller
/// (`PermissionDenied`).
pub fn cached_fraction(path: &Path) -> io::Result<f64> {
    let (cached, pages) = cached_pages(&File::open(path)?)?;
    Ok(if pages == 0 {
        0.0
    } else {
        cached as f64 / pages as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_is_judged_by_what_is_told_and_else_by_the_filesystem() {
        assert_eq!(judge(Some(512), None, false), DirectSupport::Alignment(512));
        assert_eq!(judge(Some(4096), None, false), DirectSupport::Alignment(4096));
        assert_eq!(
            judge(None, Some(libc::EXT4_SUPER_MAGIC), false),
            DirectSupport::Alignment(4096)
        );
        assert_eq!(judge(None, Some(0x6969), true), DirectSupport::Alignment(4096));
        let refused = [
            (Some(0), None, true),
            (Some(65536), None, true),
            (Some(1000), None, true),
            (None, Some(libc::BTRFS_SUPER_MAGIC), true),
            (None, Some(libc::TMPFS_MAGIC), true),
            (None, Some(0x6969), false),
            (None, None, false),
        ];
        for (told, filesystem, insist) in refused {
            assert!(
                matches!(judge(told, filesystem, insist), DirectSupport::None(_)),
                "{told:?} {filesystem:?}"
            );
        }
    }

    #[test]
    fn pages_just_written_are_cached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1; 100_000]).unwrap();
        match cached_fraction(&path) {
            Ok(fraction) => assert_eq!(fraction, 1.0),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::Unsupported),
        }
        std::fs::write(&path, []).unwrap();
        assert!(matches!(cached_fraction(&path), Ok(0.0) | Err(_)));
        assert_eq!(
            cached_fraction(&dir.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
