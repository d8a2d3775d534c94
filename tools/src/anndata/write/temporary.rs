//! The file that grows under a temporary name, and what killed processes left of such.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cellring::writer::unfinished;

/// The directory that holds a file.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// How the name of a file that is not yet complete ends.
const PARTIAL: &str = ".partial";

/// A file beside `path` that is removed on drop, with the permissions that any new file gets. It is locked while it is open, so that
/// what a killed process left can be told from it, and is removed here.
pub(super) fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    remove_remains(directory(path), &prefix);
    loop {
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(PARTIAL)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory(path))?;
        match file.as_file().try_lock() {
            // Another process may have taken it for remains before it was locked.
            Ok(()) if file.as_file().metadata()?.nlink() == 0 => {}
            Err(TryLockError::WouldBlock) => {}
            // Without locks nothing is ever taken for remains.
            Ok(()) | Err(TryLockError::Error(_)) => {
                let path = file.path().to_path_buf();
                unfinished::until_end(move || drop(fs::remove_file(&path)));
                return Ok(file);
            }
        }
    }
}

/// Removes files that killed processes left, which nobody has locked.
fn remove_remains(directory: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let middle = name
            .as_bytes()
            .strip_prefix(prefix.as_bytes())
            .and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
        if middle.is_some_and(|middle| middle.iter().all(u8::is_ascii_alphanumeric))
            // NFS turns the lock into one that needs a file open for writing.
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.h5ad");
        let living = temporary(&path).unwrap();
        let left = dir.path().join(".x.h5ad.AbC123.partial");
        let others = [".x.h5ad.a.b.partial", ".y.h5ad.AbC123.partial", "x.h5ad.partial"];
        for name in others.map(|name| dir.path().join(name)).iter().chain([&left]) {
            fs::write(name, b"half").unwrap();
        }
        let second = temporary(&path).unwrap();
        assert!(living.path().exists() && second.path().exists() && !left.exists());
        assert!(others.iter().all(|name| dir.path().join(name).exists()));
    }
}
