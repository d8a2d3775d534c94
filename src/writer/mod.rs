//! Writes stores: encodes rows into blocks, packs them into shards, and publishes the whole in one step.
//!
//! The order of use: [`StoreWriter::create`]; [`BlockEncoder::encode`], on as many threads as the caller likes;
//! [`StoreWriter::append`], in the order of the blocks; [`StoreWriter::write_table`] for `obs` and `var`;
//! [`StoreWriter::finish`]. A writer that is dropped before that leaves nothing behind.
//!
//! Further matrices of the same obs have writers of their own ([`StoreWriter::further`]), which are filled in the same way and
//! handed back ([`StoreWriter::add_further`]) before the store is finished.
//!
//! A store may be made in parts, each by a writer of its own that ends with [`StoreWriter::finish_part`], and put together by
//! [`merge`]. [`StoreAppender`] adds obs to a store that is there.

mod append;
mod block;
mod complete;
mod foreign;
mod link;
mod lock;
mod merge;
mod part;
mod publish;
mod rename;
mod reorder;
mod shards;
mod sink;
mod spool;
mod stripe;
pub mod unfinished;

use std::io;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use append::StoreAppender;
pub use block::{BlockEncoder, EncodeError, EncodedBlock};
pub use merge::{Merged, merge};
pub use part::{Part, PartManifest, part_path, part_table_rows, parts_of};
pub use publish::{recover, sync_directory};
pub use reorder::RowSorter;

use crate::format::constants::{
    ALIGNMENT_RANGE, DEFAULT_ALIGNMENT, DEFAULT_BLOCK_SIZE, INDEX_FILE, MATRICES_DIRECTORY, MAX_BLOCK_SIZE,
    OBS_FILE, VAR_FILE, matrix_directory,
};
use crate::format::manifest::MatrixEntry;
use crate::format::table::TableWriter;
use crate::format::{Encoding, FormatError, Manifest, ValueType, VarOrder};
use complete::{Content, Totals, Written, complete, write_headers, write_manifest};
use publish::Staging;
pub use publish::{check_directory, check_target};
use shards::ShardWriter;
use spool::IndexSpool;

/// Why a store cannot be written. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file could not be written.
    #[error("{}: {error}{}", file.display(), advice(error))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is something under the store's name.
    #[error("{}: exists already; give --force to replace it, or another name", path.display())]
    Exists {
        /// The store's path.
        path: PathBuf,
    },
    /// What is to be replaced is not a store.
    #[error("{}: exists and is not a cellring store, so it is not replaced; give another name", path.display())]
    NotReplaceable {
        /// The path.
        path: PathBuf,
    },
    /// What is to be replaced cannot be removed.
    #[error("{}: this store cannot be replaced: {reason}; give another name", path.display())]
    NotRemovable {
        /// The store's path.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// The new store is there, but the one that it replaced is not gone.
    #[error(
        "{}: the new store is complete, but {} of the store that it replaced remains ({error}); remove it by hand",
        path.display(),
        remains.display()
    )]
    Remains {
        /// The new store.
        path: PathBuf,
        /// What is left of the old one.
        remains: PathBuf,
        /// Why it was not removed.
        error: io::Error,
    },
    /// The directory in which the store is to be made does not exist or cannot be written.
    #[error("{}: {reason}", path.display())]
    Directory {
        /// The store's path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The path has no last part.
    #[error("{}: the path does not end in a name for the store", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A directory for shards cannot be used.
    #[error("{}: shards cannot be put there ({error}); name a directory that exists and can be written", path.display())]
    Stripe {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process writes to the store.
    #[error("{}: another process is appending to this store; wait until it is done", path.display())]
    Busy {
        /// The store's path.
        path: PathBuf,
    },
    /// A lock file names a process that writes to the store, or did.
    #[error(
        "{}: {owner}, appends to this store or replaces it; wait until it is done, or remove {} if that process is gone",
        path.display(),
        lock.display()
    )]
    Held {
        /// The store's path.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
        /// Who made it: process, host, and for how long.
        owner: String,
    },
    /// The filesystem cannot rename directories, so that nothing can be published on it.
    #[error(
        "{}: its filesystem cannot rename a directory ({error}), which is how a store gets its name; make the store on another one, and copy it",
        path.display()
    )]
    NoRename {
        /// The store's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A part of a store cannot be used.
    #[error("{}: {problem}", path.display())]
    Part {
        /// The part, or the store where it is about all of them.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The thread that writes is gone.
    #[error("the writing thread ended early, so the store is not complete; run the conversion again")]
    Sink,
    /// The format's rules do not allow what was asked for.
    #[error("{0}")]
    Option(String),
    /// A block is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A table or the manifest could not be made.
    #[error(transparent)]
    Format(#[from] FormatError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if error.raw_os_error() == Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        io::ErrorKind::FileTooLarge => "; raise the limit on the length of files (ulimit -f)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another place for the store"
        }
        _ => "",
    }
}

impl WriteError {
    fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_path_buf();
        move |error| {
            let error = crate::format::explain(&file, error);
            Self::Io { file, error }
        }
    }
}

/// What a store is to be like.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Number of columns.
    pub n_vars: u64,
    /// Element type of the source.
    pub value_type: ValueType,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Raw encoding: the type values are stored in.
    pub raw_value_type: ValueType,
    /// Order of the columns, for the record; the [`BlockEncoder`] brings them into it.
    pub var_order: VarOrder,
    /// Obs per block.
    pub block_size: u32,
    /// Alignment of blocks in bytes.
    pub alignment: u32,
    /// A new shard begins when one has reached this length in bytes.
    pub shard_bytes: u64,
    /// Directories that the shards are put in, in turn; if there are none, they are in the store itself.
    pub stripe: Vec<PathBuf>,
    /// Whether an existing store under the same name is replaced.
    pub replace: bool,
    /// Whether to write through io_uring where the kernel allows it.
    pub uring: bool,
    /// What the manifest says of the source.
    pub source: serde_json::Value,
}

impl WriterOptions {
    /// Defaults: packed, columns as in the source, 256 obs per block, 4096 bytes alignment, shards of 32 GiB.
    pub fn new(n_vars: u64, value_type: ValueType) -> Self {
        Self {
            n_vars,
            value_type,
            encoding: Encoding::Packed,
            raw_value_type: value_type,
            var_order: VarOrder::Source,
            block_size: DEFAULT_BLOCK_SIZE,
            alignment: DEFAULT_ALIGNMENT,
            shard_bytes: 32 << 30,
            stripe: Vec::new(),
            replace: false,
            uring: true,
            source: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// Which table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// The rows' table.
    Obs,
    /// The columns' table.
    Var,
}

/// Writes one store.
#[derive(Debug)]
pub struct StoreWriter {
    options: WriterOptions,
    staging: Staging,
    shards: ShardWriter,
    /// The next block begins a shard, however short the one before is.
    begins_shard: bool,
    index: IndexSpool,
    totals: Totals,
    last_block_full: bool,
    obs: Option<Written>,
    var: Option<Written>,
    name: Option<String>,
    matrices: Vec<MatrixEntry>,
}

impl StoreWriter {
    /// Begins a store that will be published as `path`.
    ///
    /// # Errors
    /// [`WriteError`] where `path` exists (and is not to be replaced), cannot be written, or an option is out of range.
    pub fn create(path: &Path, options: WriterOptions) -> Result<Self, WriteError> {
        Self::create_for(path, options, None)
    }

    /// `owner`: the store that the directory is a part of, from the root, where that is not `path`.
    fn create_for(path: &Path, options: WriterOptions, owner: Option<&Path>) -> Result<Self, WriteError> {
        if !(1..=MAX_BLOCK_SIZE).contains(&options.block_size) {
            let message = format!(
                "the block size is {}, expected 1 to {MAX_BLOCK_SIZE}",
                options.block_size
            );
            return Err(WriteError::Option(message));
        }
        if !options.alignment.is_power_of_two() || !ALIGNMENT_RANGE.contains(&options.alignment) {
            let message = format!(
                "the alignment is {}, expected a power of two from 512 to 1048576",
                options.alignment
            );
            return Err(WriteError::Option(message));
        }
        if options.n_vars >= 1 << 31 {
            return Err(WriteError::Option(format!(
                "the matrix has {} vars, expected below 2^31",
                options.n_vars
            )));
        }
        let staging = Staging::create(path, options.replace, &options.stripe, owner)?;
        let index = IndexSpool::create(staging.path())?;
        let shards = ShardWriter::new(options.uring, options.alignment, 0);
        Ok(Self {
            options,
            staging,
            shards,
            begins_shard: true,
            index,
            totals: Totals::default(),
            last_block_full: true,
            obs: None,
            var: None,
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Says what the matrix of the store is called in AnnData; for a store with further ones.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Begins a further matrix of the same obs. Of the options those that the store has as a whole (block size, alignment,
    /// length of shards) are those of this writer. It needs no `obs`, which must have been written here.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    ///
    /// # Panics
    /// Where `obs` has not been written.
    pub fn further(&self, options: WriterOptions) -> Result<Self, WriteError> {
        assert!(self.obs.is_some(), "obs is written before further matrices");
        let own = &self.options;
        let options = WriterOptions {
            block_size: own.block_size,
            alignment: own.alignment,
            shard_bytes: own.shard_bytes,
            stripe: own.stripe.clone(),
            replace: false,
            uring: own.uring,
            ..options
        };
        let parent = self.staging.path().join(MATRICES_DIRECTORY);
        std::fs::create_dir_all(&parent).map_err(WriteError::io(&parent))?;
        let path = self.staging.path().join(matrix_directory(self.matrices.len()));
        let mut further = Self::create_for(&path, options, Some(self.staging.owner()))?;
        further.obs.clone_from(&self.obs);
        Ok(further)
    }

    /// Completes a further matrix, which will be known by `name`: its path in AnnData, such as `layers/counts`.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    ///
    /// # Panics
    /// As [`finish`](Self::finish), and where the matrix did not begin [here](Self::further), with the number of matrices there
    /// were then.
    pub fn add_further(&mut self, name: &str, further: Self) -> Result<(), WriteError> {
        let number = self.matrices.len();
        let (manifest, staging) = further.complete()?;
        let path = self.staging.path().join(matrix_directory(number));
        assert_eq!(staging.target(), path, "further matrices are added one by one");
        staging.publish()?;
        self.matrices
            .push(MatrixEntry::new(name.to_owned(), number, manifest));
        Ok(())
    }

    /// How blocks are written: `tokio-uring` or `plain`.
    pub fn sink(&self) -> &'static str {
        self.shards.sink()
    }

    /// Replaces what the manifest will say of the source: some of it is known only when all rows have been read.
    pub fn set_source(&mut self, source: serde_json::Value) {
        self.options.source = source;
    }

    /// Replaces the type that the raw encoding stores values in: a caller may find it out after the store was begun.
    pub fn set_raw_value_type(&mut self, raw_value_type: ValueType) {
        self.options.raw_value_type = raw_value_type;
    }

    /// Has the next block begin a shard, where it does not anyway.
    pub fn begin_shard(&mut self) {
        self.begins_shard = true;
    }

    /// Writes the next block.
    ///
    /// # Errors
    /// [`WriteError::Io`] where this or an earlier write failed.
    ///
    /// # Panics
    /// Where a block follows one that is not full, or has more obs than a block holds.
    pub fn append(&mut self, block: &EncodedBlock) -> Result<(), WriteError> {
        let n_obs = block.ends.len();
        assert!(
            self.last_block_full && n_obs <= self.options.block_size as usize,
            "blocks are full but for the last"
        );
        assert_eq!(n_obs, block.details.len(), "one detail per obs");
        let is_full = self
            .shards
            .bytes()
            .is_some_and(|bytes| bytes >= self.options.shard_bytes);
        if self.begins_shard || is_full {
            let path = self.staging.new_shard(self.shards.next_number())?;
            self.shards.begin(&path)?;
            self.begins_shard = false;
        }
        let record = self.shards.put_block(&block.payload)?;
        self.index.append(record, &block.ends, &block.details)?;
        self.totals.add(Totals::of_block(block));
        self.last_block_full = n_obs == self.options.block_size as usize;
        Ok(())
    }

    /// Writes a table from its batches: 65,536 rows each, fewer only in the last.
    ///
    /// # Errors
    /// Where a batch is an error, or writing fails.
    pub fn write_table<E: From<WriteError>>(
        &mut self,
        kind: TableKind,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        let name = match kind {
            TableKind::Obs => OBS_FILE,
            TableKind::Var => VAR_FILE,
        };
        let written = Some(write_table(&self.staging.path().join(name), schema, batches)?);
        match kind {
            TableKind::Obs => self.obs = written,
            TableKind::Var => self.var = written,
        }
        Ok(())
    }

    /// Completes the store and gives it its name.
    ///
    /// # Errors
    /// Where a write failed, or the store cannot be renamed. Nothing is left under the final name then.
    ///
    /// # Panics
    /// Where a table was not written or has not one row per obs or var.
    pub fn finish(mut self) -> Result<Manifest, WriteError> {
        let (name, matrices) = (self.name.take(), std::mem::take(&mut self.matrices));
        let (mut manifest, staging) = self.complete()?;
        (manifest.name, manifest.matrices) = (name, matrices);
        write_manifest(staging.path(), &manifest)?;
        staging.publish()?;
        Ok(manifest)
    }

    /// Completes all files but the manifest, and gives that.
    fn complete(self) -> Result<(Manifest, Staging), WriteError> {
        let (Some(obs), Some(var)) = (self.obs, self.var) else {
            panic!("both tables are written before the store is finished");
        };
        assert_eq!(
            (obs.n_rows, var.n_rows),
            (self.totals.n_obs, self.options.n_vars),
            "rows of the tables"
        );
        let content = Content {
            options: &self.options,
            totals: self.totals,
            shards: self.shards.finish()?,
            obs,
            var,
        };
        let manifest = complete(self.staging.path(), content, self.index, INDEX_FILE)?;
        write_headers(self.staging.path(), &manifest)?;
        Ok((manifest, self.staging))
    }
}

/// Writes a table as this file.
fn write_table<E: From<WriteError>>(
    path: &Path,
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
) -> Result<Written, E> {
    let convert = |error: FormatError| E::from(WriteError::from(error));
    let mut writer = TableWriter::create(path, schema).map_err(convert)?;
    for batch in batches {
        writer.write(&batch?).map_err(convert)?;
    }
    let (entry, crc, n_rows) = writer.finish().map_err(convert)?;
    Ok(Written { entry, crc, n_rows })
}
