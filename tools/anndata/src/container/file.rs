//! `SourceFile`: an open HDF5 file or zarr hierarchy, or a group within it; bulk reads use its descriptor, everything else the parser.

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::hdf5::{OpenError, Reader};
use super::regular::open_regular;
use super::zarr::Zarr;
use super::{Attribute, Container, Description, Fault, Kind};
use crate::error::{ReadError, Result};

/// The bytes every HDF5 file (without a user block) begins with.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Text that is read at a time is at most so many times as long as the file, and these bytes more: labels repeat, and compress well.
const MAX_TEXT_EXPANSION: u64 = 8;
const MIN_TEXT_BYTES: u64 = 64 << 20;

/// How a zip file begins.
const ZIP_SIGNATURE: [u8; 4] = *b"PK\x03\x04";

/// An open HDF5 file whose length agrees with its superblock, or a zarr hierarchy.
///
/// What is seen of it may be one of its groups only: paths of objects are relative to that.
pub(crate) struct SourceFile {
    /// How messages name it; that of a group within it too.
    path: PathBuf,
    /// The group that is seen; empty for the root.
    group: String,
    /// What is read past the parser; nothing of zarr is.
    file: File,
    len_bytes: u64,
    container: Box<dyn Container>,
}

impl std::fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SourceFile {
    /// Opens an HDF5 file, a directory of zarr, or one in a zip file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, false)
    }

    /// The same; with `force_read` also a file that a writer has open, or had when it was killed.
    pub(crate) fn open_as(path: &Path, force_read: bool) -> Result<Self> {
        let is_directory = path.is_dir();
        // Opening a pipe would wait for its other end.
        if path.exists() && !is_directory && !path.is_file() {
            return Err(ReadError::Foreign {
                file: path.to_owned(),
                form: "not a regular file".to_owned(),
                remedy: "write what it gives to a file, and convert that".to_owned(),
            });
        }
        let mut start = [0; ZIP_SIGNATURE.len()];
        let is_zip = !is_directory
            && open_regular(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
            && start == ZIP_SIGNATURE;
        let has_root = || {
            ["zarr.json", ".zgroup"]
                .iter()
                .any(|name| path.join(name).is_file())
        };
        if is_zip || (is_directory && has_root()) {
            return Self::open_zarr(path, is_zip);
        }
        Self::open_hdf5(path, force_read)
    }

    fn open_zarr(path: &Path, is_zip: bool) -> Result<Self> {
        let io_error = |source| ReadError::Io {
            file: path.to_owned(),
            source,
        };
        let len_bytes = total_bytes(path)?;
        let zarr = Zarr::open(path, is_zip, len_bytes)
            .map_err(io_error)?
            .map_err(|fault| fault_of(path, "the zarr hierarchy", fault))?;
        let Some(zarr) = zarr else {
            return Err(ReadError::NotHdf5 {
                file: path.to_owned(),
            });
        };
        Ok(Self {
            path: path.to_owned(),
            group: String::new(),
            file: File::open(path).map_err(io_error)?,
            len_bytes,
            container: Box::new(zarr),
        })
    }

    /// Opens a file and compares its length with the end-of-file address of its superblock.
    fn open_hdf5(path: &Path, force_read: bool) -> Result<Self> {
        let io_error = |source| ReadError::Io {
            file: path.to_owned(),
            source,
        };
        if path.is_dir() {
            return Err(ReadError::NotHdf5 {
                file: path.to_owned(),
            });
        }
        let mut file = open_regular(path).map_err(io_error)?;
        if !force_read && is_locked(&file) {
            return Err(ReadError::Locked {
                file: path.to_owned(),
            });
        }
        let len_bytes = file.metadata().map_err(io_error)?.len();
        let mut start = Vec::new();
        (&mut file)
            .take(SIGNATURE.len() as u64)
            .read_to_end(&mut start)
            .map_err(io_error)?;
        let reader = match file.try_clone().map_err(OpenError::Io).and_then(Reader::open) {
            Ok(reader) => reader,
            Err(OpenError::NotHdf5) => {
                return Err(ReadError::NotHdf5 {
                    file: path.to_owned(),
                });
            }
            Err(OpenError::Io(source)) => return Err(io_error(source)),
            // A file cut inside its superblock begins like one.
            Err(OpenError::Other(_)) if start != SIGNATURE => {
                return Err(ReadError::NotHdf5 {
                    file: path.to_owned(),
                });
            }
            Err(OpenError::Other(fault)) => return Err(fault_of(path, "the superblock", fault)),
        };
        if reader.is_open_for_writing() && !force_read {
            return Err(ReadError::OpenForWriting {
                file: path.to_owned(),
            });
        }
        let (expected_bytes, _) = reader.extent();
        if len_bytes < expected_bytes {
            return Err(ReadError::Truncated {
                file: path.to_owned(),
                expected_bytes,
                found_bytes: len_bytes,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            group: String::new(),
            file,
            len_bytes,
            container: Box::new(reader),
        })
    }

    /// The group of this name as if it were the whole file.
    pub(crate) fn within(self, group: &str) -> Self {
        Self {
            path: self.path.join(group),
            group: self.at(group).into_owned(),
            ..self
        }
    }

    /// The path of an object in the container.
    fn at<'a>(&self, object: &'a str) -> Cow<'a, str> {
        match (self.group.as_str(), object) {
            ("", _) => object.into(),
            (group, "") => group.to_owned().into(),
            (group, _) => format!("{group}/{object}").into(),
        }
    }

    /// The path of an object from the root of the container.
    pub(crate) fn path_from_root(&self, object: &str) -> String {
        self.at(object).into_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file itself, also for a group within it.
    pub(crate) fn file_path(&self) -> &Path {
        let n_groups = Path::new(&self.group).components().count();
        self.path.ancestors().nth(n_groups).unwrap_or(&self.path)
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The most bytes of text that may be read of it at a time: more than any file has that was not made to claim much.
    pub(crate) fn most_text_bytes(&self) -> u64 {
        self.len_bytes
            .saturating_mul(MAX_TEXT_EXPANSION)
            .saturating_add(MIN_TEXT_BYTES)
    }

    /// What `object` names, or `None` when it does not exist.
    pub(crate) fn kind(&self, object: &str) -> Result<Option<Kind>> {
        self.container
            .kind(&self.at(object))
            .map_err(|fault| self.fault(object, fault))
    }

    /// Names of the members of a group.
    pub(crate) fn members(&self, group: &str) -> Result<Vec<String>> {
        self.container
            .members(&self.at(group))
            .map_err(|fault| self.fault(group, fault))
    }

    /// Names of the links in a group that lead to neither a group nor a dataset of this container: to another file, nowhere, or to a type.
    pub(crate) fn links_elsewhere(&self, group: &str) -> Vec<String> {
        self.container
            .links_elsewhere(&self.at(group))
            .unwrap_or_default()
    }

    /// What the container holds outside the group that is seen: the other members of the groups around it. Paths are from the root
    /// and begin with a slash, each with a number of members: 1 for a table, a data set or AnnData. Empty groups are not among them, nor is
    /// what cannot be looked into.
    pub(crate) fn outside(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut inner = self.group.as_str();
        while !inner.is_empty() {
            let (parent, own) = inner.rsplit_once('/').unwrap_or(("", inner));
            let names = self.container.members(parent).unwrap_or_default();
            for name in names.iter().filter(|name| *name != own) {
                let path = match parent {
                    "" => name.clone(),
                    _ => format!("{parent}/{name}"),
                };
                let n = self.n_parts(&path);
                if n > 0 {
                    found.push((format!("/{path}"), n));
                }
            }
            inner = parent;
        }
        found
    }

    /// The number of members of a group that is not a whole by itself.
    fn n_parts(&self, path: &str) -> u64 {
        let Ok(Some(Kind::Group)) = self.container.kind(path) else {
            return 1;
        };
        let encoding = self.container.attribute(path, Kind::Group, "encoding-type");
        let encoding = encoding
            .ok()
            .flatten()
            .and_then(|encoding| encoding.one_text().ok());
        match encoding.as_deref() {
            None | Some("dict") => self.container.members(path).map_or(1, |names| names.len() as u64),
            Some(_) => 1,
        }
    }

    /// An attribute, or `None` when it does not exist.
    pub(crate) fn attribute(&self, object: &str, kind: Kind, name: &str) -> Result<Option<Attribute>> {
        self.container
            .attribute(&self.at(object), kind, name)
            .map_err(|fault| self.fault(object, fault.about(&format!("attribute {name}"))))
    }

    /// An attribute that is one string, or `None` when it does not exist.
    pub(crate) fn text_attribute(&self, object: &str, kind: Kind, name: &str) -> Result<Option<String>> {
        self.meaning(object, kind, name, Attribute::one_text)
    }

    /// An attribute that is an array of strings, or `None` when it does not exist.
    pub(crate) fn texts_attribute(
        &self,
        object: &str,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Vec<String>>> {
        self.meaning(object, kind, name, Attribute::texts)
    }

    /// An attribute that is an array of integers, or `None` when it does not exist.
    pub(crate) fn integers_attribute(
        &self,
        object: &str,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Vec<i64>>> {
        self.meaning(object, kind, name, Attribute::integers)
    }

    /// An attribute that is true or false, or `None` when it does not exist.
    pub(crate) fn flag_attribute(&self, object: &str, kind: Kind, name: &str) -> Result<Option<bool>> {
        self.meaning(object, kind, name, Attribute::flag)
    }

    fn meaning<T>(
        &self,
        object: &str,
        kind: Kind,
        name: &str,
        interpret: fn(Attribute) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let found = self.attribute(object, kind, name)?;
        found
            .map(interpret)
            .transpose()
            .map_err(|detail| self.invalid(object, format!("attribute {name}: {detail}")))
    }

    pub(crate) fn describe(&self, dataset: &str) -> Result<Description> {
        self.container
            .describe(&self.at(dataset))
            .map_err(|fault| self.fault(dataset, fault))
    }

    /// The bytes of a variable-length string of `dataset`.
    pub(crate) fn resolve(&self, dataset: &str, reference: &[u8]) -> Result<Vec<u8>> {
        self.container
            .resolve(reference)
            .map_err(|fault| self.fault(dataset, fault))
    }

    /// Fills `buffer` from the file; the range must end within the file.
    pub(super) fn read_exact_at(&self, object: &str, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len_bytes) {
            return Err(self.damaged(
                object,
                format!(
                    "{} bytes at offset {offset_bytes} lie beyond the file's {}",
                    buffer.len(),
                    self.len_bytes
                ),
            ));
        }
        let n_bytes = buffer.len();
        self.file.read_exact_at(buffer, offset_bytes).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged(
                    object,
                    format!(
                        "the file became shorter while {n_bytes} bytes at offset {offset_bytes} were read"
                    ),
                )
            } else {
                ReadError::Read {
                    file: self.path.clone(),
                    object: object.to_owned(),
                    offset_bytes,
                    source,
                }
            }
        })
    }

    pub(crate) fn damaged(&self, object: &str, detail: String) -> ReadError {
        self.fault(object, Fault::Damaged(detail))
    }

    /// The file is sound, but not as AnnData has it.
    pub(crate) fn invalid(&self, object: &str, detail: String) -> ReadError {
        ReadError::Invalid {
            file: self.path.clone(),
            object: object.to_owned(),
            detail,
        }
    }

    pub(crate) fn fault(&self, object: &str, fault: Fault) -> ReadError {
        let object = if object.is_empty() {
            "the root group"
        } else {
            object
        };
        fault_of(&self.path, object, fault)
    }
}

fn fault_of(file: &Path, object: &str, fault: Fault) -> ReadError {
    let (file, object) = (file.to_owned(), object.to_owned());
    match fault {
        Fault::Damaged(detail) => ReadError::Damaged { file, object, detail },
        Fault::Unsupported { detail, remedy } => ReadError::Unsupported {
            file,
            object,
            detail,
            remedy,
        },
    }
}

/// Bytes of a file, or of all files below a directory. Links are followed but those to directories below it, which may lead in a circle.
///
/// # Errors
/// With the file that cannot be looked at: a link that leads nowhere, say.
fn total_bytes(path: &Path) -> Result<u64> {
    let failed = |source| ReadError::Io {
        file: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0u64;
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !(path.is_symlink() && path.is_dir()) {
            bytes = bytes.saturating_add(total_bytes(&path)?);
        }
    }
    Ok(bytes)
}

/// Whether a program has the file open for writing: then it may be half written, and on disk only in part. HDF5 locks what it has open, alone
/// to write and together with others to read; in the form that h5py and anndata write, nothing else says so. The lock is held here for a
/// moment only: whether the file was changed while it was read is asked at the end.
fn is_locked(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            // A filesystem that locks and does not unlock keeps the lock until the file is closed.
            let _ = file.unlock();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        // Filesystems without locks say so, and that is no reason not to read.
        Err(TryLockError::Error(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HDF5 locks what it has open: alone to write, together with others to read.
    #[test]
    fn files_that_a_program_writes_to_are_refused() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/matrices.h5ad"));
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy(path, copy.path()).unwrap();
        let other = File::open(copy.path()).unwrap();
        let mine = File::open(copy.path()).unwrap();
        other.lock_shared().unwrap();
        SourceFile::open(copy.path()).unwrap();
        other.unlock().unwrap();
        other.lock().unwrap();
        let message = SourceFile::open(copy.path()).unwrap_err().to_string();
        assert!(
            message.contains("is locked by") && message.contains("`force_read`"),
            "{message}"
        );
        let opened = SourceFile::open_as(copy.path(), true).unwrap();
        drop(other);
        let again = SourceFile::open(copy.path()).unwrap();
        // Nothing is locked by those that read.
        mine.try_lock().unwrap();
        drop((opened, again));
    }

    #[test]
    fn reads_that_fail_are_placed() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/matrices.h5ad"));
        let mut file = SourceFile::open(path).unwrap();
        let copy = tempfile::NamedTempFile::new().unwrap();
        // A descriptor that cannot be read.
        file.file = File::options().write(true).open(copy.path()).unwrap();
        let mut bytes = [0; 10];
        let message = file
            .read_exact_at("X/data", &mut bytes, 96)
            .unwrap_err()
            .to_string();
        let parts = [
            "cannot read X/data at offset 96 of ",
            "matrices.h5ad",
            "Bad file descriptor",
        ];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        file.file = File::open(copy.path()).unwrap();
        let message = file
            .read_exact_at("X/data", &mut bytes, 96)
            .unwrap_err()
            .to_string();
        let parts = [
            "X/data in ",
            "matrices.h5ad",
            "shorter while 10 bytes at offset 96",
        ];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
