//! Renaming a directory to its final name, also on filesystems that know no flags for it.
//!
//! NFS, Lustre, many FUSE filesystems and old kernels refuse `RENAME_NOREPLACE` and `RENAME_EXCHANGE`. Without the first, a plain
//! rename is as good: it refuses a directory that is not empty. Without the second, a store cannot be replaced in one step; the
//! steps that take its place, and what a crash between them leaves, are described in [`publish`](super::publish).
#![allow(unsafe_code, reason = "renameat2 has no safe interface in libc")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the filesystem of a directory can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    /// Two directories can exchange their names.
    Exchange,
    /// A directory can get another name.
    Move,
}

impl Ability {
    /// Finds out with directories made for it in `directory`, which are gone afterwards.
    ///
    /// # Errors
    /// What the system says where not even a plain rename of a directory that holds something is possible.
    pub(super) fn probe(directory: &Path) -> io::Result<Self> {
        let (one, two) = (directory.join(".probe-1"), directory.join(".probe-2"));
        let probe = || {
            fs::create_dir(&one)?;
            fs::write(one.join("file"), b"")?;
            move_to(&one, &two)?;
            fs::create_dir(&one)?;
            Ok(match exchange(&one, &two) {
                Ok(()) => Self::Exchange,
                Err(_) => Self::Move,
            })
        };
        let found = probe();
        for path in [&one, &two] {
            let _ = fs::remove_dir_all(path);
        }
        found
    }
}

/// Renames where nothing has the new name; else the error is `AlreadyExists`.
pub(super) fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match rename(from, to, libc::RENAME_NOREPLACE) {
        Err(error) if is_unknown(&error) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            // What comes to lie there in between is not replaced either, unless it is an empty directory.
            Err(_) => fs::rename(from, to).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                    io::ErrorKind::AlreadyExists.into()
                }
                _ => error,
            }),
        },
        renamed => renamed,
    }
}

/// Has two directories exchange their names: both exist at every moment.
pub(super) fn exchange(one: &Path, two: &Path) -> io::Result<()> {
    rename(one, two, libc::RENAME_EXCHANGE)
}

/// Whether the filesystem, the kernel or a sandbox does not know the call or its flags.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM)
    )
}

fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are NUL-terminated strings that live until the call returns.
    let result =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        Ability::probe(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Ability::probe(&dir.path().join("none")).is_err());
    }

    #[test]
    fn nothing_is_replaced_by_a_move() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(&to, b"x").unwrap();
        assert_eq!(
            move_to(&from, &to).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(from.is_dir() && to.is_file());
    }
}
