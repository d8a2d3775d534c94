//! Writes a linked store: the tables, and where in the file that they come from the values lie.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::complete::{WrittenTable, write_manifest};
use super::error::WriteError;
use super::publish::Staging;
use super::spool::write_header;
use super::table::{TableKind, write_table};
use crate::Error;
use crate::format::checksum::HashingWriter;
use crate::format::constants::{
    DEFAULT_ALIGNMENT, INDEX_FILE, INDEX_HEADER_BYTES, LINKED_FEATURE, MATRICES_DIRECTORY, SECTION_ALIGNMENT,
    VERSION, matrix_directory,
};
use crate::format::file::{FileName, Links, open};
use crate::format::linked::{
    Chunk, Description, Extent, GROUP_OBS, LinkedArray, LinkedFile, LinkedLayout, Run, Shape, count_bytes,
};
use crate::format::linked_id::identifying;
use crate::format::manifest::{FileEntry, MatrixEntry, id_text};
use crate::format::{Encoding, Manifest, ValueType, VarOrder};
use crate::linked::LinkedError;
use crate::linked::array::most_stored_bytes;
use crate::linked::identity::{Stamp, fingerprint};
use crate::store::Store;

/// A file that was modified within this time may be modified again without its time telling: the clock of filesystems ticks in
/// milliseconds.
const SETTLED: Duration = Duration::from_secs(2);

/// Elements of an array that lie in a file as they are, up to where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRun {
    /// The first of them, of those of the array.
    pub first: u64,
    /// Where it is in the file, in bytes.
    pub offset_bytes: u64,
    /// The file, as [`LinkedWriter::add_file`] numbers it.
    pub file: u32,
}

/// A chunk of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceChunk {
    /// Where it is in the file, in bytes.
    pub offset_bytes: u64,
    /// Its length there; 0 if it was never written.
    pub stored_bytes: u32,
    /// The file, as [`LinkedWriter::add_file`] numbers it.
    pub file: u32,
    /// Bit i: filter i was not applied to it.
    pub filter_mask: u32,
}

/// How an array is in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLayout {
    /// Elements as they are: runs of them, which ascend.
    Runs(Vec<SourceRun>),
    /// Chunks, in order, to which filters were applied.
    Chunks {
        /// Elements of each.
        elements: u64,
        /// One for each such piece of the array.
        chunks: Vec<SourceChunk>,
    },
    /// Chunks of the values of a dense matrix, row of them after row, to which filters were applied. Those at the ends are as large as the
    /// others.
    Tiles {
        /// Rows of each.
        rows: u64,
        /// Columns of each.
        columns: u64,
        /// One for each of them.
        chunks: Vec<SourceChunk>,
    },
}

/// One of the two arrays of a sparse matrix: the columns of its values, or the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceArray {
    /// Its path in the source, for messages.
    pub path: String,
    /// Type of its elements.
    pub value_type: ValueType,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Where they lie.
    pub layout: SourceLayout,
    /// The filters of its chunks, in the order in which they were applied: the number of each in the registry of the HDF Group, and its
    /// parameters.
    pub filters: Vec<(u16, Vec<u32>)>,
    /// The element that chunks consist of that were never written, as it would be stored, from the first byte on.
    pub fill: [u8; 8],
}

/// A matrix that is by rows in files.
#[derive(Clone, Debug)]
pub struct SourceMatrix {
    /// Number of columns.
    pub n_vars: u64,
    /// The columns of the values, of obs after obs. `None`: every obs has a value in every column, as in a dense matrix.
    pub indices: Option<SourceArray>,
    /// The values.
    pub data: SourceArray,
    /// Number of values of each obs.
    pub counts: Vec<u32>,
    /// What the manifest says of the source.
    pub source: serde_json::Value,
}

/// Writes one linked store.
#[derive(Debug)]
pub struct LinkedWriter {
    staging: Staging,
    root: PathBuf,
    files: Vec<(PathBuf, LinkedFile)>,
    obs: Option<WrittenTable>,
    var: Option<WrittenTable>,
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
            files: Vec::new(),
            obs: None,
            var: None,
            matrix: None,
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Adds a file, and gives its number.
    ///
    /// # Errors
    /// If it cannot be read, is not below the root, or is open in a program that writes to it.
    pub fn add_file(&mut self, path: &Path) -> Result<u32, Error> {
        let file = look_at(path, &self.root, self.staging.target())?;
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
        let written = Some(write_table(
            &self.staging.path().join(kind.file()),
            schema,
            batches,
        )?);
        match kind {
            TableKind::Obs => self.obs = written,
            TableKind::Var => self.var = written,
        }
        Ok(())
    }

    /// Says where the matrix of the store is. Its table of columns has been written.
    ///
    /// # Errors
    /// If it is of types or a length that a linked store cannot lead to, or writing fails. Whether the places are right shows when they are
    /// read.
    ///
    /// # Panics
    /// If a table was not written.
    pub fn set_matrix(&mut self, matrix: &SourceMatrix) -> Result<(), Error> {
        let (Some(obs), Some(var)) = (&self.obs, &self.var) else {
            panic!("both tables are written before the matrix");
        };
        let files = self.files.iter().map(|(_, file)| file.clone()).collect();
        self.matrix = Some(write_index(self.staging.path(), matrix, files, obs, var)?);
        Ok(())
    }

    /// Says what the matrix of the store is called in AnnData; for a store with further ones.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Begins a further matrix of the same obs, which is in the same files.
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
            files: self.files.clone(),
            obs: self.obs.clone(),
            var: None,
            matrix: None,
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Completes a further matrix, which will be known by `name`: its path in AnnData, such as `layers/counts`.
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

/// What an index says of a file, and where that is without links on the way.
///
/// # Errors
/// As [`LinkedWriter::add_file`].
pub(super) fn look_at(path: &Path, root: &Path, store: &Path) -> Result<(PathBuf, LinkedFile), Error> {
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
    // HDF5 holds such a lock on what it has open for writing. Filesystems without locks say so, and that is no reason not to link.
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock_shared() {
        let message = format!(
            "{}: a program has it open for writing; link it when that is done",
            real.display()
        );
        return Err(WriteError::Option(message).into());
    }
    let stamp = Stamp::of(&file).map_err(failed)?;
    let linked = LinkedFile {
        path: relative.to_owned(),
        bytes: stamp.bytes,
        modified: stamp.modified,
        fingerprint: fingerprint(&file, stamp.bytes).map_err(failed)?,
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

/// Writes the index into `directory`, and gives the manifest of the matrix.
fn write_index(
    directory: &Path,
    matrix: &SourceMatrix,
    files: Vec<LinkedFile>,
    obs: &WrittenTable,
    var: &WrittenTable,
) -> Result<Manifest, Error> {
    assert_eq!(
        (obs.n_rows, var.n_rows),
        (matrix.counts.len() as u64, matrix.n_vars),
        "rows of the tables"
    );
    let description = Description {
        files,
        arrays: [
            matrix.indices.as_ref().map_or_else(implied, described),
            described(&matrix.data),
        ],
    };
    description.check().map_err(WriteError::Option)?;
    let mut arrays = matrix.indices.iter().chain([&matrix.data]);
    arrays.try_for_each(check_stored)?;
    let nnz = matrix.counts.iter().map(|&count| u64::from(count)).sum();
    let max_obs_nnz = matrix.counts.iter().copied().max().unwrap_or(0);
    if u64::from(max_obs_nnz) > matrix.n_vars {
        let message = format!(
            "an obs has {max_obs_nnz} values in {} columns, so that some are of the same column; convert the file instead",
            matrix.n_vars
        );
        return Err(WriteError::Option(message).into());
    }
    let n_extents = [0, 1].map(|k: usize| description.arrays[k].n_extents);
    let layout = u32::try_from(description.to_bytes().len())
        .ok()
        .and_then(|bytes| {
            let counts = matrix.counts.len() as u64;
            LinkedLayout::new(counts, nnz, count_bytes(max_obs_nnz), bytes, n_extents)
        });
    let layout = layout.ok_or_else(|| {
        WriteError::Option("the index would be longer than a file can be; link fewer files".to_owned())
    })?;
    let path = directory.join(INDEX_FILE);
    let sections = write_sections(&path, &layout, &description, matrix).map_err(WriteError::io(&path))?;
    let mut manifest = Manifest {
        format: "cellring".into(),
        version: VERSION,
        features: vec![LINKED_FEATURE.to_owned()],
        store_id: String::new(),
        n_obs: layout.n_obs,
        n_vars: matrix.n_vars,
        nnz,
        encoding: Encoding::Linked,
        value_type: matrix.data.value_type,
        raw_value_type: None,
        // Whoever reads a value that an f32 rounds, and does not want that, finds it.
        f32_exact: true,
        block_size: GROUP_OBS as u32,
        alignment: DEFAULT_ALIGNMENT,
        max_obs_nnz,
        max_obs_bytes: 0,
        var_order: VarOrder::Source,
        shards: Vec::new(),
        index: FileEntry {
            file: FileName::own(INDEX_FILE),
            bytes: layout.file_bytes,
            crc32c: [].into(),
        },
        obs: obs.entry.clone(),
        var: var.entry.clone(),
        name: None,
        matrices: Vec::new(),
        source: matrix.source.clone(),
    };
    let store_id = manifest.id_of_content(sections, obs.crc, var.crc);
    manifest.store_id = id_text(store_id);
    manifest.index.crc32c = write_header(&path, &layout.header(store_id))?.into();
    Ok(manifest)
}

/// Whether a reader would take the chunks of an array.
fn check_stored(array: &SourceArray) -> Result<(), WriteError> {
    let (elements, chunks) = match &array.layout {
        SourceLayout::Runs(_) => return Ok(()),
        SourceLayout::Chunks { elements, chunks } => (*elements, chunks),
        SourceLayout::Tiles {
            rows,
            columns,
            chunks,
        } => (rows.saturating_mul(*columns), chunks),
    };
    let most = most_stored_bytes(elements.saturating_mul(array.value_type.size_bytes() as u64));
    match chunks
        .iter()
        .position(|chunk| u64::from(chunk.stored_bytes) > most)
    {
        None => Ok(()),
        Some(number) => Err(WriteError::Option(format!(
            "chunk {number} of {} takes {} bytes in its file, expected at most {most}; convert the file instead",
            array.path, chunks[number].stored_bytes
        ))),
    }
}

/// The columns of a dense matrix.
fn implied() -> LinkedArray {
    LinkedArray {
        path: String::new(),
        value_type: ValueType::U32,
        big_endian: false,
        shape: Shape::Implied,
        n_extents: 0,
        filters: Vec::new(),
        fill: [0; 8],
    }
}

fn described(array: &SourceArray) -> LinkedArray {
    let (shape, n_extents) = match &array.layout {
        SourceLayout::Runs(runs) => (Shape::Runs, runs.len()),
        SourceLayout::Chunks { elements, chunks } => (Shape::Chunks { elements: *elements }, chunks.len()),
        SourceLayout::Tiles {
            rows,
            columns,
            chunks,
        } => {
            let (rows, columns) = (*rows, *columns);
            (Shape::Tiles { rows, columns }, chunks.len())
        }
    };
    let filter = |(id, words): &(u16, Vec<u32>)| cellring_filters::Filter {
        id: *id,
        name: None,
        client_data: words.clone(),
    };
    LinkedArray {
        path: array.path.clone(),
        value_type: array.value_type,
        big_endian: array.big_endian,
        shape,
        n_extents: n_extents as u64,
        filters: array.filters.iter().map(filter).collect(),
        fill: array.fill,
    }
}

/// Writes everything but the header, and gives the checksum of what the store id is made of.
fn write_sections(
    path: &Path,
    layout: &LinkedLayout,
    description: &Description,
    matrix: &SourceMatrix,
) -> io::Result<u32> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    file.write_all(&[0; INDEX_HEADER_BYTES])?;
    let gaps = layout.gaps();
    let padding = |gap: usize| &[0; SECTION_ALIGNMENT][..(gaps[gap].1 - gaps[gap].0) as usize];
    file.write_all(&description.to_bytes())?;
    file.write_all(padding(0))?;
    let mut out = HashingWriter::after(&identifying(description), file);
    let mut start = 0u64;
    for group in matrix.counts.chunks(GROUP_OBS as usize) {
        out.write_all(&start.to_le_bytes())?;
        start += group.iter().map(|&count| u64::from(count)).sum::<u64>();
    }
    out.write_all(padding(1))?;
    for count in &matrix.counts {
        out.write_all(&count.to_le_bytes()[..layout.count_bytes as usize])?;
    }
    out.write_all(padding(2))?;
    if let Some(indices) = &matrix.indices {
        write_extents(&indices.layout, &mut out)?;
    }
    out.write_all(padding(3))?;
    write_extents(&matrix.data.layout, &mut out)?;
    let (mut file, hasher) = out.into_parts();
    file.flush()?;
    Ok(hasher.whole())
}

fn write_extents(layout: &SourceLayout, out: &mut impl Write) -> io::Result<()> {
    match layout {
        SourceLayout::Runs(runs) => runs.iter().try_for_each(|run| {
            let run = Run {
                first: run.first,
                offset_bytes: run.offset_bytes,
                file: run.file,
            };
            out.write_all(&run.to_bytes())
        }),
        SourceLayout::Chunks { chunks, .. } | SourceLayout::Tiles { chunks, .. } => {
            chunks.iter().try_for_each(|chunk| {
                let chunk = Chunk {
                    offset_bytes: chunk.offset_bytes,
                    stored_bytes: chunk.stored_bytes,
                    file: chunk.file,
                    filter_mask: chunk.filter_mask,
                };
                out.write_all(&chunk.to_bytes())
            })
        }
    }
}
