//! Adds obs to a store that is there, without writing its blocks again.
//!
//! New obs go into new shards; the last block of the store, where it is not full, is written again there together with the first of
//! them. Index and obs table are written anew under other names. All of it is prepared in a directory within the store, and becomes
//! the store's when its manifest is replaced: until then a reader sees what was there, and afterwards all.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::complete::{Content, Totals, Written, complete, write_manifest};
use super::lock::StoreLock;
use super::merge::{hash, read_entries, verify};
use super::publish::{recover, sync};
use super::shards::ShardWriter;
use super::spool::IndexSpool;
use super::stripe::{belongs_to, directories_of, is_shard};
use super::unfinished::{self, Unfinished};
use super::{BlockEncoder, EncodedBlock, WriteError, WriterOptions, write_table};
use crate::format::constants::{BLOCK_RECORD_BYTES, INDEX_HEADER_BYTES, MANIFEST_FILE, shard_file};
use crate::format::index::{BlockRecord, IndexLayout};
use crate::format::manifest::ShardEntry;
use crate::format::names::{is_left_by_append, version_of};
use crate::format::{Encoding, Manifest};

/// The directory within the store in which everything new is prepared.
const WORK_DIRECTORY: &str = ".append";
/// Entries of the index that are in memory at a time.
const INDEX_ENTRIES: usize = 1 << 16;
/// As long as any that a reader takes.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// Appends to one store. The order of use is that of [`super::StoreWriter`], but for `var`, which stays as it is; the first
/// block begins with obs [`Self::first_obs`]. Dropped before it is finished it leaves the store as it was.
#[derive(Debug)]
pub struct StoreAppender {
    place: Place,
    manifest: Manifest,
    options: WriterOptions,
    shards: ShardWriter,
    index: IndexSpool,
    totals: Totals,
    last_block_full: bool,
    obs: Option<Written>,
}

/// Where the store lies, and what is under way there. Dropped, it removes what did not become a part of the store.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    work: PathBuf,
    /// Directories of the store's shards, where these lie elsewhere.
    stripe: Vec<PathBuf>,
    /// Holds others off while it is open.
    _lock: StoreLock,
    unfinished: Unfinished,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.work);
        remove_shards_without_link(&self.path, &self.stripe);
    }
}

impl Place {
    /// Moves a file from where it was prepared into the store.
    fn take_over(&self, file: &str) -> Result<(), WriteError> {
        let to = self.path.join(file);
        fs::rename(self.work.join(file), &to).map_err(WriteError::io(&to))
    }
}

impl StoreAppender {
    /// Locks the store, and removes what a killed process left in it.
    ///
    /// # Errors
    /// [`WriteError::Busy`] where another process appends to it; where the store is damaged, holds several matrices, or cannot be
    /// written.
    pub fn open(path: &Path, uring: bool) -> Result<Self, WriteError> {
        recover(path);
        let lock = StoreLock::acquire(path)?;
        let manifest_path = path.join(MANIFEST_FILE);
        let length = fs::metadata(&manifest_path)
            .map_err(WriteError::io(&manifest_path))?
            .len();
        if length > MAX_MANIFEST_BYTES {
            return Err(WriteError::Option(format!(
                "{}: it is larger than any manifest that is written",
                manifest_path.display()
            )));
        }
        let bytes = fs::read(&manifest_path).map_err(WriteError::io(&manifest_path))?;
        let manifest = Manifest::from_bytes(&bytes, &manifest_path)?;
        if !manifest.matrices.is_empty() {
            return Err(WriteError::Option(format!(
                "{}: the store holds several matrices, and obs can only be appended to a store of one; convert all inputs again",
                path.display()
            )));
        }
        let owner = super::stripe::absolute(path).map_err(WriteError::io(path))?;
        // Those of a store that was moved or copied are left alone, and new shards lie in the store itself.
        let directories = || {
            let mut directories = directories_of(path);
            directories.retain(|directory| belongs_to(directory, &owner));
            directories
        };
        remove_remains(path, &manifest, &directories());
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
        let unfinished = unfinished::register(remove);
        fs::create_dir(&work).map_err(WriteError::io(&work))?;
        let place = Place {
            path: path.to_path_buf(),
            work,
            stripe,
            _lock: lock,
            unfinished,
        };
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
            index: IndexSpool::create(&place.work)?,
            place,
            shards: ShardWriter::new(uring, manifest.alignment, first),
            options,
            totals: Totals::default(),
            last_block_full: true,
            obs: None,
            manifest,
        };
        appender.keep_index()?;
        Ok(appender)
    }

    /// The store as it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The first obs that is written: where the last block of the store is not full, the first of that.
    pub fn first_obs(&self) -> u64 {
        self.manifest.n_obs - self.manifest.n_obs % u64::from(self.manifest.block_size)
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

    /// Reads what the index says of the blocks that stay.
    fn keep_index(&mut self) -> Result<(), WriteError> {
        let manifest = &self.manifest;
        let layout = manifest.index_layout();
        let path = self.place.path.join(&manifest.index.file);
        verify(&path, &manifest.index)?;
        let kept = self.first_obs();
        let block_size = u64::from(manifest.block_size);
        let open = |at: u64| -> std::io::Result<BufReader<File>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(BufReader::with_capacity(1 << 18, file))
        };
        let failed = || WriteError::io(&path);
        let mut records = open(INDEX_HEADER_BYTES as u64).map_err(failed())?;
        for _ in 0..kept / block_size {
            let mut bytes = [0; BLOCK_RECORD_BYTES];
            records.read_exact(&mut bytes).map_err(failed())?;
            self.index.append_record(BlockRecord::from_bytes(bytes));
        }
        let mut ends = open(layout.ends_at).map_err(failed())?;
        let mut details = open(layout.details_at).map_err(failed())?;
        let mut left = kept;
        while left > 0 {
            let now = left.min(INDEX_ENTRIES as u64) as usize;
            let (ends, details) = read_obs(&mut ends, &mut details, &layout, now).map_err(failed())?;
            self.index.append_obs(&ends, &details)?;
            left -= now as u64;
        }
        // The values of the last block will be counted again.
        let n_again = (manifest.n_obs - kept) as usize;
        let (ends, details) = read_obs(&mut ends, &mut details, &layout, n_again).map_err(failed())?;
        let nnz_again = match manifest.encoding {
            Encoding::Packed => details.iter().map(|&nnz| u64::from(nnz)).sum(),
            Encoding::Raw => u64::from(ends.last().copied().unwrap_or(0)),
        };
        self.totals = Totals {
            n_obs: kept,
            nnz: manifest.nnz.saturating_sub(nnz_again),
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
    pub fn append(&mut self, block: &EncodedBlock) -> Result<(), WriteError> {
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

    fn new_shard(&self) -> Result<PathBuf, WriteError> {
        let number = self.shards.next_number();
        let name = shard_file(number);
        if self.place.stripe.is_empty() {
            return Ok(self.place.work.join(name));
        }
        let shard = self.place.stripe[number as usize % self.place.stripe.len()].join(&name);
        let link = self.place.work.join(name);
        symlink(&shard, &link).map_err(WriteError::io(&link))?;
        Ok(shard)
    }

    /// Writes the obs table of all obs, those that were there included, from its batches: 65,536 rows each, fewer only in the
    /// last.
    ///
    /// # Errors
    /// Where a batch is an error, or writing fails.
    pub fn write_obs<E: From<WriteError>>(
        &mut self,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        let path = self
            .place
            .work
            .join(next_name(&self.manifest.obs.file, "obs", "arrow"));
        self.obs = Some(write_table(&path, schema, batches)?);
        Ok(())
    }

    /// Makes the obs a part of the store.
    ///
    /// # Errors
    /// Where a write failed. The store is what it was then.
    ///
    /// # Panics
    /// Where obs was not written, or has not one row per obs.
    pub fn finish(self) -> Result<Manifest, WriteError> {
        let kept = self.kept_shards();
        let Some(obs) = self.obs else {
            panic!("obs is written before the store is finished");
        };
        assert_eq!(obs.n_rows, self.totals.n_obs, "rows of obs");
        let old = &self.manifest;
        let var_path = self.place.path.join(&old.var.file);
        let var = Written {
            entry: old.var.clone(),
            crc: hash(&var_path, &old.var)?,
            n_rows: old.n_vars,
        };
        let shards = self.shards.finish()?;
        let new_files: Vec<String> = shards.iter().map(|shard| shard.file.clone()).collect();
        let content = Content {
            options: &self.options,
            totals: self.totals,
            shards: kept.into_iter().chain(shards).collect(),
            obs,
            var,
        };
        let index_file = next_name(&self.manifest.index.file, "index", "bin");
        let manifest = complete(&self.place.work, content, self.index, &index_file)?;
        write_manifest(&self.place.work, &manifest)?;
        let place = &self.place;
        for directory in &place.stripe {
            sync(directory)?;
        }
        let files = || new_files.iter().chain([&manifest.index.file, &manifest.obs.file]);
        for file in files().map(String::as_str).chain([MANIFEST_FILE]) {
            sync(&place.work.join(file))?;
        }
        let take_over = || {
            files().try_for_each(|file| place.take_over(file))?;
            sync(&place.path)?;
            place.take_over(MANIFEST_FILE)
        };
        let taken = place.unfinished.commit(take_over);
        taken.map_err(WriteError::io(&place.path))??;
        sync(&place.path)?;
        for file in [&self.manifest.index.file, &self.manifest.obs.file] {
            // Whoever has it mapped keeps it. What cannot be removed now is removed by the next run.
            let _ = fs::remove_file(self.place.path.join(file));
        }
        Ok(manifest)
    }

    /// The shards that are there, without a last block that is written again, and with the id that their headers have.
    fn kept_shards(&self) -> Vec<ShardEntry> {
        let mut shards = self.manifest.shards.clone();
        for shard in &mut shards {
            shard
                .store_id
                .get_or_insert_with(|| self.manifest.store_id.clone());
        }
        if self.first_obs() < self.manifest.n_obs
            && let Some(last) = shards.iter_mut().rev().find(|shard| shard.blocks > 0)
        {
            last.blocks -= 1;
        }
        shards
    }
}

/// Reads what the index says of the next `n` obs.
fn read_obs(
    ends: &mut impl Read,
    details: &mut impl Read,
    layout: &IndexLayout,
    n: usize,
) -> std::io::Result<(Vec<u32>, Vec<u32>)> {
    let ends = read_entries(ends, n)?;
    let details = match layout.detail_bytes {
        2 => {
            let mut bytes = vec![0; 2 * n];
            details.read_exact(&mut bytes)?;
            let entry = |bytes: &[u8]| u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            bytes.chunks_exact(2).map(entry).collect()
        }
        _ => read_entries(details, n)?,
    };
    Ok((ends, details))
}

/// The name after `index.bin` is `index-0001.bin`, and so on.
fn next_name(file: &str, stem: &str, extension: &str) -> String {
    let number = version_of(file, stem, extension).unwrap_or(0);
    format!("{stem}-{:04}.{extension}", number + 1)
}

/// Removes what a killed process left in the store: files that are called as ours are, and that the manifest does not name.
fn remove_remains(path: &Path, manifest: &Manifest, stripe: &[PathBuf]) {
    let _ = fs::remove_dir_all(path.join(WORK_DIRECTORY));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_named = [&manifest.index.file, &manifest.obs.file, &manifest.var.file].contains(&&name)
            || manifest.shards.iter().any(|shard| shard.file == name);
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
