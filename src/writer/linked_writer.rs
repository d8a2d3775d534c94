//! Writes a linked store: the tables, and where in their files the values are.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::complete::write_manifest;
use super::error::WriteError;
use super::linked_index::write_index;
use super::linked_source::SourceMatrix;
use super::publish::Staging;
use super::table::{TableKind, Tables};
use crate::Error;
use crate::format::Manifest;
use crate::format::constants::{MATRICES_DIRECTORY, matrix_directory};
use crate::format::file::{Links, open};
use crate::format::linked::{LinkedFile, Piece};
use crate::format::manifest::MatrixEntry;
use crate::linked::LinkedError;
use crate::linked::identity::{Stamp, fingerprint, pieces};
use crate::store::Store;

/// A file that was modified within this time may be modified again without its time telling: the clock of filesystems ticks in
/// milliseconds.
const SETTLED: Duration = Duration::from_secs(2);

/// Pieces of all files together, about, each of which takes 12 bytes of the index; and those of each file that are kept at least.
const MOST_PIECES: usize = 1 << 20;
const LEAST_PIECES: usize = 16;

/// Writes one linked store.
#[derive(Debug)]
pub struct LinkedWriter {
    staging: Staging,
    root: PathBuf,
    /// Number of inputs, and whether rows have checksums, the same for every matrix.
    alike: Option<(usize, bool)>,
    files: Vec<(PathBuf, LinkedFile)>,
    tables: Tables,
    matrix: Option<Manifest>,
    name: Option<String>,
    matrices: Vec<MatrixEntry>,
}

impl LinkedWriter {
    /// Begins a store that will be published as `path`. The files that it leads to are below `root`, where those that read it have to
    /// look for them: by default the directory that the store is in.
    ///
    /// # Errors
    /// If `path` exists (and is not to be replaced) or cannot be written, or there is no `root`.
    pub fn create(path: &Path, root: &Path, replace: bool) -> Result<Self, Error> {
        let root = root.canonicalize().map_err(WriteError::io(root))?;
        Ok(Self {
            staging: Staging::create(path, replace, &[], None)?,
            root,
            alike: None,
            files: Vec::new(),
            tables: Tables::default(),
            matrix: None,
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Adds a file, and gives its number. `watched`: the bytes that say where values are, such as the index of chunks and the starts of
    /// rows, which are compared whenever the file is; of many of them only samples, as many as 1,024 (of 10,000 files or more fewer).
    /// `n_files`: how many files there will be, about.
    ///
    /// # Errors
    /// If it cannot be read, or is not below the root.
    pub fn add_file(&mut self, path: &Path, watched: &[Range<u64>], n_files: usize) -> Result<u32, Error> {
        let most = MOST_PIECES / n_files.max(1);
        let watched = |bytes| pieces(watched, bytes, most.max(LEAST_PIECES));
        let file = look_at(path, &self.root, self.staging.target(), watched)?;
        self.files.push(file);
        Ok(self.files.len() as u32 - 1)
    }

    /// Writes a table from its batches: 65,536 rows each, fewer only in the last.
    ///
    /// # Errors
    /// If a batch is an error, or writing fails.
    pub fn write_table<E: From<Error>>(
        &mut self,
        kind: TableKind,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        self.tables.write(self.staging.path(), kind, schema, batches)
    }

    /// Says where the matrix of the store is. Its table of columns has been written.
    ///
    /// # Errors
    /// If it is of types or a length that a linked store cannot lead to, or writing fails. Whether the places are right shows when they are
    /// read.
    ///
    /// # Panics
    /// If a table was not written, the matrix has no input, or another number of them than the matrix that was said first, or only one of
    /// the two has checksums, or the checksums are not one for each row.
    pub fn set_matrix(&mut self, matrix: &SourceMatrix) -> Result<(), Error> {
        let (Some(obs), Some(var)) = (&self.tables.obs, &self.tables.var) else {
            panic!("both tables are written before the matrix");
        };
        let own = (matrix.inputs.len(), matrix.checksums.is_some());
        let first = *self.alike.get_or_insert(own);
        assert!(own.0 > 0 && own == first, "inputs of the store, and checksums");
        let files = self.files.iter().map(|(_, file)| file.clone()).collect();
        let directory = self.staging.path();
        self.matrix = Some(write_index(directory, matrix, files, obs, var)?);
        Ok(())
    }

    /// Says what the matrix of the store is called in AnnData; for a store with other ones.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Begins another matrix of the same obs, which is in the same files. It is begun after the place of the first was said.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn begin_matrix(&self) -> Result<Self, Error> {
        let parent = self.staging.path().join(MATRICES_DIRECTORY);
        fs::create_dir_all(&parent).map_err(WriteError::io(&parent))?;
        let path = self.staging.path().join(matrix_directory(self.matrices.len()));
        Ok(Self {
            staging: Staging::create(&path, false, &[], Some(self.staging.owner()))?,
            root: self.root.clone(),
            alike: self.alike,
            files: self.files.clone(),
            tables: self.tables.of_other_matrix(),
            matrix: None,
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Completes another matrix, which will be known by `name`: its path in AnnData, such as `layers/counts`.
    ///
    /// # Errors
    /// If it cannot be published.
    ///
    /// # Panics
    /// If its place was not said.
    pub fn add_matrix(&mut self, name: &str, matrix: Self) -> Result<(), Error> {
        let Some(manifest) = matrix.matrix else {
            panic!("a matrix has a place")
        };
        matrix.staging.publish()?;
        let entry = MatrixEntry::new(name.to_owned(), self.matrices.len(), manifest);
        self.matrices.push(entry);
        Ok(())
    }

    /// Completes the store, opens it as its readers will, and gives it its name. It waits until the files have been left alone for two
    /// seconds.
    ///
    /// # Errors
    /// If a file has changed since it was added, or the store does not open, or cannot be renamed. Nothing is left under the final name
    /// then.
    ///
    /// # Panics
    /// If the place of the matrix was not said.
    pub fn finish(mut self) -> Result<Manifest, Error> {
        let Some(mut manifest) = self.matrix.take() else {
            panic!("a store has a matrix")
        };
        (manifest.name, manifest.matrices) = (self.name.take(), std::mem::take(&mut self.matrices));
        publish(self.staging, &manifest, &self.root, &self.files)?;
        Ok(manifest)
    }
}

/// What an index says of a file, and where that is without links on the way. `pieces`: those of a file of such a length.
///
/// # Errors
/// As [`LinkedWriter::add_file`].
pub(super) fn look_at(
    path: &Path,
    root: &Path,
    store: &Path,
    pieces: impl FnOnce(u64) -> Vec<Piece>,
) -> Result<(PathBuf, LinkedFile), Error> {
    let failed = |error| LinkedError::Io {
        file: path.to_path_buf(),
        store: store.to_path_buf(),
        error: cellring_core::explain(path, error),
    };
    let real = path.canonicalize().map_err(failed)?;
    let Ok(relative) = real.strip_prefix(root) else {
        return Err(LinkedError::Outside {
            file: real,
            store: store.to_path_buf(),
            root: root.to_path_buf(),
        }
        .into());
    };
    let relative = relative
        .to_str()
        .ok_or_else(|| WriteError::Option(format!("{}: its path is not UTF-8; rename it", real.display())))?;
    let file = open(&real, Links::Refused).map_err(failed)?;
    let stamp = Stamp::of(&file).map_err(failed)?;
    let pieces = pieces(stamp.bytes);
    let linked = LinkedFile {
        path: relative.to_owned(),
        bytes: stamp.bytes,
        modified: stamp.modified,
        fingerprint: fingerprint(&file, stamp.bytes, &pieces).map_err(failed)?,
        pieces,
    };
    Ok((real, linked))
}

/// Writes the manifest, opens the store as its readers will, and gives it its name. It waits until the files have been left alone for two
/// seconds.
///
/// # Errors
/// If the store does not open, a file has changed since it was looked at, or the store cannot be renamed. Nothing is published then.
pub(super) fn publish(
    staging: Staging,
    manifest: &Manifest,
    root: &Path,
    files: &[(PathBuf, LinkedFile)],
) -> Result<(), Error> {
    check_files(staging.target(), files)?;
    write_manifest(staging.path(), manifest)?;
    if let Err(error) = Store::open_below(staging.path(), root) {
        // Messages are about the name that it was to have.
        let [temporary, target] = [staging.path(), staging.target()].map(|path| path.display().to_string());
        let message = error.to_string().replace(&temporary, &target);
        return Err(WriteError::Option(message).into());
    }
    check_files(staging.target(), files)?;
    staging.publish()
}

fn check_files(store: &Path, files: &[(PathBuf, LinkedFile)]) -> Result<(), Error> {
    for (path, linked) in files {
        let failed = |error| LinkedError::Io {
            file: path.clone(),
            store: store.to_path_buf(),
            error,
        };
        let file = open(path, Links::Refused).map_err(failed)?;
        settle(
            file.metadata()
                .and_then(|found| found.modified())
                .map_err(failed)?,
        );
        if let Some(what) = Stamp::of(&file).map_err(failed)?.difference(linked) {
            return Err(LinkedError::Changed {
                file: path.clone(),
                store: store.to_path_buf(),
                what,
            }
            .into());
        }
    }
    Ok(())
}

/// Waits until two seconds have passed since a file was modified: before it is looked at, so that what is written to it later has
/// another time.
#[allow(
    clippy::disallowed_methods,
    reason = "what is waited for is that time passes without a change"
)]
pub fn settle(modified: SystemTime) {
    // A file from the future cannot be waited for.
    let age = modified.elapsed().unwrap_or(SETTLED);
    std::thread::sleep(SETTLED.saturating_sub(age));
}
