//! A part of a store: a stretch of its blocks, written apart from the others, and what is needed to put them together.
//!
//! A part is a directory of its own: shards whose headers are still zero, `index.part` (the index's records, then its ends, then
//! its details, 4 bytes each; shards counted from 0), `var.arrow` whole, and `obs.arrow` with those record batches of the store's
//! table that begin within the part. `part.json` tells about them and ends with a checksum as a manifest does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::complete::{Totals, write_new};
use super::{StoreWriter, WriteError};
use crate::format::constants::{BLOCK_RECORD_BYTES, PART_FILE, TABLE_BATCH_ROWS};
use crate::format::manifest::{FileEntry, ShardEntry, check_crc, seal};
use crate::format::{Encoding, ValueType, VarOrder};

/// Name of the index of a part.
pub(super) const PART_INDEX_FILE: &str = "index.part";
const FORMAT: &str = "cellring-part";
const VERSION: u32 = 1;
/// As for the manifest of a store.
const MAX_PART_BYTES: u64 = 256 << 20;

/// Which part of a store is written, and from what.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Number of the part, from 1 on.
    pub number: u32,
    /// Number of parts.
    pub of: u32,
    /// First obs of the part.
    pub first_obs: u64,
    /// Obs of all parts together.
    pub n_obs_of_store: u64,
    /// What the part was made from and how; parts that differ in it are not put together.
    pub settings: serde_json::Value,
    /// Members of the manifest's `source` that are sums over all parts: this part's share.
    pub counts: BTreeMap<String, u64>,
    /// Members of the manifest's `source` that the sums begin with, the same in all parts.
    pub counts_of_all: BTreeMap<String, u64>,
}

impl Part {
    /// The blocks of part `number` (from 1 on) of `of`, of `n_blocks`: whole blocks, as equally many as can be.
    ///
    /// # Panics
    /// Where there is no such part.
    pub fn blocks(number: u32, of: u32, n_blocks: u64) -> std::ops::Range<u64> {
        assert!((1..=of).contains(&number), "part {number} of {of}");
        let end = |number: u32| (u128::from(n_blocks) * u128::from(number) / u128::from(of)) as u64;
        end(number - 1)..end(number)
    }
}

/// What `part.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the manifest of a store, and in `Part`")]
pub struct PartManifest {
    pub format: String,
    pub version: u32,
    pub part: u32,
    pub parts: u32,
    pub settings: serde_json::Value,
    pub n_obs_of_store: u64,
    pub first_obs: u64,
    pub n_obs: u64,
    pub n_vars: u64,
    pub nnz: u64,
    pub encoding: Encoding,
    pub value_type: ValueType,
    pub raw_value_type: ValueType,
    pub f32_exact: bool,
    pub block_size: u32,
    pub alignment: u32,
    pub max_obs_nnz: u32,
    pub max_obs_bytes: u64,
    pub var_order: VarOrder,
    pub shards: Vec<ShardEntry>,
    pub index: FileEntry,
    pub obs: FileEntry,
    /// Rows of `obs`: not those of the part's obs, but those of the batches that begin within it.
    pub obs_rows: u64,
    pub var: FileEntry,
    pub counts: BTreeMap<String, u64>,
    pub counts_of_all: BTreeMap<String, u64>,
    pub source: serde_json::Value,
}

impl PartManifest {
    /// Reads what a part says of itself and compares the lengths of its files with that.
    ///
    /// # Errors
    /// [`WriteError::Part`] where `path` is no part, or not whole.
    pub fn open(path: &Path) -> Result<Self, WriteError> {
        let refuse = |problem: String| WriteError::Part {
            path: path.to_path_buf(),
            problem,
        };
        let file = path.join(PART_FILE);
        let length = match std::fs::metadata(&file) {
            Ok(metadata) => metadata.len(),
            Err(_) if !path.exists() => return Err(refuse("there is no such part; convert it".into())),
            Err(_) => return Err(refuse(format!("it has no {PART_FILE}, so it is not a part"))),
        };
        if length > MAX_PART_BYTES {
            return Err(refuse(format!(
                "its {PART_FILE} is larger than any that is written"
            )));
        }
        let bytes = std::fs::read(&file).map_err(WriteError::io(&file))?;
        check_crc(&bytes, &file)?;
        let part: Self = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("a member of its {PART_FILE} is wrong: {error}")))?;
        if part.format != FORMAT || part.version != VERSION {
            return Err(refuse(
                "it was written by another version of cellring; convert it again".into(),
            ));
        }
        let blocks = part.n_obs.div_ceil(u64::from(part.block_size.max(1)));
        let index_bytes = blocks * BLOCK_RECORD_BYTES as u64 + part.n_obs * 8;
        if part.index.bytes != index_bytes
            || part.shards.iter().map(|shard| shard.blocks).sum::<u64>() != blocks
        {
            return Err(refuse(format!(
                "the members of its {PART_FILE} contradict each other"
            )));
        }
        let files = [&part.index, &part.obs, &part.var].map(|entry| (&entry.file, entry.bytes));
        let shards = part.shards.iter().map(|shard| (&shard.file, shard.bytes));
        for (name, expected) in files.into_iter().chain(shards) {
            let found = std::fs::metadata(path.join(name)).map_or(0, |metadata| metadata.len());
            if found != expected {
                return Err(refuse(format!(
                    "{name} has {found} bytes, expected {expected}; convert the part again with --force"
                )));
            }
        }
        Ok(part)
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        let shards: u64 = self.shards.iter().map(|shard| shard.bytes).sum();
        shards + self.index.bytes + self.obs.bytes + self.var.bytes
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            n_obs: self.n_obs,
            nnz: self.nnz,
            max_obs_nnz: self.max_obs_nnz,
            max_obs_bytes: self.max_obs_bytes,
            f32_exact: self.f32_exact,
        }
    }
}

/// The rows of the store's obs table that are written into a part that has these obs.
pub fn part_table_rows(obs: std::ops::Range<u64>, n_obs_of_store: u64) -> std::ops::Range<u64> {
    let batch = TABLE_BATCH_ROWS as u64;
    let aligned = |obs: u64| obs.next_multiple_of(batch).min(n_obs_of_store);
    aligned(obs.start)..aligned(obs.end)
}

impl StoreWriter {
    /// Completes a part of a store instead of a store, and gives it its name.
    ///
    /// # Errors
    /// As [`Self::finish`].
    ///
    /// # Panics
    /// Where a table was not written.
    pub fn finish_part(mut self, part: Part) -> Result<PartManifest, WriteError> {
        let (Some(obs), Some(var)) = (self.obs, self.var) else {
            panic!("both tables are written before the part is finished");
        };
        let shards = self.shards.finish()?;
        let (bytes, crc32c) = self
            .index
            .write_part(&self.staging.path().join(PART_INDEX_FILE))?;
        let (options, totals) = (self.options, self.totals);
        let manifest = PartManifest {
            format: FORMAT.into(),
            version: VERSION,
            part: part.number,
            parts: part.of,
            settings: part.settings,
            n_obs_of_store: part.n_obs_of_store,
            first_obs: part.first_obs,
            n_obs: totals.n_obs,
            n_vars: options.n_vars,
            nnz: totals.nnz,
            encoding: options.encoding,
            value_type: options.value_type,
            raw_value_type: options.raw_value_type,
            f32_exact: totals.f32_exact,
            block_size: options.block_size,
            alignment: options.alignment,
            max_obs_nnz: totals.max_obs_nnz,
            max_obs_bytes: totals.max_obs_bytes,
            var_order: options.var_order,
            shards,
            index: FileEntry {
                file: PART_INDEX_FILE.into(),
                bytes,
                crc32c,
            },
            obs: obs.entry,
            obs_rows: obs.n_rows,
            var: var.entry,
            counts: part.counts,
            counts_of_all: part.counts_of_all,
            source: options.source,
        };
        let path = self.staging.path().join(PART_FILE);
        let bytes = seal(&manifest).map_err(|error| WriteError::io(&path)(error.into()))?;
        write_new(&path, &bytes)?;
        self.staging.publish()?;
        Ok(manifest)
    }
}

/// Where part `number` of `of` of a store lies by default.
pub fn part_path(store: &Path, number: u32, of: u32) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".part-{number:04}-of-{of:04}"));
    store.with_file_name(name)
}

/// Whether a path is what [`part_path`] calls a part of this store.
pub(super) fn is_part_of(path: &Path, store: &Path) -> bool {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let prefix = format!("{}.part-", name(store));
    let (name, is_number) = (name(path), |text: &str| {
        text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let numbers = name
        .strip_prefix(&prefix)
        .and_then(|rest| rest.split_once("-of-"));
    numbers.is_some_and(|(number, of)| is_number(number) && is_number(of))
}

/// The parts of a store that lie where [`part_path`] says, in order.
///
/// # Errors
/// Where the directory cannot be read.
pub fn parts_of(store: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let parent = super::publish::parent_of(store);
    let entries = std::fs::read_dir(parent).map_err(WriteError::io(parent))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = parent.join(entry.map_err(WriteError::io(parent))?.file_name());
        if is_part_of(&path, store) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_blocks_and_leave_none_out() {
        for (n_blocks, of) in [(0, 3), (1, 3), (10, 3), (7, 7), (5, 8), (u64::MAX >> 1, 1000)] {
            let mut next = 0;
            for number in 1..=of {
                let blocks = Part::blocks(number, of, n_blocks);
                assert_eq!(blocks.start, next);
                let len = blocks.end - blocks.start;
                assert!(len >= n_blocks / u64::from(of) && len <= n_blocks / u64::from(of) + 1);
                next = blocks.end;
            }
            assert_eq!(next, n_blocks);
        }
    }

    #[test]
    fn each_batch_of_obs_is_in_one_part() {
        let n_obs = 200_000;
        let bounds = [0, 65_536, 65_537, 100_000, 131_071, 131_072, 199_999, n_obs];
        let mut next = 0;
        for pair in bounds.windows(2) {
            let rows = part_table_rows(pair[0]..pair[1], n_obs);
            assert!(rows.start == next && rows.end >= rows.start);
            assert!(rows.end == n_obs || rows.end.is_multiple_of(65_536));
            next = rows.end;
        }
        assert_eq!(next, n_obs);
        assert_eq!(part_table_rows(0..10, 10), 0..10);
        assert_eq!(part_table_rows(5..10, 10), 10..10);
    }
}
