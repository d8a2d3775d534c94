//! What a part says of itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::PART_INDEX_FILE;
use crate::Error;
use crate::format::constants::{
    BLOCK_RECORD_BYTES, MAX_MANIFEST_BYTES, OBS_FILE, PART_FILE, TABLE_BATCH_ROWS, VAR_FILE,
};
use crate::format::encoding::StoredMatrix;
use crate::format::file::{Links, open, read_whole};
use crate::format::index::EntryLimits;
use crate::format::json::with_allowance;
use crate::format::manifest::{FileEntry, ShardEntry, check_crc};
use crate::format::rules::Claims;
use crate::format::{Encoding, ValueType, VarOrder};
use crate::writer::complete::Totals;
use crate::writer::error::WriteError;

pub(super) const FORMAT: &str = "cellring-part";

pub(super) const VERSION: u32 = 1;

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
    /// If there is no such part.
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
    #[serde(deserialize_with = "crate::format::json::limited")]
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
    #[serde(deserialize_with = "crate::format::json::limited_object")]
    pub source: serde_json::Value,
}

/// What says which version a part has, whatever else it holds.
#[derive(Deserialize)]
struct FormatVersion {
    format: String,
    version: u32,
}

impl PartManifest {
    /// Reads what a part says of itself, checks it, and compares the lengths of its files with it.
    ///
    /// # Errors
    /// If `path` is not a part, or not whole.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refuse = |problem: String| WriteError::Part {
            path: path.to_path_buf(),
            problem,
        };
        let file = path.join(PART_FILE);
        match std::fs::symlink_metadata(path) {
            Err(_) => return Err(refuse("there is no such part; convert it".into()).into()),
            // Only the link would be removed with the part.
            Ok(found) if found.is_symlink() => {
                return Err(refuse("it is a symbolic link; name the part that it leads to".into()).into());
            }
            Ok(_) if std::fs::symlink_metadata(&file).is_err() => {
                return Err(refuse(format!("it has no {PART_FILE}, so it is not a part")).into());
            }
            Ok(_) => {}
        }
        let bytes = read_whole(&file, Links::Refused, MAX_MANIFEST_BYTES).map_err(WriteError::io(&file))?;
        check_crc(&bytes, &file)?;
        let wrong = |error| {
            refuse(format!(
                "a member of its {PART_FILE} is wrong ({error}); convert the part again and replace it"
            ))
        };
        let head: FormatVersion = serde_json::from_slice(&bytes).map_err(wrong)?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(
                refuse("it was written by another version of cellring; convert it again".into()).into(),
            );
        }
        let part: Self = with_allowance(|| serde_json::from_slice(&bytes)).map_err(wrong)?;
        part.check().map_err(|rule| {
            refuse(format!(
                "the members of its {PART_FILE} contradict each other ({rule}); convert the part again and replace it"
            ))
        })?;
        part.check_files(path)?;
        Ok(part)
    }

    /// Checks what the members say of each other, so that nothing later needs to.
    fn check(&self) -> Result<(), String> {
        let claims = Claims {
            n_obs: self.n_obs,
            nnz: self.nnz,
            encoding: self.encoding,
            matrix: StoredMatrix {
                n_vars: self.n_vars,
                value_type: self.value_type,
                stored: match self.encoding.has_raw_value_type() {
                    true => self.raw_value_type,
                    false => self.value_type,
                },
                f32_exact: self.f32_exact,
                has_row_checksums: false,
            },
            block_size: self.block_size,
            alignment: self.alignment,
            max_obs_nnz: self.max_obs_nnz,
            is_joined: false,
            max_obs_bytes: self.max_obs_bytes,
            shards: &self.shards,
            index: &self.index,
            obs: &self.obs,
            var: &self.var,
        };
        if self.encoding == Encoding::Linked {
            return Err("a part is not linked".into());
        }
        claims.check(|| self.n_blocks() * BLOCK_RECORD_BYTES as u64 + self.n_obs * 8)?;
        let (first, block_size) = (self.first_obs, u64::from(self.block_size));
        let end = first.checked_add(self.n_obs);
        let Some(end) = end.filter(|&end| end <= self.n_obs_of_store && self.n_obs_of_store < 1 << 48) else {
            return Err("its obs are beyond those of the store".into());
        };
        let in_whole_blocks = |obs: u64| obs.is_multiple_of(block_size) || obs == self.n_obs_of_store;
        if !in_whole_blocks(first) || !in_whole_blocks(end) {
            return Err("it does not hold whole blocks".into());
        }
        let rows = part_table_rows(first..end, self.n_obs_of_store);
        if self.obs_rows != rows.end - rows.start {
            return Err("obs_rows does not match its obs".into());
        }
        if !(1..=self.parts).contains(&self.part) {
            return Err("part is not within 1 and parts".into());
        }
        if self.shards.iter().any(|shard| shard.store_id.is_some()) {
            return Err("a shard has the id of a store".into());
        }
        let names = [
            (&self.index, PART_INDEX_FILE),
            (&self.obs, OBS_FILE),
            (&self.var, VAR_FILE),
        ];
        match names.iter().all(|(entry, name)| entry.file == **name) {
            true => Ok(()),
            false => Err("a file does not have the name of a file of a part".into()),
        }
    }

    /// Compares the lengths of the files.
    fn check_files(&self, path: &Path) -> Result<(), Error> {
        let files =
            [&self.index, &self.obs, &self.var].map(|entry| (&entry.file, entry.bytes, Links::Refused));
        let shards = self
            .shards
            .iter()
            .map(|shard| (&shard.file, shard.bytes, Links::Followed));
        for (name, expected, links) in files.into_iter().chain(shards) {
            let refuse = |what: String| WriteError::Part {
                path: path.to_path_buf(),
                problem: format!("{name}{what}; convert the part again and replace it"),
            };
            let found = open(&path.join(name), links).and_then(|file| Ok(file.metadata()?.len()));
            let found = found.map_err(|error| refuse(format!(": {error}")))?;
            if found != expected {
                return Err(refuse(format!(" has {found} bytes, expected {expected}")).into());
            }
        }
        Ok(())
    }

    /// Number of blocks.
    pub(in crate::writer) fn n_blocks(&self) -> u64 {
        self.n_obs.div_ceil(u64::from(self.block_size))
    }

    /// What every entry of the index keeps to.
    pub(in crate::writer) fn entry_limits(&self) -> EntryLimits {
        EntryLimits {
            encoding: self.encoding,
            max_obs_nnz: self.max_obs_nnz,
            max_obs_bytes: self.max_obs_bytes,
        }
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        let shards: u64 = self.shards.iter().map(|shard| shard.bytes).sum();
        shards + self.index.bytes + self.obs.bytes + self.var.bytes
    }

    pub(in crate::writer) fn totals(&self) -> Totals {
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
