//! Tells whether an input has changed since it was first looked at.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::{ReadError, Result};
use super::forms;

/// What the filesystem says of an input, a file or a directory with all that is in it. No content is read.
///
/// A conversion reads its input twice and trusts the second pass to see what the first one saw; checksums, which few inputs
/// have, would not tell an old chunk from a new one. So it compares stamps at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStamp {
    path: PathBuf,
    found: Found,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    n_files: u64,
    bytes: u64,
    /// The latest change of any file, in seconds and nanoseconds. Unlike the time of modification no program sets it.
    changed: (i64, i64),
    /// The latest modification of any file, in the same way: copies may keep it.
    modified: (i64, i64),
    /// A sum over what tells files apart: one that was put in the place of another differs even where its times do not.
    identity: u64,
}

impl Found {
    fn add(&mut self, metadata: &Metadata) {
        self.n_files += 1;
        self.bytes = self.bytes.wrapping_add(metadata.len());
        self.changed = self.changed.max((metadata.ctime(), metadata.ctime_nsec()));
        self.modified = self.modified.max((metadata.mtime(), metadata.mtime_nsec()));
        let number = metadata.ino() ^ metadata.dev().rotate_left(32);
        self.identity = self
            .identity
            .wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }

    fn add_all(&mut self, path: &Path) -> io::Result<()> {
        let metadata = path.metadata()?;
        if !metadata.is_dir() {
            self.add(&metadata);
            return Ok(());
        }
        for entry in path.read_dir()? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                // No input has hidden directories; a store may be in the making in one, beside the input.
                if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                    self.add_all(&path)?;
                }
            } else if let Ok(metadata) = path.metadata()
                && !metadata.is_dir()
            {
                // Links to directories may lead in circles, and others nowhere.
                self.add(&metadata);
            }
        }
        Ok(())
    }
}

impl InputStamp {
    /// Looks at an input.
    ///
    /// # Errors
    /// The input, or something in it, cannot be looked at.
    pub fn read(path: &Path) -> Result<Self> {
        let mut found = Found::default();
        let mut add = |path: &Path| {
            found.add_all(path).map_err(|source| ReadError::Io {
                file: path.to_owned(),
                source,
            })
        };
        // Names beside a matrix belong to it.
        match forms::files(path) {
            files if files.is_empty() => add(path)?,
            files => files.iter().try_for_each(|file| add(file))?,
        }
        Ok(Self {
            path: path.to_owned(),
            found,
        })
    }

    /// What is the same of the input on every machine: the number of files, their length in bytes together, and the second of their
    /// latest modification.
    pub fn content(&self) -> [i64; 3] {
        let Found {
            n_files,
            bytes,
            modified,
            ..
        } = self.found;
        [n_files.cast_signed(), bytes.cast_signed(), modified.0]
    }

    /// When the file of it that was modified last was modified.
    pub fn modified(&self) -> SystemTime {
        let (seconds, nanos) = self.found.modified;
        let since = Duration::new(seconds.unsigned_abs(), nanos as u32);
        let at = match seconds < 0 {
            true => UNIX_EPOCH.checked_sub(since),
            false => UNIX_EPOCH.checked_add(since),
        };
        at.unwrap_or(UNIX_EPOCH)
    }

    /// What tells one state of the input from another on this machine, as numbers.
    pub fn numbers(&self) -> [u64; 5] {
        let (seconds, nanos) = self.found.modified;
        let Found {
            n_files,
            bytes,
            identity,
            ..
        } = self.found;
        [
            n_files,
            bytes,
            identity,
            seconds.cast_unsigned(),
            nanos.cast_unsigned(),
        ]
    }

    /// Bytes of all its files.
    pub fn len_bytes(&self) -> u64 {
        self.found.bytes
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`ReadError::Changed`] where the input is not what it was.
    pub fn check(&self) -> Result<()> {
        match Self::read(&self.path) {
            Ok(now) if now == *self => Ok(()),
            _ => Err(ReadError::Changed {
                file: self.path.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_noticed_wherever_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let (root, inner) = (
            directory.path().join("a.zarr"),
            directory.path().join("a.zarr/X/data"),
        );
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("0"), [1, 2, 3]).unwrap();
        fs::write(root.join(".zgroup"), "{}").unwrap();
        let stamp = InputStamp::read(&root).unwrap();
        stamp.check().unwrap();

        let chunk = inner.join("0");
        // Replaced by a file of the same length and times.
        let other = inner.join("other");
        fs::copy(&chunk, &other).unwrap();
        fs::rename(&other, &chunk).unwrap();
        assert!(matches!(stamp.check(), Err(ReadError::Changed { .. })));
        let stamp = InputStamp::read(&root).unwrap();
        fs::write(inner.join("1"), []).unwrap();
        stamp.check().unwrap_err();
        let stamp = InputStamp::read(&root).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        let message = stamp.check().unwrap_err().to_string();
        assert!(
            message.contains("a.zarr") && message.contains("changed"),
            "{message}"
        );
        assert!(InputStamp::read(&inner).is_err());

        // Circles, links to nowhere, and what is in the making.
        std::os::unix::fs::symlink(".", root.join("circle")).unwrap();
        std::os::unix::fs::symlink("..", root.join("parent")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("nowhere")).unwrap();
        let stamp = InputStamp::read(&root).unwrap();
        fs::create_dir(root.join(".b.cellring.tmp-1")).unwrap();
        fs::write(root.join(".b.cellring.tmp-1/shard-00000.bin"), [1]).unwrap();
        stamp.check().unwrap();
        assert_eq!(stamp.content()[..2], [1, 2], "one file of two bytes");
    }
}
