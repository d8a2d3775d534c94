//! Opens stores: checks what can be checked without reading cells.

mod link_targets;
mod not_a_store;
mod padding;
mod rows;
mod verify;
mod verify_linked;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[doc(hidden)]
pub use link_targets::LinkTargets;
pub(crate) use link_targets::LinkedIndex;
pub use verify::{VerifyReport, verify};

use crate::Error;
use crate::format::column::text_at;
use crate::format::constants::{MANIFEST_FILE, MAX_MANIFEST_BYTES, ROLE_SOURCE_POSITION};
use crate::format::file::{Links, open, read_whole};
use crate::format::lazy::Lazy;
use crate::format::manifest::MatrixEntry;
use crate::format::table::Table;
use crate::format::{FormatError, Index, Manifest, shard};
use crate::linked::{FileId, Link, LinkedError};
use arrow_array::Array;

/// How often a store may change while it is being opened.
const MAX_REPLACED: usize = 8;

/// Whether the shards of a store have their headers already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headers {
    Written,
    Unwritten,
}

/// An open store. No cell data is read by opening it.
///
/// ```no_run
/// let store = cellring::Store::open("atlas.cellring")?;
/// println!("{} cells x {} genes", store.manifest().n_obs, store.manifest().n_vars);
/// # Ok::<(), cellring::Error>(())
/// ```
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    manifest: Manifest,
    manifest_bytes: u64,
    content: Content,
    /// The shards, as they were when the store was opened.
    shards: Vec<FileId>,
    obs: Arc<Table>,
    var: Table,
    matrices: Vec<Arc<Store>>,
}

/// Where the values are.
#[derive(Debug)]
enum Content {
    /// In blocks, in the shards of the store.
    Blocks(Index),
    /// In the file that they come from.
    Linked(Box<Link>),
}

impl Store {
    /// Opens the store at `path`.
    ///
    /// What is open stays as it is when obs are appended to the store: open the store again to see them. The files that a linked store
    /// leads to are below the directory that it is in.
    ///
    /// # Errors
    /// If it is not a whole store; the message names the file and what is wrong with it: no store, a newer version, a file that is missing
    /// or has another length, a damaged manifest or header. Of a linked store also if a file that it leads to is missing, or is not what it
    /// was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        // A link to the store is somewhere else. A path that leads nowhere is named when it is opened.
        let parent = path.canonicalize().ok();
        let parent = parent.as_deref().and_then(Path::parent).unwrap_or(path);
        Self::open_below(path, parent)
    }

    /// As [`open`](Self::open), but the files that a linked store leads to are below `source_root`: nothing elsewhere is opened. It was
    /// named when the store was made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_below(path: impl AsRef<Path>, source_root: impl AsRef<Path>) -> Result<Self, Error> {
        let (path, root) = (path.as_ref(), source_root.as_ref());
        let mut bytes = read_manifest(path)?;
        for _ in 0..MAX_REPLACED {
            let opened = Self::open_files(path, &bytes, Headers::Written, root);
            if opened.is_ok() {
                return opened;
            }
            // Obs may have been appended meanwhile, and files that the old manifest names be gone.
            match read_manifest(path) {
                Ok(now) if now != bytes => bytes = now,
                _ => return opened,
            }
        }
        Self::open_files(path, &bytes, Headers::Written, root)
    }

    /// Opens a store that no other process sees, and that is complete but for the headers of its shards.
    pub(crate) fn open_unfinished(path: &Path) -> Result<Self, Error> {
        Self::open_files(path, &read_manifest(path)?, Headers::Unwritten, path)
    }

    fn open_files(path: &Path, manifest_bytes: &[u8], headers: Headers, root: &Path) -> Result<Self, Error> {
        let manifest = Manifest::from_bytes(manifest_bytes, &path.join(MANIFEST_FILE))?;
        let obs = Table::open(path.join(&manifest.obs.file), &manifest.obs, manifest.n_obs)?;
        let obs = obs.kept_open()?;
        let length = manifest_bytes.len() as u64;
        let mut store = Self::of_manifest(path, manifest, length, Arc::new(obs), headers, root)?;
        let open = |entry: &MatrixEntry| {
            let (path, manifest) = (path.join(&entry.directory), store.manifest.of_matrix(entry));
            Self::of_manifest(&path, manifest, 0, store.obs.clone(), headers, root).map(Arc::new)
        };
        store.matrices = store
            .manifest
            .matrices
            .iter()
            .map(open)
            .collect::<Result<_, _>>()?;
        Ok(store)
    }

    /// Opens what a manifest names.
    fn of_manifest(
        path: &Path,
        manifest: Manifest,
        manifest_bytes: u64,
        obs: Arc<Table>,
        headers: Headers,
        root: &Path,
    ) -> Result<Self, Error> {
        let shards = check_shards(path, &manifest, headers)?;
        let content = match manifest.is_linked() {
            true => Content::Linked(Box::new(Link::open(path, &manifest, root)?)),
            false => {
                let index = path.join(&manifest.index.file);
                let content = Lazy::open(&index, manifest.index.bytes)?;
                Content::Blocks(Index::new(content, index, &manifest)?)
            }
        };
        let var = Table::open(path.join(&manifest.var.file), &manifest.var, manifest.n_vars)?;
        let var = var.kept_open()?;
        Ok(Self {
            path: path.to_path_buf(),
            manifest,
            manifest_bytes,
            content,
            shards,
            obs,
            var,
            matrices: Vec::new(),
        })
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shape, encoding, files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The other matrices of the same obs, in order, each as a store with the same `obs`. A layer of AnnData has the genes
    /// of this one; `raw/X` has its own, and the columns of `obsm/NAME` are its dimensions.
    pub fn matrices(&self) -> &[Arc<Self>] {
        &self.matrices
    }

    /// What the matrix of this store is called in AnnData (`X`, `layers/counts`, `raw/X`, `obsm/X_pca`), where there are several.
    pub fn name(&self) -> Option<&str> {
        self.manifest.name.as_deref()
    }

    /// The other matrix of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn matrix(&self, name: &str) -> Result<&Arc<Self>, Error> {
        let found = self.matrices.iter().find(|matrix| matrix.name() == Some(name));
        Ok(found.ok_or_else(|| FormatError::NoMatrix {
            store: self.path.clone(),
            name: name.to_owned(),
            available: match self.matrices.len() {
                0 => "none".to_owned(),
                _ => self
                    .matrices
                    .iter()
                    .filter_map(|matrix| matrix.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        })?)
    }

    /// Where each obs is.
    ///
    /// # Panics
    /// If the store is linked.
    #[doc(hidden)]
    pub fn index(&self) -> &Index {
        match &self.content {
            Content::Blocks(index) => index,
            Content::Linked(_) => panic!("a linked store has no blocks"),
        }
    }

    /// Whether the values lie in the file that they come from, and not in this store.
    pub fn is_linked(&self) -> bool {
        self.link().is_some()
    }

    /// Values of each of the chunks that a linked store's values are compressed in: what is read and decoded together; of several
    /// inputs those of the longest chunks. `None` where they lie as they are, and of stores that hold their values.
    pub fn chunk_values(&self) -> Option<u64> {
        self.link()?.chunk_values()
    }

    /// The most bytes that a loader reads for one obs, or for one chunk of a linked store.
    #[doc(hidden)]
    pub fn longest_read_bytes(&self) -> u64 {
        match &self.content {
            Content::Blocks(_) => self.manifest.max_obs_bytes,
            Content::Linked(link) => link.longest_read(),
        }
    }

    /// The files that the values lie in, if the store is linked.
    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.content {
            Content::Blocks(_) => None,
            Content::Linked(link) => Some(link),
        }
    }

    /// Refuses what needs blocks.
    ///
    /// # Errors
    /// If the store is linked.
    #[doc(hidden)]
    pub fn require_blocks(&self, what: &'static str) -> Result<(), Error> {
        match self.is_linked() {
            false => Ok(()),
            true => Err(LinkedError::NoBlocks {
                store: self.path.clone(),
                what,
            }
            .into()),
        }
    }

    /// Number of values of an obs, as they are stored.
    ///
    /// # Errors
    /// If the index is damaged, or cannot be read.
    ///
    /// # Panics
    /// If there is no such obs.
    #[doc(hidden)]
    pub fn nnz_of(&self, obs: u64) -> Result<u32, Error> {
        Ok(match &self.content {
            Content::Blocks(index) => index.locate(obs)?.nnz,
            Content::Linked(link) => link.values(obs)?.nnz,
        })
    }

    /// Number of blocks, or of groups of obs in a linked store: the units in which [`verify`] reports progress.
    pub fn n_blocks(&self) -> u64 {
        self.n_obs().div_ceil(u64::from(self.manifest.block_size))
    }

    /// The table of the rows.
    pub fn obs(&self) -> &Table {
        &self.obs
    }

    /// The table of the columns.
    pub fn var(&self) -> &Table {
        &self.var
    }

    /// Names of the genes, in the order of the columns; empty where one is missing.
    ///
    /// # Errors
    /// If the var table is damaged.
    pub fn var_names(&self) -> Result<Vec<String>, Error> {
        let names = self.var.names()?;
        let batches = names.batches().iter();
        let texts = batches.flat_map(|batch| {
            (0..batch.len()).map(|row| {
                text_at(batch.as_ref(), row)
                    .flatten()
                    .unwrap_or_default()
                    .to_owned()
            })
        });
        Ok(texts.collect())
    }

    /// Number of obs.
    pub fn n_obs(&self) -> u64 {
        self.manifest.n_obs
    }

    /// Number of vars.
    pub fn n_vars(&self) -> u64 {
        self.manifest.n_vars
    }

    /// Whether the files that begin this list are those of [`shard_paths`](Self::shard_paths), and whole: for who has opened them after the
    /// store.
    ///
    /// # Errors
    /// If one is gone, shorter, or of a store that has taken the place of this one.
    pub(crate) fn check_shards(&self, opened: &[FileId]) -> Result<(), Error> {
        if let Content::Linked(link) = &self.content {
            return Ok(link.check_opened(opened)?);
        }
        // A store of rows that are as long has the same id, whatever their values are.
        let named = check_shards(&self.path, &self.manifest, Headers::Written)?;
        for (number, (named, &opened)) in named.into_iter().zip(opened).enumerate() {
            self.check_file(number, named)?;
            self.check_file(number, opened)?;
        }
        Ok(())
    }

    /// Opens a shard, which must be the file that it was when the store was opened.
    fn open_shard(&self, number: usize) -> Result<File, Error> {
        let path = self.path.join(&self.manifest.shards[number].file);
        let file = open(&path, Links::Followed).map_err(FormatError::io(&path))?;
        let metadata = file.metadata().map_err(FormatError::io(&path))?;
        self.check_file(number, (metadata.dev(), metadata.ino()))?;
        Ok(file)
    }

    fn check_file(&self, number: usize, now: FileId) -> Result<(), Error> {
        if now == self.shards[number] {
            return Ok(());
        }
        let shard = self.path.join(&self.manifest.shards[number].file);
        let rule = "another file has taken its place since the store was opened; open the store again";
        Err(FormatError::invalid(&shard, 0, rule).into())
    }

    /// Paths of the files that the values are in: the shards, in order, or those that a linked store leads to.
    pub fn shard_paths(&self) -> Vec<PathBuf> {
        match &self.content {
            Content::Blocks(_) => {
                let shards = self.manifest.shards.iter();
                shards.map(|shard| self.path.join(&shard.file)).collect()
            }
            Content::Linked(link) => {
                let sources = link.sources().iter();
                sources.map(|source| source.path().to_path_buf()).collect()
            }
        }
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        let others = self.matrices.iter();
        let others: u64 = others
            .map(|matrix| matrix.matrix_bytes() + matrix.manifest.var.bytes)
            .sum();
        self.matrix_bytes() + self.manifest.obs.bytes + self.manifest.var.bytes + others
    }

    /// Bytes of the matrix: shards, index and manifest, with headers, checksums and padding, without the tables and other
    /// matrices.
    pub fn matrix_bytes(&self) -> u64 {
        self.manifest.matrix_bytes(self.manifest_bytes)
    }

    /// For each column of the store its position in the source.
    ///
    /// # Errors
    /// If the var table is damaged, or its positions are not a permutation of `0..n_vars`.
    pub fn source_positions(&self) -> Result<Vec<u32>, Error> {
        let file = self.path.join(&self.manifest.var.file);
        positions_of(&self.var, &file)
    }
}

/// How many values each of these obs has; `None` if the store is linked, where that is known when they are read.
///
/// # Errors
/// If the index is damaged.
///
/// # Panics
/// If there is no such obs.
#[doc(hidden)]
pub fn row_lens(store: &Store, obs: &[u64]) -> Result<Option<Vec<u32>>, Error> {
    let Content::Blocks(index) = &store.content else {
        return Ok(None);
    };
    let mut ascending = obs.to_vec();
    ascending.sort_unstable();
    index.will_need(ascending.iter().copied());
    let lens = obs.iter().map(|&obs| Ok(index.locate(obs)?.nnz));
    let lens = lens.collect::<Result<_, FormatError>>()?;
    Ok(Some(lens))
}

/// Entries that the source has of a row of a linked store.
///
/// # Errors
/// If the store is not linked, or its index is damaged.
///
/// # Panics
/// If there is no such row.
#[doc(hidden)]
pub fn stored_nnz(store: &Store, obs: u64) -> Result<u32, Error> {
    let Content::Linked(link) = &store.content else {
        return Err(FormatError::invalid(&store.path, 0, "it is not a linked store").into());
    };
    Ok(link.values(obs)?.nnz)
}

/// The positions in the source that a table gives for its rows, each once.
fn positions_of(table: &Table, file: &Path) -> Result<Vec<u32>, Error> {
    let column = table.role(ROLE_SOURCE_POSITION)?;
    let mut positions = Vec::with_capacity(table.n_rows() as usize);
    for batch in column.batches() {
        let batch = batch.as_any().downcast_ref::<arrow_array::UInt32Array>();
        let batch = batch.filter(|batch| batch.null_count() == 0).ok_or_else(|| {
            FormatError::table(
                file,
                "the source positions are not of type UInt32, or some are missing",
            )
        })?;
        positions.extend_from_slice(batch.values());
    }
    let mut seen = vec![false; positions.len()];
    for &position in &positions {
        match seen.get_mut(position as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(FormatError::table(
                    file,
                    format!("the source position {position} occurs twice or is out of range"),
                )
                .into());
            }
        }
    }
    Ok(positions)
}

/// The bytes of the manifest.
fn read_manifest(path: &Path) -> Result<Vec<u8>, Error> {
    let manifest_path = path.join(MANIFEST_FILE);
    match std::fs::symlink_metadata(&manifest_path) {
        Ok(_) => Ok(read_whole(&manifest_path, Links::Followed, MAX_MANIFEST_BYTES)
            .map_err(FormatError::io(&manifest_path))?),
        Err(error) => Err(not_a_store::instead_of_a_store(path, error).into()),
    }
}

/// Compares lengths and headers of the shards with the manifest, and says which files they are.
fn check_shards(path: &Path, manifest: &Manifest, headers: Headers) -> Result<Vec<FileId>, Error> {
    let mut found = Vec::with_capacity(manifest.shards.len());
    for (number, entry) in manifest.shards.iter().enumerate() {
        let file = path.join(&entry.file);
        let (id, header) = check_shard(&file, entry.bytes, manifest)?;
        found.push(id);
        if headers == Headers::Written {
            let store_id = manifest.shard_store_id(number);
            shard::check_header(&header, &file, number as u32, store_id, manifest.alignment)?;
        }
    }
    Ok(found)
}

/// Compares the length of a shard, and gives its header.
fn check_shard(path: &Path, expected: u64, manifest: &Manifest) -> Result<(FileId, Vec<u8>), Error> {
    let file = open(path, Links::Followed).map_err(FormatError::io(path))?;
    let metadata = file.metadata().map_err(FormatError::io(path))?;
    let found = metadata.len();
    if found != expected || found < u64::from(manifest.alignment) {
        return Err(FormatError::Length {
            file: path.to_path_buf(),
            expected,
            found,
        }
        .into());
    }
    let mut header = vec![0; manifest.alignment as usize];
    file.read_exact_at(&mut header, 0)
        .map_err(FormatError::io(path))?;
    Ok(((metadata.dev(), metadata.ino()), header))
}
