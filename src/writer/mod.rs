//! Writes stores: encodes rows into blocks, packs them into shards, and publishes the whole in one step.
//!
//! The order of use: [`StoreWriter::create`]; [`BlockEncoder::encode`], on as many threads as the caller likes;
//! [`StoreWriter::append`], in the order of the blocks; [`StoreWriter::write_table`] for `obs` and `var`;
//! [`StoreWriter::finish`]. A writer that is dropped before that leaves nothing behind.
//!
//! Further matrices of the same obs have writers of their own ([`StoreWriter::further`]), which are filled in the same way and
//! handed back ([`StoreWriter::add_further`]) before the store is finished.

mod block;
mod publish;
mod reorder;
mod sink;
mod spool;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use block::{BlockEncoder, EncodeError, EncodedBlock};
pub use reorder::RowSorter;

use crate::format::constants::{
    ALIGNMENT_RANGE, DEFAULT_ALIGNMENT, DEFAULT_BLOCK_SIZE, INDEX_FILE, MANIFEST_FILE, MATRICES_DIRECTORY,
    MAX_BLOCK_SIZE, OBS_FILE, VAR_FILE, VERSION, matrix_directory, shard_file,
};
use crate::format::index::{BlockRecord, IndexLayout};
use crate::format::manifest::{FileEntry, MatrixEntry, ShardEntry};
use crate::format::table::TableWriter;
use crate::format::{Encoding, FormatError, Manifest, ValueType, VarOrder, shard};
use publish::Staging;
use sink::{Chunk, Sink};
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
    /// The path has no last part.
    #[error("{}: the path has no name for a store", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
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
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another place for the store"
        }
        _ => "",
    }
}

impl WriteError {
    fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_path_buf();
        move |error| Self::Io { file, error }
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
    sink: Sink,
    chunk: Option<Chunk>,
    chunk_at: u64,
    shards: Vec<ShardEntry>,
    index: IndexSpool,
    n_obs: u64,
    nnz: u64,
    max_obs_nnz: u32,
    max_obs_bytes: u64,
    f32_exact: bool,
    last_block_full: bool,
    obs: Option<(FileEntry, u32, u64)>,
    var: Option<(FileEntry, u32, u64)>,
    name: Option<String>,
    matrices: Vec<MatrixEntry>,
}

impl StoreWriter {
    /// Begins a store that will be published as `path`.
    ///
    /// # Errors
    /// [`WriteError`] where `path` exists (and is not to be replaced), cannot be written, or an option is out of range.
    pub fn create(path: &Path, options: WriterOptions) -> Result<Self, WriteError> {
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
        let staging = Staging::create(path, options.replace)?;
        let index = IndexSpool::create(staging.path())?;
        let sink = Sink::new(options.uring);
        Ok(Self {
            options,
            staging,
            sink,
            chunk: None,
            chunk_at: 0,
            shards: Vec::new(),
            index,
            n_obs: 0,
            nnz: 0,
            max_obs_nnz: 0,
            max_obs_bytes: 0,
            f32_exact: true,
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
            replace: false,
            uring: own.uring,
            ..options
        };
        let parent = self.staging.path().join(MATRICES_DIRECTORY);
        std::fs::create_dir_all(&parent).map_err(WriteError::io(&parent))?;
        let path = self.staging.path().join(matrix_directory(self.matrices.len()));
        let mut further = Self::create(&path, options)?;
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
    pub fn add_further(&mut self, name: &str, mut further: Self) -> Result<(), WriteError> {
        let number = self.matrices.len();
        let manifest = further.complete()?;
        let path = self.staging.path().join(matrix_directory(number));
        assert_eq!(
            further.staging.target(),
            path,
            "further matrices are added one by one"
        );
        further.staging.publish()?;
        self.matrices
            .push(MatrixEntry::new(name.to_owned(), number, manifest));
        Ok(())
    }

    /// How blocks are written: `tokio-uring` or `plain`.
    pub fn sink(&self) -> &'static str {
        self.sink.name()
    }

    /// Replaces what the manifest will say of the source: some of it is known only when all rows have been read.
    pub fn set_source(&mut self, source: serde_json::Value) {
        self.options.source = source;
    }

    /// Replaces the type that the raw encoding stores values in: a caller may find it out after the store was begun.
    pub fn set_raw_value_type(&mut self, raw_value_type: ValueType) {
        self.options.raw_value_type = raw_value_type;
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
        let alignment = u64::from(self.options.alignment);
        if self
            .shards
            .last()
            .is_none_or(|shard| shard.bytes >= self.options.shard_bytes)
        {
            self.begin_shard()?;
        }
        let shard = self.shards.len() - 1;
        let offset_bytes = self.shards[shard].bytes;
        self.index.append(
            BlockRecord {
                offset_bytes,
                shard: shard as u32,
                payload_bytes: block.payload.len() as u32,
            },
            block,
        )?;
        self.put(&block.payload)?;
        self.put_zeros(
            (block.payload.len() as u64).next_multiple_of(alignment) - block.payload.len() as u64,
        )?;
        self.shards[shard].blocks += 1;
        self.n_obs += n_obs as u64;
        self.nnz += block.nnz;
        self.max_obs_nnz = self.max_obs_nnz.max(block.max_obs_nnz);
        self.max_obs_bytes = self.max_obs_bytes.max(block.max_obs_bytes);
        self.f32_exact &= block.f32_exact;
        self.last_block_full = n_obs == self.options.block_size as usize;
        Ok(())
    }

    fn begin_shard(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        let file = shard_file(self.shards.len() as u32);
        self.sink.create(&self.staging.path().join(&file))?;
        self.shards.push(ShardEntry {
            file,
            bytes: 0,
            blocks: 0,
        });
        self.chunk_at = 0;
        // The header holds the store id, which is known at the end: its place is left free.
        self.put_zeros(u64::from(self.options.alignment))
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        if let Some(shard) = self.shards.last_mut() {
            shard.bytes += bytes.len() as u64;
        }
        while !bytes.is_empty() {
            let mut chunk = match self.chunk.take() {
                Some(chunk) => chunk,
                None => self.sink.take()?,
            };
            bytes = chunk.fill(bytes);
            let full = chunk.len() == sink::CHUNK_BYTES;
            self.chunk = Some(chunk);
            if full {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn put_zeros(&mut self, mut n: u64) -> Result<(), WriteError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while n > 0 {
            let now = n.min(ZEROS.len() as u64);
            self.put(&ZEROS[..now as usize])?;
            n -= now;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if let Some(chunk) = self.chunk.take() {
            let at = self.chunk_at;
            self.chunk_at += chunk.len() as u64;
            self.sink.write(self.shards.len() - 1, at, chunk)?;
        }
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
        let convert = |error: FormatError| E::from(WriteError::from(error));
        let mut writer = TableWriter::create(&self.staging.path().join(name), schema).map_err(convert)?;
        for batch in batches {
            writer.write(&batch?).map_err(convert)?;
        }
        let written = Some(writer.finish().map_err(convert)?);
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
        let manifest = self.complete()?;
        let path = self.staging.path().join(MANIFEST_FILE);
        let bytes = manifest
            .to_bytes()
            .map_err(|error| WriteError::io(&path)(error.into()))?;
        std::fs::write(&path, bytes).map_err(WriteError::io(&path))?;
        self.staging.publish()?;
        Ok(manifest)
    }

    /// Completes all files but the manifest, and gives that.
    fn complete(&mut self) -> Result<Manifest, WriteError> {
        let (Some((obs, obs_crc, obs_rows)), Some((var, var_crc, var_rows))) =
            (self.obs.take(), self.var.take())
        else {
            panic!("both tables are written before the store is finished");
        };
        assert_eq!(
            (obs_rows, var_rows),
            (self.n_obs, self.options.n_vars),
            "rows of the tables"
        );
        self.flush()?;
        self.sink.finish()?;
        let options = &self.options;
        let layout = IndexLayout::new(
            self.n_obs,
            options.block_size,
            options.encoding,
            u64::from(self.max_obs_nnz),
        );
        let text = format!(
            "{},{},{},{},{},{},{}",
            self.n_obs,
            options.n_vars,
            self.nnz,
            options.block_size,
            options.alignment,
            options.encoding.name(),
            value_type_name(options.value_type),
        );
        let path = self.staging.path().join(INDEX_FILE);
        let sections_crc = self.index.write_sections(&path, &layout)?;
        let mut store_id = [0; 16];
        let crcs = [
            sections_crc,
            obs_crc,
            var_crc,
            crate::format::checksum::crc32c(text.as_bytes()),
        ];
        for (bytes, crc) in store_id.chunks_mut(4).zip(crcs) {
            bytes.copy_from_slice(&crc.to_le_bytes());
        }
        let header = layout.header(options.encoding, options.block_size, store_id);
        let index_crcs = self.index.write_header(&path, &header)?;
        for (number, entry) in self.shards.iter().enumerate() {
            let path = self.staging.path().join(&entry.file);
            let header = shard::encode_header(number as u32, store_id, options.alignment);
            let file = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(WriteError::io(&path))?;
            file.write_all_at(&header, 0).map_err(WriteError::io(&path))?;
        }
        let manifest = Manifest {
            format: "cellring".into(),
            version: VERSION,
            features: Vec::new(),
            store_id: store_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            n_obs: self.n_obs,
            n_vars: options.n_vars,
            nnz: self.nnz,
            encoding: options.encoding,
            value_type: options.value_type,
            raw_value_type: (options.encoding == Encoding::Raw).then_some(options.raw_value_type),
            f32_exact: self.f32_exact,
            block_size: options.block_size,
            alignment: options.alignment,
            max_obs_nnz: self.max_obs_nnz,
            max_obs_bytes: self.max_obs_bytes,
            var_order: options.var_order,
            shards: std::mem::take(&mut self.shards),
            index: FileEntry {
                file: INDEX_FILE.into(),
                bytes: layout.file_bytes,
                crc32c: index_crcs,
            },
            obs,
            var,
            name: self.name.take(),
            matrices: std::mem::take(&mut self.matrices),
            source: options.source.clone(),
        };
        Ok(manifest)
    }
}

/// The name of a type in the manifest.
fn value_type_name(value_type: ValueType) -> String {
    serde_json::to_value(value_type)
        .ok()
        .and_then(|v| v.as_str().map(str::to_string))
        .unwrap_or_default()
}
