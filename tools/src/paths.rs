//! The one rule for paths that a command is given, checked before any work is done.
//!
//! An input must be there; else the error says which part of its path is missing, and why. An output replaces nothing unless that
//! is asked for, has a directory that exists and can be written, and appears under its name when it is complete, and not before.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cellring::format::explain;
use cellring::writer::{check_directory, check_target};
use cellring_anndata::__internal::directory_of;

/// Why a path cannot be used. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A file cannot be reached, read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What stands in the way.
        error: io::Error,
    },
    /// There is something under the name of an output.
    #[error("{}: exists already; give --force to replace it, or another name", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// What is under the name of an output is never replaced.
    #[error("{}: {what}; give {remedy}", path.display())]
    NotReplaceable {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
        /// What to give instead.
        remedy: &'static str,
    },
    /// An output cannot be made there.
    #[error(transparent)]
    Output(#[from] cellring::Error),
}

impl PathError {
    /// For `map_err` where an operation on `path` failed.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |error| {
            let error = explain(&path, error);
            Self::Io { path, error }
        }
    }
}

/// Whether an input is there and can be opened.
///
/// # Errors
/// [`PathError::Io`] with the part of the path that is in the way.
pub fn check_input(path: &Path) -> Result<(), PathError> {
    let found = fs::metadata(path).map_err(PathError::io(path))?;
    match () {
        () if found.is_dir() => fs::read_dir(path).map(drop).map_err(PathError::io(path)),
        () if found.is_file() => fs::File::open(path).map(drop).map_err(PathError::io(path)),
        // Opening a pipe would wait for its other end.
        () => Ok(()),
    }
}

/// Whether a file may be written to `path`: nothing is there, or with `force` a file.
///
/// # Errors
/// [`PathError`] that says what is in the way.
pub fn check_file(path: &Path, force: bool) -> Result<(), PathError> {
    let refused = |what| PathError::NotReplaceable {
        path: path.to_path_buf(),
        what,
        remedy: "the name of a file",
    };
    if path.file_name().is_none() {
        return Err(refused("is a directory"));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Err(refused("is a directory")),
        // Of a link it is the link that is replaced.
        Ok(found) if !found.is_file() && !found.is_symlink() => {
            return Err(refused("is not a regular file, so it is not replaced"));
        }
        Ok(_) if !force => {
            return Err(PathError::Exists {
                path: path.to_path_buf(),
            });
        }
        _ => {}
    }
    Ok(check_directory(path)?)
}

/// Whether a store may be made at `path`: nothing is there, or with `force` a store that can be removed.
///
/// # Errors
/// [`PathError`] that says what is in the way.
pub fn check_store(path: &Path, force: bool) -> Result<(), PathError> {
    Ok(check_target(path, force)?)
}

/// Writes a file as a whole: under another name first, so that whoever is interrupted leaves the old file or the new one. What
/// has come to lie there meanwhile is replaced with `force` only.
///
/// # Errors
/// [`PathError`]; nothing is left behind then.
pub fn write_file(path: &Path, bytes: &[u8], force: bool) -> Result<(), PathError> {
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match force {
            true => file.persist(path).map(drop).map_err(io::Error::from),
            false => file.persist_noclobber(path).map(drop).map_err(io::Error::from),
        }
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PathError::Exists {
            path: path.to_path_buf(),
        },
        _ => PathError::io(path)(error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_replaced_by_force_only_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let said = |path: &Path, force| check_file(path, force).unwrap_err().to_string();
        fs::write(at("file"), "old").unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink("file", at("link")).unwrap();
        assert!(said(&at("file"), false).contains("exists already; give --force"));
        assert!(said(&at("link"), false).contains("exists already"));
        check_file(&at("file"), true).unwrap();
        check_file(&at("none"), false).unwrap();
        for force in [false, true] {
            assert!(said(&at("directory"), force).ends_with("is a directory; give the name of a file"));
            assert!(said(Path::new("/dev/null"), force).contains("is not a regular file"));
            assert!(said(Path::new(".."), force).contains("is a directory"));
            assert!(said(&at("none/file"), force).contains("does not exist; create it first"));
            assert!(said(&at("file/below"), force).contains("is a file, not a directory"));
        }
        assert!(
            write_file(&at("file"), b"new", false)
                .unwrap_err()
                .to_string()
                .contains("exists already")
        );
        assert_eq!(fs::read(at("file")).unwrap(), b"old");
        write_file(&at("file"), b"new", true).unwrap();
        write_file(&at("other"), b"new", false).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), fs::read(at("other")).unwrap());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            4,
            "nothing is left behind"
        );
    }
}
