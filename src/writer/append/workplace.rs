//! The directory within a store in which everything new is prepared.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::format::Manifest;
use crate::format::names::is_left_by_append;
use crate::writer::error::WriteError;
use crate::writer::lock::StoreLock;
use crate::writer::paths::absolute;
use crate::writer::stripe::{belongs_to, directories_of, is_shard};
use cellring_core::unfinished::{self, Unfinished};

/// The directory within the store in which everything new is prepared.
pub(in crate::writer) const WORK_DIRECTORY: &str = ".append";

/// Where the store is, and what is under way there. Dropped, it removes what did not become a part of the store.
#[derive(Debug)]
pub(super) struct Workplace {
    pub(super) path: PathBuf,
    pub(super) work: PathBuf,
    /// Directories of the store's shards, where these lie elsewhere.
    pub(super) stripe: Vec<PathBuf>,
    /// Holds others off while it is open.
    _lock: StoreLock,
    pub(super) unfinished: Unfinished,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.work);
        remove_shards_without_link(&self.path, &self.stripe);
    }
}

impl Workplace {
    /// Makes the directory, after removing what a killed process left in the store.
    pub(super) fn create(path: &Path, manifest: &Manifest, lock: StoreLock) -> Result<Self, Error> {
        let owner = absolute(path).map_err(WriteError::io(path))?;
        // Those of a store that was moved or copied are left alone, and new shards lie in the store itself.
        let directories = || {
            let mut directories = directories_of(path);
            directories.retain(|directory| belongs_to(directory, &owner));
            directories
        };
        remove_remains(path, manifest, &directories());
        // Without what was removed, which would change their order.
        let stripe = directories();
        let work = path.join(WORK_DIRECTORY);
        let remove = {
            let (path, work, stripe) = (path.to_path_buf(), work.clone(), stripe.clone());
            move || {
                // Other threads may still write there.
                while fs::remove_dir_all(&work)
                    .is_err_and(|error| error.kind() == ErrorKind::DirectoryNotEmpty)
                {}
                remove_shards_without_link(&path, &stripe);
            }
        };
        let making = unfinished::begin().map_err(WriteError::io(&work))?;
        fs::create_dir(&work).map_err(WriteError::io(&work))?;
        let unfinished = making.register(remove);
        Ok(Self {
            path: path.to_path_buf(),
            work,
            stripe,
            _lock: lock,
            unfinished,
        })
    }

    /// Moves a file from where it was prepared into the store.
    pub(super) fn take_over(&self, file: &str) -> Result<(), Error> {
        let to = self.path.join(file);
        Ok(fs::rename(self.work.join(file), &to).map_err(WriteError::io(&to))?)
    }
}

/// Removes what a killed process left in the store: files that are called as ours are, and that the manifest does not name.
fn remove_remains(path: &Path, manifest: &Manifest, stripe: &[PathBuf]) {
    let _ = fs::remove_dir_all(path.join(WORK_DIRECTORY));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let own = [&manifest.index.file, &manifest.obs.file, &manifest.var.file];
        let mut named = own
            .into_iter()
            .chain(manifest.shards.iter().map(|shard| &shard.file));
        let is_named = named.any(|file| file.as_str() == name);
        if is_left_by_append(&name, 0) && !is_named {
            let _ = fs::remove_file(entry.path());
        }
    }
    remove_shards_without_link(path, stripe);
}

/// Removes shards from the store's directories elsewhere that the store does not link to.
fn remove_shards_without_link(path: &Path, stripe: &[PathBuf]) {
    for directory in stripe {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let link = fs::read_link(path.join(entry.file_name())).ok();
            if is_shard(&entry.file_name()) && link.is_none_or(|link| link != entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
