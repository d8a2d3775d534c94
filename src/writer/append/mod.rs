//! Adds obs to a store that is there, without writing its blocks again.
//!
//! New obs go into new shards; the last block of the store, where it is not full, is written again there together with the first of
//! them. Index and obs table are written again under other names. All of it is prepared in a directory within the store, and becomes
//! the store's when its manifest is replaced: until then a reader sees what was there, and afterwards all.

mod workplace;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::block::{BlockEncoder, EncodedBlock};
use super::complete::{Content, Totals, WrittenTable, complete, write_headers, write_manifest};
use super::error::WriteError;
use super::lock::StoreLock;
use super::options::WriterOptions;
use super::publish::recover;
use super::shards::ShardWriter;
use super::spool::IndexSpool;
use super::sync::sync;
use super::table::write_table;
use crate::Error;
use crate::format::constants::{MANIFEST_FILE, shard_file};
use crate::format::file::FileName;
use crate::format::manifest::ShardEntry;
use crate::format::names::version_of;
use crate::format::pieces::verify_piece;
use crate::format::{FormatError, Manifest};
use crate::store::Store;
pub(super) use workplace::WORK_DIRECTORY;
use workplace::Workplace;

/// Entries of the index that are in memory at a time.
const INDEX_ENTRIES: u64 = 1 << 16;

/// Appends to one store. The order of use is that of [`super::StoreWriter`], but for `var`, which stays as it is; the first
/// block begins with obs [`Self::first_obs`]. Dropped before it is finished it leaves the store as it was.
#[derive(Debug)]
pub struct StoreAppender {
    workplace: Workplace,
    store: Store,
    options: WriterOptions,
    shards: ShardWriter,
    index: IndexSpool,
    totals: Totals,
    last_block_full: bool,
    obs: Option<WrittenTable>,
}

impl StoreAppender {
    /// Locks the store, and removes what a killed process left in it.
    ///
    /// # Errors
    /// If another process appends to it; if the store is damaged, holds several matrices, or cannot be
    /// written.
    pub fn open(path: &Path, uring: bool) -> Result<Self, Error> {
        recover(path);
        let lock = StoreLock::acquire(path)?;
        // Everything that is said of the old blocks is checked before it is said again.
        let store = Store::open(path)?;
        store.require_blocks("appending obs")?;
        let manifest = store.manifest();
        if !manifest.matrices.is_empty() {
            return Err(WriteError::Option(format!(
                "{}: the store holds several matrices, and obs can only be appended to a store of one; convert all inputs again",
                path.display()
            )).into());
        }
        let workplace = Workplace::create(path, manifest, lock)?;
        let options = WriterOptions {
            encoding: manifest.encoding,
            raw_value_type: manifest.stored_value_type(),
            var_order: manifest.var_order,
            block_size: manifest.block_size,
            alignment: manifest.alignment,
            uring,
            source: manifest.source.clone(),
            ..WriterOptions::new(manifest.n_vars, manifest.value_type)
        };
        let first = manifest.shards.len() as u32;
        let mut appender = Self {
            index: IndexSpool::create(&workplace.work)?,
            workplace,
            shards: ShardWriter::new(uring, manifest.alignment, first),
            options,
            totals: Totals::default(),
            last_block_full: true,
            obs: None,
            store,
        };
        appender.keep_index()?;
        Ok(appender)
    }

    /// The store as it is.
    pub fn manifest(&self) -> &Manifest {
        self.store.manifest()
    }

    /// The first obs that is written: where the last block of the store is not full, the first of that.
    pub fn first_obs(&self) -> u64 {
        let manifest = self.manifest();
        manifest.n_obs - manifest.n_obs % u64::from(manifest.block_size)
    }

    /// What encodes blocks for this store, of rows with the store's columns.
    pub fn encoder(&self) -> BlockEncoder {
        BlockEncoder {
            encoding: self.options.encoding,
            n_vars: self.options.n_vars,
            raw_value_type: self.options.raw_value_type,
            column_of_source: None,
        }
    }

    /// A new shard begins when one has reached this length in bytes; 32 GiB where it is not set.
    pub fn set_shard_bytes(&mut self, shard_bytes: u64) {
        self.options.shard_bytes = shard_bytes;
    }

    /// Replaces what the manifest says of the source.
    pub fn set_source(&mut self, source: serde_json::Value) {
        self.options.source = source;
    }

    /// Takes over what the index says of the blocks that stay.
    fn keep_index(&mut self) -> Result<(), Error> {
        let (manifest, old) = (self.store.manifest(), self.store.index());
        for (piece, &expected) in manifest.index.crc32c.iter().enumerate() {
            verify_piece(old.file(), old.bytes()?, piece, expected)?;
        }
        let kept = self.first_obs();
        let block_size = u64::from(manifest.block_size);
        let mut nnz_again = 0;
        let (mut ends, mut details) = (Vec::new(), Vec::new());
        for block in 0..old.n_blocks() {
            let record = old.block(block)?;
            let obs = old.obs_of_block(block);
            let stays = obs.start < kept;
            if stays {
                self.index.append_record(record);
            }
            for obs in obs {
                let place = old.place(obs, record.payload_bytes)?;
                if stays {
                    ends.push(place.range.1);
                    details.push(old.detail(place));
                } else {
                    // The values of the last block will be counted again.
                    nnz_again += u64::from(place.nnz);
                }
            }
            if ends.len() as u64 + block_size > INDEX_ENTRIES || block + 1 == old.n_blocks() {
                self.index.append_obs(&ends, &details)?;
                ends.clear();
                details.clear();
            }
        }
        let nnz = manifest.nnz.checked_sub(nnz_again).ok_or_else(|| {
            let rule = format!("nnz is {}, the last block alone has {nnz_again}", manifest.nnz);
            FormatError::invalid(&self.workplace.path.join(MANIFEST_FILE), 0, rule)
        })?;
        self.totals = Totals {
            n_obs: kept,
            nnz,
            max_obs_nnz: manifest.max_obs_nnz,
            max_obs_bytes: manifest.max_obs_bytes,
            f32_exact: manifest.f32_exact,
        };
        Ok(())
    }

    /// Writes the next block.
    ///
    /// # Errors
    /// As [`super::StoreWriter::append`].
    ///
    /// # Panics
    /// As [`super::StoreWriter::append`].
    pub fn append(&mut self, block: &EncodedBlock) -> Result<(), Error> {
        let n_obs = block.ends.len();
        assert!(
            self.last_block_full && n_obs <= self.options.block_size as usize,
            "blocks are full but for the last"
        );
        if self
            .shards
            .bytes()
            .is_none_or(|bytes| bytes >= self.options.shard_bytes)
        {
            let path = self.new_shard()?;
            self.shards.begin(&path)?;
        }
        let record = self.shards.put_block(&block.payload)?;
        self.index.append(record, &block.ends, &block.details)?;
        self.totals.add(Totals::of_block(block));
        self.last_block_full = n_obs == self.options.block_size as usize;
        Ok(())
    }

    fn new_shard(&self) -> Result<PathBuf, Error> {
        let number = self.shards.next_number();
        let name = shard_file(number);
        if self.workplace.stripe.is_empty() {
            return Ok(self.workplace.work.join(name));
        }
        let shard = self.workplace.stripe[number as usize % self.workplace.stripe.len()].join(&name);
        let link = self.workplace.work.join(name);
        symlink(&shard, &link).map_err(WriteError::io(&link))?;
        Ok(shard)
    }

    /// Writes the obs table of all obs, those that were there included, from its batches: 65,536 rows each, fewer only in the
    /// last.
    ///
    /// # Errors
    /// If a batch is an error, or writing fails.
    pub fn write_obs<E: From<Error>>(
        &mut self,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        let path = self
            .workplace
            .work
            .join(next_name(&self.manifest().obs.file, "obs", "arrow"));
        self.obs = Some(write_table(&path, schema, batches)?);
        Ok(())
    }

    /// Makes the obs a part of the store.
    ///
    /// # Errors
    /// If a write failed. The store is what it was then.
    ///
    /// # Panics
    /// If obs was not written, or has not one row per obs.
    pub fn finish(self) -> Result<Manifest, Error> {
        let kept = self.kept_shards();
        let Some(obs) = self.obs else {
            panic!("obs is written before the store is finished");
        };
        assert_eq!(obs.n_rows, self.totals.n_obs, "rows of obs");
        let old = self.store.manifest();
        self.store.var().verify_all()?;
        let var = WrittenTable {
            entry: old.var.clone(),
            crc: self.store.var().crc()?,
            n_rows: old.n_vars,
        };
        let shards = self.shards.finish()?;
        let new_files: Vec<FileName> = shards.iter().map(|shard| shard.file.clone()).collect();
        let content = Content {
            options: &self.options,
            totals: self.totals,
            shards: kept.into_iter().chain(shards).collect(),
            obs,
            var,
        };
        let index_file = next_name(&old.index.file, "index", "bin");
        let manifest = complete(&self.workplace.work, content, self.index, &index_file)?;
        write_headers(&self.workplace.work, &manifest)?;
        write_manifest(&self.workplace.work, &manifest)?;
        let workplace = &self.workplace;
        for directory in &workplace.stripe {
            sync(directory)?;
        }
        let files = || new_files.iter().chain([&manifest.index.file, &manifest.obs.file]);
        for file in files().map(FileName::as_str).chain([MANIFEST_FILE]) {
            sync(&workplace.work.join(file))?;
        }
        let take_over = || {
            files().try_for_each(|file| workplace.take_over(file))?;
            sync(&workplace.path)?;
            workplace.take_over(MANIFEST_FILE)
        };
        let taken = workplace.unfinished.commit(take_over);
        taken.map_err(WriteError::io(&workplace.path))??;
        sync(&workplace.path)?;
        for file in [&old.index.file, &old.obs.file] {
            // Whoever has it open keeps it. What cannot be removed now is removed by the next run.
            let _ = fs::remove_file(self.workplace.path.join(file));
        }
        Ok(manifest)
    }

    /// The shards that are there, without a last block that is written again, and with the id that their headers have.
    fn kept_shards(&self) -> Vec<ShardEntry> {
        let manifest = self.manifest();
        let mut shards = manifest.shards.clone();
        for shard in &mut shards {
            shard.store_id.get_or_insert_with(|| manifest.store_id.clone());
        }
        if self.first_obs() < manifest.n_obs
            && let Some(last) = shards.iter_mut().rev().find(|shard| shard.blocks > 0)
        {
            last.blocks -= 1;
        }
        shards
    }
}

/// The name after `index.bin` is `index-0001.bin`, and so on.
fn next_name(file: &str, stem: &str, extension: &str) -> String {
    let number = version_of(file, stem, extension).unwrap_or(0);
    format!("{stem}-{:04}.{extension}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_up() {
        assert_eq!(next_name("index.bin", "index", "bin"), "index-0001.bin");
        assert_eq!(next_name("index-0009.bin", "index", "bin"), "index-0010.bin");
        assert_eq!(next_name("obs-9999.arrow", "obs", "arrow"), "obs-10000.arrow");
    }
}
