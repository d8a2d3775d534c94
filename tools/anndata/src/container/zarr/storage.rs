//! The files of a zarr hierarchy, in a directory or in a zip file.
//!
//! Only regular files are read, without waiting for any other, and none that is longer than the caller expects.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pieces::Pieces;
use super::zip::Zip;
use crate::container::regular::open_regular;
use crate::container::{Fault, Watched};

/// Where the files of a hierarchy lie. Keys are their paths in it, of plain names between slashes.
pub(super) enum Storage {
    Directory(PathBuf),
    /// The file, and what is in it.
    Zip(PathBuf, Zip),
}

/// Where a file of a hierarchy is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The file itself, or the zip file that it is stored in.
    pub(super) path: PathBuf,
    /// Where it begins there.
    pub(super) offset_bytes: u64,
    /// Its length.
    pub(super) n_bytes: u64,
}

impl Located {
    /// Opens it, to be read in pieces. Of a zip file no checksum is looked at.
    pub(super) fn open(&self) -> Result<Pieces, Fault> {
        let file = open_regular(&self.path)
            .map_err(|error| Fault::Damaged(format!("{}: {error}", self.path.display())))?;
        Ok(Pieces::of_file(Arc::new(file), self.offset_bytes, self.n_bytes))
    }
}

impl Storage {
    /// Opens a directory, or a zip file.
    pub(super) fn open(path: &Path, is_zip: bool) -> io::Result<Result<Self, Fault>> {
        match is_zip {
            false => Ok(Ok(Self::Directory(path.to_owned()))),
            true => {
                let zip = Zip::open(open_regular(path)?)?;
                Ok(zip.map(|zip| Self::Zip(path.to_owned(), zip)))
            }
        }
    }

    /// A file whole, which must have at most `most_bytes`; `None` where there is none.
    pub(super) fn read(&self, key: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, Fault> {
        check_key(key)?;
        match self {
            Self::Zip(_, zip) => zip.read(key, most_bytes),
            Self::Directory(root) => {
                let failed = |error: io::Error| Fault::Damaged(format!("{key}: {error}"));
                let Some(file) = open_existing(&root.join(key)).map_err(failed)? else {
                    return Ok(None);
                };
                let n_bytes = file.metadata().map_err(failed)?.len();
                let too_long = |n_bytes| {
                    let detail = format!("{key} has {n_bytes} bytes, expected at most {most_bytes}");
                    Err(detail.into())
                };
                if n_bytes > most_bytes {
                    return too_long(n_bytes);
                }
                let mut bytes = Vec::with_capacity(n_bytes as usize);
                // It may grow while it is read.
                let mut file = file.take(most_bytes.saturating_add(1));
                file.read_to_end(&mut bytes).map_err(failed)?;
                match bytes.len() as u64 > most_bytes {
                    true => too_long(bytes.len() as u64),
                    false => Ok(Some(bytes)),
                }
            }
        }
    }

    /// A file that is read in pieces, of which at most `most_held_bytes` have to be in memory; `None` where there is none.
    pub(super) fn pieces(&self, key: &str, most_held_bytes: u64) -> Result<Option<Pieces>, Fault> {
        check_key(key)?;
        match self {
            Self::Zip(_, zip) => zip.pieces(key, most_held_bytes),
            Self::Directory(root) => {
                let failed = |error: io::Error| Fault::Damaged(format!("{key}: {error}"));
                let Some(file) = open_existing(&root.join(key)).map_err(failed)? else {
                    return Ok(None);
                };
                let n_bytes = file.metadata().map_err(failed)?.len();
                Ok(Some(Pieces::of_file(Arc::new(file), 0, n_bytes)))
            }
        }
    }

    /// Where a file is on disk, byte for byte; `None` where there is none.
    pub(super) fn locate(&self, key: &str) -> Result<Option<Located>, Fault> {
        check_key(key)?;
        match self {
            Self::Directory(root) => {
                let failed = |error: io::Error| Fault::Damaged(format!("{key}: {error}"));
                let path = root.join(key);
                let metadata = match path.metadata() {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    other => other.map_err(failed)?,
                };
                if !metadata.is_file() {
                    return Err(format!("{key}: not a regular file").into());
                }
                Ok(Some(Located {
                    path,
                    offset_bytes: 0,
                    n_bytes: metadata.len(),
                }))
            }
            Self::Zip(path, zip) => match zip.place(key) {
                None => Ok(None),
                Some(None) => Err(Fault::Unsupported {
                    detail: format!("{key} is deflated within the zip file"),
                    remedy: "unpack it with unzip".to_owned(),
                }),
                Some(Some((offset_bytes, n_bytes))) => Ok(Some(Located {
                    path: path.clone(),
                    offset_bytes,
                    n_bytes,
                })),
            },
        }
    }

    /// Whether a file may be added to the hierarchy while those that are there stay as they are.
    pub(super) fn may_grow(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// The files that say what the array at `path` is; of a zip file, that.
    pub(super) fn documents(&self, path: &str) -> Result<Vec<PathBuf>, Fault> {
        match self {
            Self::Zip(zip, _) => Ok(vec![zip.clone()]),
            Self::Directory(_) => {
                let mut found = Vec::new();
                for name in ["zarr.json", ".zarray"] {
                    found.extend(
                        self.locate(&format!("{path}/{name}"))?
                            .map(|located| located.path),
                    );
                }
                Ok(found)
            }
        }
    }

    /// The bytes that say what files there are and what the array at `path` is: the files of these, and of a zip file its directory.
    pub(super) fn watched(&self, path: &str) -> Vec<Watched> {
        let documents = self.documents(path).unwrap_or_default();
        let ranges = match self {
            Self::Directory(_) => Vec::new(),
            Self::Zip(_, zip) => vec![zip.directory()],
        };
        let watched = |file| Watched {
            file,
            ranges: ranges.clone(),
        };
        documents.into_iter().map(watched).collect()
    }

    /// Memory for a file that is read in pieces.
    pub(super) fn held_bytes(&self, key: &str) -> u64 {
        match self {
            Self::Directory(_) => 0,
            Self::Zip(_, zip) => zip.held_bytes(key),
        }
    }

    /// Names of the directories in a directory; the empty path is the root.
    pub(super) fn directories(&self, path: &str) -> Result<Vec<String>, Fault> {
        check_key(path)?;
        match self {
            Self::Zip(_, zip) if path.is_empty() => Ok(zip.directories("")),
            Self::Zip(_, zip) => Ok(zip.directories(&format!("{path}/"))),
            Self::Directory(root) => {
                let failed = |error: io::Error| Fault::Damaged(format!("{path}: {error}"));
                let mut names = Vec::new();
                for entry in root.join(path).read_dir().map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    let kind = entry.file_type().map_err(failed)?;
                    let is_directory = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
                    // A name that is not text names no node.
                    if is_directory && let Ok(name) = entry.file_name().into_string() {
                        names.push(name);
                    }
                }
                names.sort_unstable();
                Ok(names)
            }
        }
    }

    /// The directory within a zip file in which all its files lie, if there is one.
    pub(super) fn only_directory(&self) -> Option<&str> {
        match self {
            Self::Zip(_, zip) => zip.only_directory(),
            Self::Directory(_) => None,
        }
    }
}

/// Refuses keys that would lead out of the hierarchy.
fn check_key(key: &str) -> Result<(), Fault> {
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    match key.is_empty() || key.split('/').all(is_plain) {
        true => Ok(()),
        false => Err(format!("{key:?} is not a path of plain names").into()),
    }
}

/// Opens a file that may not be there.
fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match open_regular(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(outcome: Result<T, Fault>) -> String {
        match outcome {
            Err(Fault::Damaged(detail) | Fault::Unsupported { detail, .. }) => detail,
            Ok(_) => panic!("it was taken"),
        }
    }

    #[test]
    fn only_regular_files_with_plain_keys_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("root/a/b")).unwrap();
        std::fs::write(path("outside"), b"no").unwrap();
        std::fs::write(path("root/a/zarr.json"), b"{}").unwrap();
        std::os::unix::fs::symlink(path("root/a/zarr.json"), path("root/a/link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("root/a/zero")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("root/a/socket")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path("root/a/fifo"))
                .status()
                .unwrap()
                .success()
        );
        File::create(path("root/a/sparse"))
            .unwrap()
            .set_len(10 << 30)
            .unwrap();
        let storage = Storage::open(&path("root"), false).unwrap().unwrap();
        for key in ["a/zarr.json", "a/link"] {
            assert_eq!(storage.read(key, 2).unwrap().unwrap(), b"{}", "{key}");
        }
        assert!(storage.read("a/none", 2).unwrap().is_none());
        for key in ["a/fifo", "a/socket", "a/zero", "a/b"] {
            let said = [message(storage.read(key, 100)), message(storage.pieces(key, 100))];
            assert!(
                said.iter()
                    .all(|said| said.contains(key) && said.contains("not a regular file")),
                "{said:?}"
            );
        }
        let said = message(storage.read("a/sparse", 1 << 20));
        assert!(said.contains("expected at most 1048576"), "{said}");
        for key in [
            "../outside",
            "a/../../outside",
            "/etc/passwd",
            "a//zarr.json",
            "a/./zarr.json",
            "a\0",
        ] {
            assert!(message(storage.read(key, 100)).contains("plain names"), "{key}");
        }
        assert_eq!(storage.directories("a").unwrap(), ["b"]);
        assert_eq!(storage.directories("").unwrap(), ["a"]);
    }
}
