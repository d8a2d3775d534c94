//! Opens the files that a linked store leads to, and looks whether they are what they were.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use super::error::LinkedError;
use super::identity::{Stamp, fingerprint};
use crate::format::file::open_below;
use crate::format::linked::LinkedFile;

/// An open file of the source. It stays open: a file that takes its name later is another one.
#[derive(Debug)]
pub(crate) struct SourceFile {
    store: PathBuf,
    path: PathBuf,
    file: File,
    linked: LinkedFile,
    /// The time of the last change, of bytes or of what the system says of them, after which the samples were compared.
    compared_at: AtomicI64,
}

/// What tells a file from others: its device and its inode.
pub(crate) type FileId = (u64, u64);

/// For so long after a change another one may leave the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// Files that are worth a thread to open them: each waits for some reads.
const FILES_PER_THREAD: usize = 32;
/// Threads that open files.
const MOST_THREADS: usize = 8;

/// Opens files below `root`, and compares them with what was linked.
///
/// # Errors
/// If one is not there, is not below `root`, or has changed: the first of them.
pub(super) fn open_all(
    store: &Path,
    root: &Path,
    linked: &[LinkedFile],
) -> Result<Vec<SourceFile>, LinkedError> {
    let too_many = |error| match error {
        LinkedError::Io { error, .. } if cellring_core::is_out_of_files(&error) => {
            LinkedError::TooManyFiles {
                store: store.to_path_buf(),
                n_files: linked.len(),
                limit: cellring_core::most_descriptors().unwrap_or(u64::MAX),
            }
        }
        other => other,
    };
    let open = |files: &[LinkedFile]| {
        let files = files.iter();
        files
            .map(|linked| SourceFile::open(store, root, linked).map_err(too_many))
            .collect::<Result<Vec<_>, _>>()
    };
    let n_threads = (linked.len() / FILES_PER_THREAD).clamp(1, MOST_THREADS);
    if n_threads == 1 {
        return open(linked);
    }
    thread::scope(|scope| {
        let parts = linked.chunks(linked.len().div_ceil(n_threads));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || open(part))).collect();
        let mut sources = Vec::with_capacity(linked.len());
        for thread in threads {
            sources.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(sources)
    })
}

impl SourceFile {
    /// As [`open_all`].
    fn open(store: &Path, root: &Path, linked: &LinkedFile) -> Result<Self, LinkedError> {
        let named = root.join(&linked.path);
        let failed = |error| LinkedError::Io {
            file: named.clone(),
            store: store.to_path_buf(),
            error: cellring_core::explain(&named, error),
        };
        // A link on the way may lead anywhere: where the file really is decides.
        let (real, real_root) = (
            named.canonicalize().map_err(failed)?,
            root.canonicalize().map_err(failed)?,
        );
        let Ok(relative) = real.strip_prefix(&real_root) else {
            return Err(LinkedError::Outside {
                file: real,
                store: store.to_path_buf(),
                root: real_root,
            });
        };
        // And it may be replaced by such a link now.
        let file = open_below(&real_root, relative).map_err(failed)?;
        let source = Self {
            store: store.to_path_buf(),
            path: real,
            file,
            linked: linked.clone(),
            compared_at: AtomicI64::new(i64::MIN),
        };
        source.check()?;
        Ok(source)
    }

    /// Where the file is, without links on the way.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Length that it had.
    pub(super) fn bytes(&self) -> u64 {
        self.linked.bytes
    }

    /// What the index says of it.
    pub(crate) fn linked(&self) -> &LinkedFile {
        &self.linked
    }

    /// Whether the open file is what it was: compares length and modification time, and samples where something was changed since they
    /// were last compared.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self) -> Result<(), LinkedError> {
        let metadata = self.check_stamp()?;
        // Whoever writes may set the time of modification, but not this one.
        let changed_at = metadata
            .ctime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(metadata.ctime_nsec());
        match changed_at == self.compared_at.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.compare(changed_at),
        }
    }

    fn check_stamp(&self) -> Result<Metadata, LinkedError> {
        let metadata = self.file.metadata().map_err(|error| self.failed(error))?;
        match Stamp::of_metadata(&metadata).difference(&self.linked) {
            None => Ok(metadata),
            Some(what) => Err(self.changed(what)),
        }
    }

    /// Compares the samples, of a file that was last changed then.
    #[cold]
    fn compare(&self, changed_at: i64) -> Result<(), LinkedError> {
        // Cut short meanwhile, it has changed.
        let of_read = |error| self.check_stamp().err().unwrap_or_else(|| self.failed(error));
        if fingerprint(&self.file, self.linked.bytes, &self.linked.pieces).map_err(of_read)?
            != self.linked.fingerprint
        {
            return Err(self.changed("some of its bytes differ".to_owned()));
        }
        let changed = UNIX_EPOCH + Duration::from_nanos(changed_at.max(0) as u64);
        // For one from the future there is nothing to wait for.
        if changed.elapsed().unwrap_or(SETTLED) >= SETTLED {
            self.compared_at.store(changed_at, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether this is the open file: for whoever has opened it by its name since.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check_opened(&self, opened: FileId) -> Result<(), LinkedError> {
        let own = self.file.metadata().map_err(|error| self.failed(error))?;
        match opened == (own.dev(), own.ino()) {
            true => self.check(),
            false => Err(self.changed("another file has taken its name".to_owned())),
        }
    }

    fn failed(&self, error: io::Error) -> LinkedError {
        LinkedError::Io {
            file: self.path.clone(),
            store: self.store.clone(),
            error: cellring_core::explain(&self.path, error),
        }
    }

    fn changed(&self, what: String) -> LinkedError {
        LinkedError::Changed {
            file: self.path.clone(),
            store: self.store.clone(),
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    fn modified(path: &Path, time: SystemTime) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    /// An open file of 3 MB that was left alone for a day.
    fn opened(directory: &Path) -> SourceFile {
        let path = directory.join("file");
        fs::write(&path, vec![7; 3_000_000]).unwrap();
        modified(&path, SystemTime::now() - Duration::from_secs(86_400));
        let file = File::open(&path).unwrap();
        let stamp = Stamp::of(&file).unwrap();
        let linked = LinkedFile {
            path: "file".to_owned(),
            bytes: stamp.bytes,
            modified: stamp.modified,
            fingerprint: fingerprint(&file, stamp.bytes, &[]).unwrap(),
            pieces: vec![],
        };
        SourceFile::open(&directory.join("store"), directory, &linked).unwrap()
    }

    #[test]
    fn whatever_was_opened_by_the_name_of_a_file_is_known_by_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let source = opened(directory.path());
        let id = |path: &Path| {
            let found = path.metadata().unwrap();
            (found.dev(), found.ino())
        };
        let (own, copy) = (source.path().to_path_buf(), directory.path().join("copy"));
        fs::copy(&own, &copy).unwrap();
        source.check_opened(id(&own)).unwrap();
        // Also where the name leads to the right one again.
        let error = source.check_opened(id(&copy)).unwrap_err();
        assert!(
            error.to_string().contains("another file has taken its name"),
            "{error}"
        );
        // And what has been opened before its name was gone is right.
        let before = id(&own);
        fs::rename(&copy, &own).unwrap();
        source.check_opened(before).unwrap();
        source.check_opened(id(&own)).unwrap_err();
    }

    #[test]
    fn samples_are_compared_when_anything_was_changed() {
        let directory = tempfile::tempdir().unwrap();
        let source = opened(directory.path());
        let time = source.path().metadata().unwrap().modified().unwrap();
        source.check().unwrap();
        fs::set_permissions(source.path(), Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(source.path(), directory.path().join("link")).unwrap();
        source.check().unwrap();
        // Not noted, as another change may come with the same time.
        assert_eq!(source.compared_at.load(Ordering::Relaxed), i64::MIN);
        fs::write(source.path(), vec![8; 3_000_000]).unwrap();
        modified(source.path(), time);
        let error = source.check().unwrap_err();
        assert!(error.to_string().contains("some of its bytes differ"), "{error}");
        fs::write(source.path(), vec![7; 3_000_000]).unwrap();
        modified(source.path(), time);
        source.check().unwrap();
        // Long ago, or in the future: it is known until there is another one.
        for changed_at in [1_000_000_000_000_000_000, i64::MAX] {
            source.compare(changed_at).unwrap();
            assert_eq!(source.compared_at.load(Ordering::Relaxed), changed_at);
        }
    }
}
