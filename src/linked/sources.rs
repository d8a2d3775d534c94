//! Opens the files that a linked store leads to, and looks whether they are what they were.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

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
}

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
    let open = |files: &[LinkedFile]| {
        let files = files.iter();
        files
            .map(|linked| SourceFile::open(store, root, linked))
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
        };
        source.check()?;
        let found = fingerprint(&source.file, linked.bytes).map_err(failed)?;
        if found != linked.fingerprint {
            return Err(source.changed("some of its bytes differ".to_owned()));
        }
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

    /// Whether the open file is what it was: compares length and modification time only.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self) -> Result<(), LinkedError> {
        let stamp = Stamp::of(&self.file).map_err(|error| self.failed(error))?;
        match stamp.difference(&self.linked) {
            None => Ok(()),
            Some(what) => Err(self.changed(what)),
        }
    }

    /// Whether the file of this name is the open one: for whoever has opened it by its name since.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check_name(&self) -> Result<(), LinkedError> {
        let at_name = self.path.metadata().map_err(|error| self.failed(error))?;
        let own = self.file.metadata().map_err(|error| self.failed(error))?;
        match (at_name.dev(), at_name.ino()) == (own.dev(), own.ino()) {
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
