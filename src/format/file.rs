//! Opens the files of stores and parts: regular files only, and through a symbolic link only where the format allows one.
//!
//! Every path that a manifest names is opened here, for reading and for writing. A pipe or a device in place of a file is refused
//! at once: opening it does not wait for another process.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::constants::{MAX_NAME_BYTES, shard_file};
use super::error::FormatError;

/// Name of a file in the directory of a store or of a part: one plain component of a path.
///
/// What is joined to a directory to be opened, linked or written has this type, so a manifest cannot name a file elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FileName(String);

impl FileName {
    /// The name, where it is one: 1 to 255 bytes, no separator, no NUL or other control character, no dot in front.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let is_plain = |c: char| c != '/' && !c.is_control();
        let plain = (1..=MAX_NAME_BYTES).contains(&name.len())
            && !name.starts_with('.')
            && name.chars().all(is_plain);
        plain.then_some(Self(name))
    }

    /// Name of shard `number`.
    pub fn shard(number: u32) -> Self {
        Self(shard_file(number))
    }

    /// One of the names that this crate gives to files.
    pub(crate) fn own(name: impl Into<String>) -> Self {
        let name = Self(name.into());
        debug_assert!(Self::new(name.0.clone()).is_some(), "{name} is a plain name");
        name
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for FileName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        self.0.as_ref()
    }
}

impl AsRef<OsStr> for FileName {
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

impl PartialEq<str> for FileName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let shown: String = name.chars().take(80).collect();
        Self::new(name)
            .ok_or_else(|| D::Error::custom(format!("{shown:?} is not the name of a file of the store")))
    }
}

/// Whether a path may end in a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// A shard may be on another disk, and any file of a store that is only read in a cache of files by content.
    Followed,
    /// What is written, or is part of what will be, is in the directory itself.
    Refused,
}

/// Opens a regular file for reading.
pub(crate) fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path, links)
}

/// A file of a store, open for reading, that has the length that the manifest states.
#[derive(Debug)]
pub(crate) struct StoreFile {
    path: PathBuf,
    file: File,
    len: usize,
}

impl StoreFile {
    /// Opens a file after comparing its length. Nothing of it is read.
    ///
    /// # Errors
    /// If it cannot be opened or has another length.
    pub(crate) fn open(path: PathBuf, expected: u64) -> Result<Self, FormatError> {
        let file = open(&path, Links::Followed).map_err(FormatError::io(&path))?;
        let len = usize::try_from(expected)
            .map_err(|_| FormatError::io(&path)(io::ErrorKind::OutOfMemory.into()))?;
        let file = Self { path, file, len };
        file.check_length()?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Fills `into` with the bytes at `at`, which lie within the file.
    ///
    /// # Errors
    /// If they cannot be read, or the file has become shorter.
    pub(crate) fn read_at(&self, into: &mut [u8], at: usize) -> Result<(), FormatError> {
        self.file.read_exact_at(into, at as u64).map_err(|error| {
            // Cut short, it says so itself.
            match self.check_length() {
                Ok(()) => FormatError::io(&self.path)(error),
                Err(cut) => cut,
            }
        })
    }

    /// The descriptor, for advice to the kernel.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn check_length(&self) -> Result<(), FormatError> {
        let (found, expected) = (self.file.metadata(), self.len as u64);
        let found = found.map_err(FormatError::io(&self.path))?.len();
        match found == expected {
            true => Ok(()),
            false => Err(FormatError::Length {
                file: self.path.clone(),
                expected,
                found,
            }),
        }
    }
}

/// Opens a regular file for reading below the directory `root`. `relative` must contain neither symbolic links nor `..`; a link that is put
/// there meanwhile does not lead out of `root` either. (`openat2` would do the same on kernels that have it and let it through.)
pub(crate) fn open_below(root: &Path, relative: &Path) -> io::Result<File> {
    cellring_core::with_descriptors(|| open_names(root, relative))
}

fn open_names(root: &Path, relative: &Path) -> io::Result<File> {
    let mut directory = open_at(CWD, root.as_os_str(), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut names = relative.components().peekable();
    while let Some(name) = names.next() {
        let Component::Normal(name) = name else {
            return Err(io::Error::other("it is not below the directory"));
        };
        let flags = match names.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY,
            None => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let opened = open_at(&directory, name, flags | OFlags::NOFOLLOW);
        let opened = opened.map_err(|error| match error {
            Errno::NXIO | Errno::ISDIR => not_regular(),
            error => error.into(),
        })?;
        if names.peek().is_none() {
            return regular(File::from(opened));
        }
        directory = opened;
    }
    Err(not_regular())
}

fn open_at(directory: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    retry_on_intr(|| openat(directory.as_fd(), name, flags, Mode::empty()))
}

/// Opens a regular file that exists for writing; never through a link.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true).write(true), path, Links::Refused)
}

fn open_with(options: &mut OpenOptions, path: &Path, links: Links) -> io::Result<File> {
    let no_follow = match links {
        Links::Followed => 0,
        Links::Refused => libc::O_NOFOLLOW,
    };
    // Opening a pipe would wait for its other end, opening some devices for theirs. The standard library adds O_CLOEXEC.
    let file = options
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | no_follow)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) if links == Links::Refused => io::Error::other(
                "it is a symbolic link, which only a shard may be here; put the file itself there",
            ),
            Some(libc::ENXIO | libc::EISDIR) => not_regular(),
            _ => error,
        })?;
    regular(file)
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file; restore it")
}

/// The bytes of a regular file that has at most `max_bytes`.
pub(crate) fn read_whole(path: &Path, links: Links, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let too_long = || {
        io::Error::other(format!(
            "it has more than {max_bytes} bytes, so no writer has made it; convert again or restore the file"
        ))
    };
    let length = file.metadata()?.len();
    if length > max_bytes {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow while it is read.
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(too_long()),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn names_are_plain_components() {
        for name in ["index.bin", "shard-00000.bin", "a b", "ä", &"x".repeat(255)] {
            assert_eq!(FileName::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/a",
            "../a",
            "a/",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            &"x".repeat(256),
        ] {
            assert_eq!(FileName::new(name), None, "{name:?}");
            assert!(
                serde_json::from_value::<FileName>(name.into()).is_err(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), b"12345").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status()
            .unwrap();
        assert!(made.success());
        for (name, links, expected) in [
            ("file", Links::Refused, None),
            ("link", Links::Followed, None),
            ("link", Links::Refused, Some("symbolic link")),
            ("zero", Links::Followed, Some("not a regular file")),
            ("zero", Links::Refused, Some("symbolic link")),
            ("directory", Links::Refused, Some("not a regular file")),
            ("socket", Links::Refused, Some("not a regular file")),
            ("pipe", Links::Refused, Some("not a regular file")),
            ("pipe", Links::Followed, Some("not a regular file")),
        ] {
            let found = open(&path(name), links)
                .map(drop)
                .map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(found, Ok(()), "{name}"),
                Some(text) => assert!(found.as_ref().unwrap_err().contains(text), "{name}: {found:?}"),
            }
        }
        let below = |relative: &str| open_below(dir.path(), Path::new(relative)).map(drop);
        std::fs::write(path("directory/within"), b"1").unwrap();
        symlink(path("directory"), path("around")).unwrap();
        assert!(below("file").is_ok() && below("directory/within").is_ok());
        for relative in [
            "link",
            "zero",
            "directory",
            "socket",
            "pipe",
            "around/within",
            "directory/../file",
            "/etc/passwd",
            "",
        ] {
            assert!(below(relative).is_err(), "{relative:?}");
        }
        assert!(open_to_write(&path("link")).is_err() && open_to_write(&path("file")).is_ok());
        assert_eq!(read_whole(&path("file"), Links::Refused, 5).unwrap(), b"12345");
        assert!(
            read_whole(&path("file"), Links::Refused, 4)
                .unwrap_err()
                .to_string()
                .contains("more than 4 bytes")
        );
    }
}
