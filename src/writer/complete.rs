//! What comes last: the index, the headers of the shards, and the manifest.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::spool::IndexSpool;
use super::{EncodedBlock, WriteError, WriterOptions};
use crate::format::checksum::crc32c;
use crate::format::constants::{MANIFEST_FILE, VERSION};
use crate::format::index::IndexLayout;
use crate::format::manifest::{FileEntry, ShardEntry};
use crate::format::{Encoding, Manifest, ValueType, shard};

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
        self.nnz += other.nnz;
        self.max_obs_nnz = self.max_obs_nnz.max(other.max_obs_nnz);
        self.max_obs_bytes = self.max_obs_bytes.max(other.max_obs_bytes);
        self.f32_exact &= other.f32_exact;
    }
}

/// A table that has been written.
#[derive(Clone, Debug)]
pub(super) struct Written {
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
    pub(super) obs: Written,
    pub(super) var: Written,
}

/// Writes the index and the headers of shards into `directory`, and gives the manifest; only shards without an id of their own get a header.
pub(super) fn complete(
    directory: &Path,
    content: Content<'_>,
    mut index: IndexSpool,
    index_file: &str,
) -> Result<Manifest, WriteError> {
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
    let text = format!(
        "{},{},{},{},{},{},{}",
        totals.n_obs,
        options.n_vars,
        totals.nnz,
        options.block_size,
        options.alignment,
        options.encoding.name(),
        value_type_name(options.value_type),
    );
    let path = directory.join(index_file);
    let sections_crc = index.write_sections(&path, &layout)?;
    let mut store_id = [0; 16];
    let crcs = [sections_crc, obs.crc, var.crc, crc32c(text.as_bytes())];
    for (bytes, crc) in store_id.chunks_mut(4).zip(crcs) {
        bytes.copy_from_slice(&crc.to_le_bytes());
    }
    let header = layout.header(options.encoding, options.block_size, store_id);
    let index_crcs = index.write_header(&path, &header)?;
    let new = shards
        .iter()
        .enumerate()
        .filter(|(_, shard)| shard.store_id.is_none());
    for (number, entry) in new {
        let path = directory.join(&entry.file);
        let header = shard::encode_header(number as u32, store_id, options.alignment);
        let file = OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.write_all_at(&header, 0))
            .map_err(WriteError::io(&path))?;
    }
    let manifest = Manifest {
        format: "cellring".into(),
        version: VERSION,
        features: Vec::new(),
        store_id: store_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        n_obs: totals.n_obs,
        n_vars: options.n_vars,
        nnz: totals.nnz,
        encoding: options.encoding,
        value_type: options.value_type,
        raw_value_type: (options.encoding == Encoding::Raw).then_some(options.raw_value_type),
        f32_exact: totals.f32_exact,
        block_size: options.block_size,
        alignment: options.alignment,
        max_obs_nnz: totals.max_obs_nnz,
        max_obs_bytes: totals.max_obs_bytes,
        var_order: options.var_order,
        shards,
        index: FileEntry {
            file: index_file.into(),
            bytes: layout.file_bytes,
            crc32c: index_crcs,
        },
        obs: obs.entry,
        var: var.entry,
        name: None,
        matrices: Vec::new(),
        source: options.source.clone(),
    };
    Ok(manifest)
}

/// Writes the manifest into a directory that has none.
pub(super) fn write_manifest(directory: &Path, manifest: &Manifest) -> Result<(), WriteError> {
    let path = directory.join(MANIFEST_FILE);
    let bytes = manifest
        .to_bytes()
        .map_err(|error| WriteError::io(&path)(error.into()))?;
    write_new(&path, &bytes)
}

/// Writes a file that does not exist yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(WriteError::io(path))
}

/// The name of a type in the manifest.
fn value_type_name(value_type: ValueType) -> String {
    serde_json::to_value(value_type)
        .ok()
        .and_then(|v| v.as_str().map(str::to_string))
        .unwrap_or_default()
}
