//! Writes one store from its blocks and tables.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::block::EncodedBlock;
use super::complete::{Content, Totals, complete, write_headers, write_manifest};
use super::error::WriteError;
use super::options::WriterOptions;
use super::publish::Staging;
use super::shards::ShardWriter;
use super::spool::IndexSpool;
use super::table::{TableKind, Tables};
use crate::Error;
use crate::format::constants::{
    ALIGNMENT_RANGE, INDEX_FILE, MATRICES_DIRECTORY, MAX_BLOCK_SIZE, matrix_directory,
};
use crate::format::manifest::MatrixEntry;
use crate::format::{Encoding, Manifest, ValueType};

/// Writes one store.
#[derive(Debug)]
pub struct StoreWriter {
    pub(super) options: WriterOptions,
    pub(super) staging: Staging,
    pub(super) shards: ShardWriter,
    /// The next block begins a shard, however short the one before is.
    pub(super) begins_shard: bool,
    pub(super) index: IndexSpool,
    pub(super) totals: Totals,
    pub(super) last_block_full: bool,
    pub(super) tables: Tables,
    pub(super) name: Option<String>,
    pub(super) matrices: Vec<MatrixEntry>,
}

impl StoreWriter {
    /// Begins a store that will be published as `path`.
    ///
    /// # Errors
    /// If `path` exists (and is not to be replaced), cannot be written, or an option is out of range.
    pub fn create(path: &Path, options: WriterOptions) -> Result<Self, Error> {
        Self::create_for(path, options, None)
    }

    /// `owner`: the store that the directory is a part of, from the root, where that is not `path`.
    fn create_for(path: &Path, options: WriterOptions, owner: Option<&Path>) -> Result<Self, Error> {
        if !(1..=MAX_BLOCK_SIZE).contains(&options.block_size) {
            let message = format!(
                "the block size is {}, expected 1 to {MAX_BLOCK_SIZE}",
                options.block_size
            );
            return Err(WriteError::Option(message).into());
        }
        if !options.alignment.is_power_of_two() || !ALIGNMENT_RANGE.contains(&options.alignment) {
            let message = format!(
                "the alignment is {}, expected a power of two from 512 to 1048576",
                options.alignment
            );
            return Err(WriteError::Option(message).into());
        }
        if options.encoding == Encoding::Linked {
            let message = "blocks are not linked; a linked store has a writer of its own".to_owned();
            return Err(WriteError::Option(message).into());
        }
        if options.n_vars >= 1 << 31 {
            return Err(WriteError::Option(format!(
                "the matrix has {} vars, expected below 2^31",
                options.n_vars
            ))
            .into());
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
            tables: Tables::default(),
            name: None,
            matrices: Vec::new(),
        })
    }

    /// Says what the matrix of the store is called in AnnData; for a store with other ones.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Begins another matrix of the same obs. Of the options those that the store has as a whole (block size, alignment,
    /// length of shards) are those of this writer. It needs no `obs`, which must have been written here.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    ///
    /// # Panics
    /// If `obs` has not been written.
    pub fn begin_matrix(&self, options: WriterOptions) -> Result<Self, Error> {
        assert!(self.tables.obs.is_some(), "obs is written before other matrices");
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
        let mut matrix = Self::create_for(&path, options, Some(self.staging.owner()))?;
        matrix.tables = self.tables.of_other_matrix();
        Ok(matrix)
    }

    /// Completes another matrix, which will be known by `name`: its path in AnnData, such as `layers/counts`.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    ///
    /// # Panics
    /// As [`finish`](Self::finish), and where the matrix did not begin [here](Self::begin_matrix), with the number of matrices there
    /// were then.
    pub fn add_matrix(&mut self, name: &str, matrix: Self) -> Result<(), Error> {
        let number = self.matrices.len();
        let (manifest, staging) = matrix.complete()?;
        let path = self.staging.path().join(matrix_directory(number));
        assert_eq!(staging.target(), path, "other matrices are added one by one");
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
    /// If this or an earlier write failed.
    ///
    /// # Panics
    /// If a block follows one that is not full, or has more obs than a block holds.
    pub fn append(&mut self, block: &EncodedBlock) -> Result<(), Error> {
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
    /// If a batch is an error, or writing fails.
    pub fn write_table<E: From<Error>>(
        &mut self,
        kind: TableKind,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        self.tables.write(self.staging.path(), kind, schema, batches)
    }

    /// Completes the store and gives it its name.
    ///
    /// # Errors
    /// If a write failed, or the store cannot be renamed. Nothing is left under the final name then.
    ///
    /// # Panics
    /// If a table was not written or has not one row per obs or var.
    pub fn finish(mut self) -> Result<Manifest, Error> {
        let (name, matrices) = (self.name.take(), std::mem::take(&mut self.matrices));
        let (mut manifest, staging) = self.complete()?;
        (manifest.name, manifest.matrices) = (name, matrices);
        write_manifest(staging.path(), &manifest)?;
        staging.publish()?;
        Ok(manifest)
    }

    /// Completes all files but the manifest, and gives that.
    fn complete(self) -> Result<(Manifest, Staging), Error> {
        let (Some(obs), Some(var)) = (self.tables.obs, self.tables.var) else {
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
