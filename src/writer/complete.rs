//! What comes last: the index, the headers of the shards, and the manifest.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::block::EncodedBlock;
use super::error::WriteError;
use super::options::WriterOptions;
use super::spool::{IndexSpool, write_header};
use crate::Error;
use crate::format::constants::{MANIFEST_FILE, VERSION};
use crate::format::file::{FileName, open_to_write};
use crate::format::index::IndexLayout;
use crate::format::manifest::{FileEntry, ShardEntry, id_text};
use crate::format::{Manifest, shard};

/// What is known of all obs together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) n_obs: u64,
    pub(super) nnz: u64,
    pub(super) max_obs_nnz: u32,
    pub(super) max_obs_bytes: u64,
    pub(super) f32_exact: bool,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            n_obs: 0,
            nnz: 0,
            max_obs_nnz: 0,
            max_obs_bytes: 0,
            f32_exact: true,
        }
    }
}

impl Totals {
    pub(super) fn of_block(block: &EncodedBlock) -> Self {
        Self {
            n_obs: block.ends.len() as u64,
            nnz: block.nnz,
            max_obs_nnz: block.max_obs_nnz,
            max_obs_bytes: block.max_obs_bytes,
            f32_exact: block.f32_exact,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.n_obs += other.n_obs;
        // Of parts it may be any number; one so large is refused when the store is verified.
        self.nnz = self.nnz.saturating_add(other.nnz);
        self.max_obs_nnz = self.max_obs_nnz.max(other.max_obs_nnz);
        self.max_obs_bytes = self.max_obs_bytes.max(other.max_obs_bytes);
        self.f32_exact &= other.f32_exact;
    }
}

/// A table that has been written.
#[derive(Clone, Debug)]
pub(super) struct WrittenTable {
    pub(super) entry: FileEntry,
    /// CRC of the whole file.
    pub(super) crc: u32,
    pub(super) n_rows: u64,
}

/// Everything of a store but what its index says.
pub(super) struct Content<'a> {
    pub(super) options: &'a WriterOptions,
    pub(super) totals: Totals,
    pub(super) shards: Vec<ShardEntry>,
    pub(super) obs: WrittenTable,
    pub(super) var: WrittenTable,
}

/// Writes the index into `directory` and gives the manifest. What is left are the headers of the shards, and the manifest itself.
pub(super) fn complete(
    directory: &Path,
    content: Content<'_>,
    mut index: IndexSpool,
    index_file: &str,
) -> Result<Manifest, Error> {
    let Content {
        options,
        totals,
        shards,
        obs,
        var,
    } = content;
    let layout = IndexLayout::new(
        totals.n_obs,
        options.block_size,
        options.encoding,
        u64::from(totals.max_obs_nnz),
    );
    let path = directory.join(index_file);
    let sections_crc = index.write_sections(&path, &layout)?;
    let mut manifest = Manifest {
        format: "cellring".into(),
        version: VERSION,
        features: Vec::new(),
        store_id: String::new(),
        n_obs: totals.n_obs,
        n_vars: options.n_vars,
        nnz: totals.nnz,
        encoding: options.encoding,
        value_type: options.value_type,
        raw_value_type: options
            .encoding
            .has_raw_value_type()
            .then_some(options.raw_value_type),
        f32_exact: totals.f32_exact,
        block_size: options.block_size,
        alignment: options.alignment,
        max_obs_nnz: totals.max_obs_nnz,
        max_obs_bytes: totals.max_obs_bytes,
        var_order: options.var_order,
        shards,
        index: FileEntry {
            file: FileName::own(index_file),
            bytes: layout.file_bytes,
            crc32c: [].into(),
        },
        obs: obs.entry,
        var: var.entry,
        name: None,
        matrices: Vec::new(),
        source: options.source.clone(),
    };
    let store_id = manifest.id_of_content(sections_crc, obs.crc, var.crc);
    manifest.store_id = id_text(store_id);
    let header = layout.header(options.encoding, options.block_size, store_id);
    manifest.index.crc32c = write_header(&path, &header)?.into();
    Ok(manifest)
}

/// Writes the headers of shards that are new: those without an id of their own.
pub(super) fn write_headers(directory: &Path, manifest: &Manifest) -> Result<(), Error> {
    for (number, path) in new_shards(directory, manifest) {
        let header = shard::encode_header(number, manifest.store_id(), manifest.alignment);
        open_to_write(&path)
            .and_then(|file| file.write_all_at(&header, 0))
            .map_err(WriteError::io(&path))?;
    }
    Ok(())
}

/// Numbers and places of the shards that are new: behind a link of ours where they are on another disk.
pub(super) fn new_shards<'a>(
    directory: &'a Path,
    manifest: &'a Manifest,
) -> impl Iterator<Item = (u32, PathBuf)> + 'a {
    let shards = manifest.shards.iter().enumerate();
    let new = shards.filter(|(_, shard)| shard.store_id.is_none());
    new.map(|(number, shard)| {
        let path = directory.join(&shard.file);
        (number as u32, std::fs::read_link(&path).unwrap_or(path))
    })
}

/// Writes the manifest into a directory that has none.
pub(super) fn write_manifest(directory: &Path, manifest: &Manifest) -> Result<(), Error> {
    let path = directory.join(MANIFEST_FILE);
    let bytes = manifest
        .to_bytes()
        .map_err(|error| WriteError::io(&path)(error.into()))?;
    write_new(&path, &bytes)
}

/// Writes a file that does not exist yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Ok(std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(WriteError::io(path))?)
}
