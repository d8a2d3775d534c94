//! The file or directory that grows under a temporary name, and what killed processes left of such.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cellring_core::unfinished;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempDir};

/// How the name of a file that is not yet complete ends.
const PARTIAL: &str = ".partial";

/// A file beside `path` that is removed on drop, with the permissions that any new file gets. It is locked while it is open, so that
/// what a killed process left can be told from it, and is removed here.
pub(super) fn temporary_file(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix_of(path)?;
    loop {
        let making = unfinished::begin()?;
        let file = named(&prefix, 0o666).tempfile_in(directory_of(path))?;
        if is_ours(file.as_file())? {
            let path = file.path().to_path_buf();
            making.until_end(move || drop(fs::remove_file(&path)));
            return Ok(file);
        }
    }
}

/// As [`temporary_file`], a directory.
pub(super) fn temporary_directory(path: &Path) -> io::Result<TemporaryDirectory> {
    let prefix = prefix_of(path)?;
    loop {
        let making = unfinished::begin()?;
        let directory = named(&prefix, 0o777).tempdir_in(directory_of(path))?;
        let lock = File::open(directory.path())?;
        if is_ours(&lock)? {
            let path = directory.path().to_path_buf();
            making.until_end(move || drop(fs::remove_dir_all(&path)));
            return Ok(TemporaryDirectory {
                directory,
                _lock: lock,
            });
        }
    }
}

/// A directory that is removed on drop.
pub(super) struct TemporaryDirectory {
    directory: TempDir,
    _lock: File,
}

impl TemporaryDirectory {
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the directory its name. What had that is removed, if `may_replace` says so.
    ///
    /// # Errors
    /// If something of that name is not to be replaced or the operating system refuses; then nothing has changed.
    pub(super) fn publish(self, path: &Path, may_replace: impl Fn(&Path) -> bool) -> io::Result<()> {
        let own = self.directory.path();
        // Else a signal could leave a part of it, which it was about to remove, under the name.
        let _making = unfinished::begin()?;
        match renameat_with(CWD, own, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => {
                let _ = self.directory.keep();
                return Ok(());
            }
            Err(Errno::EXIST) if may_replace(path) => {}
            Err(Errno::EXIST) => {
                return Err(not_replaceable());
            }
            // Some file systems rename only the plain way, which replaces nothing but an empty directory.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::rename(own, path)?;
                let _ = self.directory.keep();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        // What was there takes the temporary name, and is removed with it.
        Ok(renameat_with(CWD, own, CWD, path, RenameFlags::EXCHANGE)?)
    }
}

/// The error where something else has the name of a zarr directory.
pub(super) fn not_replaceable() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it exists and is not a zarr directory, so it is not replaced; remove it or give another name",
    )
}

fn prefix_of(path: &Path) -> io::Result<OsString> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    remove_remains(directory_of(path), &prefix);
    Ok(prefix)
}

fn named(prefix: &OsStr, mode: u32) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(prefix)
        .suffix(PARTIAL)
        .permissions(Permissions::from_mode(mode));
    builder
}

/// Locks what was just made, unless another process has taken it for remains before.
fn is_ours(made: &File) -> io::Result<bool> {
    match made.try_lock() {
        Ok(()) => Ok(made.metadata()?.nlink() > 0),
        Err(TryLockError::WouldBlock) => Ok(false),
        // Without locks nothing is ever taken for remains.
        Err(TryLockError::Error(_)) => Ok(true),
    }
}

/// Removes files and directories that killed processes left, which no process has locked.
fn remove_remains(directory: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let middle = name
            .as_bytes()
            .strip_prefix(prefix.as_bytes())
            .and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
        if middle.is_some_and(|middle| middle.iter().all(u8::is_ascii_alphanumeric))
            && let Ok(kind) = entry.file_type()
            // NFS turns the lock into one that needs a file open for writing, which a directory cannot be.
            && let Ok(file) = File::options().read(kind.is_dir()).write(!kind.is_dir()).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = match kind.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// The directory of a path.
pub fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.h5ad");
        let living = temporary_file(&path).unwrap();
        let left = dir.path().join(".x.h5ad.AbC123.partial");
        let others = [".x.h5ad.a.b.partial", ".y.h5ad.AbC123.partial", "x.h5ad.partial"];
        for name in others.map(|name| dir.path().join(name)).iter().chain([&left]) {
            fs::write(name, b"half").unwrap();
        }
        let left_directory = dir.path().join(".x.h5ad.XyZ789.partial");
        fs::create_dir(&left_directory).unwrap();
        fs::write(left_directory.join("0"), b"half").unwrap();
        let living_directory = temporary_directory(&path).unwrap();
        let second = temporary_file(&path).unwrap();
        assert!(living_directory.path().exists() && !left_directory.exists());
        assert!(living.path().exists() && second.path().exists() && !left.exists());
        assert!(others.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn a_directory_replaces_only_what_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zarr");
        let make = |content: &str| {
            let made = temporary_directory(&path).unwrap();
            fs::write(made.path().join("f"), content).unwrap();
            made
        };
        let content = || fs::read_to_string(path.join("f")).unwrap();
        make("first").publish(&path, |_| false).unwrap();
        let error = make("second").publish(&path, |_| false).unwrap_err();
        assert_eq!(
            (error.kind(), content().as_str()),
            (io::ErrorKind::AlreadyExists, "first")
        );
        make("third").publish(&path, |_| true).unwrap();
        assert_eq!(content(), "third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
