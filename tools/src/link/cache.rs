//! Stores that are linked on the way, when a command or a program is given the file itself.
//!
//! They are in a directory of the user's cache, and are thrown away when they are old: whoever wants to keep one links it by name.

use std::fs::{self, DirBuilder, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::slice;
use std::time::SystemTime;

use cellring::__internal::{Cause, is_abandoned};
use cellring::writer::WriteError;
use cellring::{ErrorKind, Store};
use cellring_anndata::InputStamp;
use xxhash_rust::xxh3::Xxh3;

use super::linking::{LinkOptions, link};
use crate::convert::ConvertError;

/// How an HDF5 file begins, after its user block, if it has one.
const HDF5: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
/// How a zip file begins.
const ZIP: [u8; 4] = *b"PK\x03\x04";
/// One of these is in the directory of a zarr.
const ZARR_ROOTS: [&str; 2] = ["zarr.json", ".zgroup"];
/// Stores that are kept.
const MAX_STORES: usize = 32;
/// Bytes that they may have together, but for the newest.
const MAX_BYTES: u64 = 8 << 30;
/// Bytes of the name of the file that are in that of its store.
const MAX_STEM_BYTES: usize = 80;

/// A store, however it was named.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where it was linked, if the path was that of a file.
    pub cached: Option<PathBuf>,
}

/// Opens a store; or the file itself, which is linked for it, if that was not done before.
///
/// `source_root`: below which the files are that a linked store leads to; `None`: the directory that it is in.
///
/// # Errors
/// As [`Store::open`] and [`link`].
pub fn open(path: &Path, source_root: Option<&Path>) -> Result<Opened, ConvertError> {
    match Place::of(path)? {
        None => open_store(path, source_root),
        Some(place) => {
            // What is there is opened without writing anything: the cache may be one that only others can write to.
            let store = match place.existing()? {
                Some(store) => store,
                None => place.made()?,
            };
            Ok(place.opened(store))
        }
    }
}

/// As [`open`], but does not link: `None` if the path is that of a file that has not been linked since it changed.
///
/// # Errors
/// As [`Store::open`].
pub fn open_existing(path: &Path, source_root: Option<&Path>) -> Result<Option<Opened>, ConvertError> {
    match Place::of(path)? {
        None => open_store(path, source_root).map(Some),
        Some(place) => Ok(place.existing()?.map(|store| place.opened(store))),
    }
}

fn open_store(path: &Path, source_root: Option<&Path>) -> Result<Opened, ConvertError> {
    let store = match source_root {
        Some(root) => Store::open_below(path, root)?,
        None => Store::open(path)?,
    };
    Ok(Opened { store, cached: None })
}

/// A file, and where its store is in the cache.
struct Place {
    file: PathBuf,
    directory: PathBuf,
    cached: PathBuf,
}

impl Place {
    /// `None`: the path is not that of a file that could be linked.
    fn of(path: &Path) -> Result<Option<Self>, ConvertError> {
        if !is_input(path) {
            return Ok(None);
        }
        let file = path.canonicalize().map_err(|error| ConvertError::Cache {
            path: path.to_path_buf(),
            error,
        })?;
        let directory = directory().ok_or_else(|| ConvertError::NoCache {
            file: path.to_path_buf(),
        })?;
        let cached = directory.join(name(&file)?);
        Ok(Some(Self {
            file,
            directory,
            cached,
        }))
    }

    /// The directory that the file is below.
    fn root(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    fn opened(self, store: Store) -> Opened {
        Opened {
            store,
            cached: Some(self.cached),
        }
    }

    /// The store; `None` if there is none, or it has to be made again.
    fn existing(&self) -> Result<Option<Store>, ConvertError> {
        use ErrorKind::{Changed, Damaged, NotAStore, Version};
        if self.cached.symlink_metadata().is_err() {
            return Ok(None);
        }
        match Store::open_below(&self.cached, self.root()) {
            Ok(store) => Ok(Some(store)),
            Err(error) if matches!(error.kind(), Damaged | Changed | NotAStore | Version) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the store, unless another process has done so meanwhile.
    fn made(&self) -> Result<Store, ConvertError> {
        let failed = |error| ConvertError::Cache {
            path: self.directory.clone(),
            error,
        };
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(failed)?;
        // Processes that begin together link one after the other, and all but the first find it there.
        let turn = File::create(self.directory.join(".turn")).map_err(failed)?;
        turn.lock().map_err(failed)?;
        if let Some(store) = self.existing()? {
            return Ok(store);
        }
        let options = LinkOptions {
            source_root: Some(self.root().to_path_buf()),
            force: true,
            ..LinkOptions::default()
        };
        link(slice::from_ref(&self.file), &self.cached, &options, &|_, _| ())
            .map_err(|error| in_the_way(error, &self.cached, &self.file))?;
        prune(&self.directory, &self.cached);
        Ok(Store::open_below(&self.cached, self.root())?)
    }
}

/// Names what has the name of a store in the cache and cannot be replaced: another name would not help there.
fn in_the_way(error: ConvertError, cached: &Path, file: &Path) -> ConvertError {
    let is_in_the_way = |error: &cellring::Error| {
        matches!(
            error.cause(),
            Cause::Write(
                WriteError::Exists { .. }
                    | WriteError::NotReplaceable { .. }
                    | WriteError::NotRemovable { .. }
            )
        )
    };
    match error {
        ConvertError::Store(error) if is_in_the_way(&error) => ConvertError::InTheWay {
            path: cached.to_path_buf(),
            file: file.to_path_buf(),
        },
        error => error,
    }
}

/// Whether a path is that of an HDF5 file or of a zarr, in a directory or in a zip file: all else is a store, or wrong.
pub(crate) fn is_input(path: &Path) -> bool {
    if path.is_dir() {
        return ZARR_ROOTS.iter().any(|name| path.join(name).is_file());
    }
    let Some(metadata) = path.metadata().ok().filter(|found| found.is_file()) else {
        return false;
    };
    let Ok(file) = File::open(path) else {
        return false;
    };
    let starts_with = |at: u64, signature: &[u8]| {
        let mut found = vec![0; signature.len()];
        file.read_exact_at(&mut found, at).is_ok() && found == signature
    };
    // HDF5 begins after a user block of 512 bytes times a power of two, if there is one.
    let blocks = std::iter::successors(Some(512), |&bytes: &u64| bytes.checked_mul(2));
    let mut starts = std::iter::once(0).chain(blocks.take_while(|&at| at < metadata.len()));
    starts_with(0, &ZIP) || starts.any(|at| starts_with(at, &HDF5))
}

/// Where such stores are: `$XDG_CACHE_HOME/cellring`, by default `~/.cache/cellring`.
fn directory() -> Option<PathBuf> {
    let of = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(cache.join("cellring"))
}

/// The name of the store for an input as it is now: another one when it has changed.
fn name(file: &Path) -> Result<String, ConvertError> {
    let stamp = InputStamp::read(file)?;
    let mut hasher = Xxh3::new();
    for bytes in [file.as_os_str().as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()] {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    for number in stamp.numbers() {
        hasher.update(&number.to_le_bytes());
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut stem: String = stem.chars().filter(|c| !c.is_control()).collect();
    while stem.len() > MAX_STEM_BYTES {
        stem.pop();
    }
    Ok(format!(
        "{}-{:016x}.cellring",
        stem.trim_start_matches('.'),
        hasher.digest()
    ))
}

/// Removes the oldest stores where there are many, and what processes left that were killed while they linked. What cannot be removed stays.
fn prune(directory: &Path, newest: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_left = |name: &str| name.starts_with('.') && name.contains(".cellring.tmp-");
    let left = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_left));
    for path in left.map(|entry| entry.path()).filter(|path| is_abandoned(path)) {
        let _ = fs::remove_dir_all(path);
    }
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut stores: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_store = path.extension().is_some_and(|extension| extension == "cellring");
            let modified = path.metadata().ok()?.modified().ok()?;
            (is_store && path != newest).then(|| (modified, bytes_of(&path), path))
        })
        .collect();
    stores.sort_by_key(|store| std::cmp::Reverse(store.0));
    let mut total = 0;
    for (number, (_, bytes, path)) in stores.into_iter().enumerate() {
        total += bytes;
        if number + 1 >= MAX_STORES || total > MAX_BYTES {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn bytes_of(store: &Path) -> u64 {
    let entries = fs::read_dir(store).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Makes something like a store of a file of so many bytes, without any of them, that was written so many days ago.
    fn store(directory: &Path, name: &str, bytes: u64, days: u64) -> PathBuf {
        let store = directory.join(name);
        fs::create_dir(&store).unwrap();
        File::create(store.join("index.bin"))
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let then = SystemTime::now() - Duration::from_secs(days * 86_400);
        File::open(&store).unwrap().set_modified(then).unwrap();
        store
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_cache_holds_few_stores() {
        let directory = tempfile::tempdir().unwrap();
        let named = |n: u64| format!("{n:02}.cellring");
        // What is not a store in the cache is left alone.
        fs::create_dir(directory.path().join("something")).unwrap();
        // The one that was just made is kept, whatever its time.
        let newest = store(directory.path(), &named(99), 1, 100);
        for n in 1..=40 {
            store(directory.path(), &named(n), 1, n);
        }
        prune(directory.path(), &newest);
        let mut expected: Vec<String> = (1..MAX_STORES as u64).map(named).collect();
        expected.extend([named(99), "something".to_owned()]);
        assert_eq!(names(directory.path()), expected);
    }

    #[test]
    fn the_cache_holds_few_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let newest = store(directory.path(), "new.cellring", MAX_BYTES, 0);
        for (name, days) in [("b.cellring", 2), ("a.cellring", 1), ("c.cellring", 3)] {
            store(directory.path(), name, MAX_BYTES / 2, days);
        }
        prune(directory.path(), &newest);
        assert_eq!(
            names(directory.path()),
            ["a.cellring", "b.cellring", "new.cellring"]
        );
    }
}
