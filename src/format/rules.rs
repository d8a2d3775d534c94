//! What a manifest says, of a store as of a part of one, fits together: checked once, before a file that it names is opened.
//!
//! Everything that is later allocated, added up or divided by rests on these rules, so nothing after them checks again.

use super::constants::{ALIGNMENT_RANGE, CHECKSUM_PIECE_BYTES, MAX_BLOCK_SIZE};
use super::encoding::{Encoding, StoredMatrix};
use super::entries::{FileEntry, ShardEntry};
use super::file::FileName;
use super::hex::parse_id;
use cellring_core::ValueType;

/// Numbers of bytes and of values, and their sums, stay below this.
const LIMIT: u64 = 1 << 63;
/// Bytes of a position in the source, which each row of `var` has.
const POSITION_BYTES: u64 = 4;

/// What a manifest says of one matrix.
pub(crate) struct Claims<'a> {
    pub(crate) n_obs: u64,
    pub(crate) nnz: u64,
    pub(crate) encoding: Encoding,
    pub(crate) matrix: StoredMatrix,
    pub(crate) block_size: u32,
    pub(crate) alignment: u32,
    pub(crate) max_obs_nnz: u32,
    /// Whether an input may have more columns than the matrix; its obs are compared with its own when it is opened.
    pub(crate) is_joined: bool,
    pub(crate) max_obs_bytes: u64,
    pub(crate) shards: &'a [ShardEntry],
    pub(crate) index: &'a FileEntry,
    pub(crate) obs: &'a FileEntry,
    pub(crate) var: &'a FileEntry,
}

impl Claims<'_> {
    /// Checks all of it. `index_bytes` gives the length of the index, and is asked when the shape is within its limits.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn check(&self, index_bytes: impl Fn() -> u64) -> Result<(), String> {
        self.check_shape()?;
        self.check_obs()?;
        self.check_shards()?;
        rule(
            self.index.bytes == index_bytes(),
            "the index's length is not what the shape requires",
        )?;
        rule(
            self.var.bytes >= self.matrix.n_vars * POSITION_BYTES,
            "var is shorter than the positions of its rows",
        )?;
        let has_checksums = |file: &FileEntry| {
            file.bytes < LIMIT && file.crc32c.len() as u64 == file.bytes.div_ceil(CHECKSUM_PIECE_BYTES as u64)
        };
        rule(
            [self.index, self.obs, self.var].into_iter().all(has_checksums),
            "a file does not have one checksum for each piece of 1048576 bytes",
        )
    }

    fn check_shape(&self) -> Result<(), String> {
        let StoredMatrix {
            n_vars,
            value_type,
            stored,
            ..
        } = self.matrix;
        rule(
            (1..=MAX_BLOCK_SIZE).contains(&self.block_size),
            "block_size is not within 1..=65536",
        )?;
        rule(
            self.alignment.is_power_of_two() && ALIGNMENT_RANGE.contains(&self.alignment),
            "alignment is not a power of two within 512..=1048576",
        )?;
        rule(
            n_vars < 1 << 31 && self.n_obs < 1 << 48,
            "the shape is beyond 2^48 obs or 2^31 vars",
        )?;
        rule(
            stored == value_type
                || (self.encoding.has_raw_value_type()
                    && matches!(stored, ValueType::U8 | ValueType::U16 | ValueType::U32)),
            "raw_value_type is neither value_type nor u8, u16 or u32",
        )
    }

    /// The limits of a single obs.
    fn check_obs(&self) -> Result<(), String> {
        let (nnz, most) = (u128::from(self.nnz), u128::from(self.max_obs_nnz));
        rule(
            self.is_joined || u64::from(self.max_obs_nnz) <= self.matrix.n_vars,
            "max_obs_nnz is above n_vars",
        )?;
        rule(
            self.nnz < LIMIT && most <= nnz && nnz <= most * u128::from(self.n_obs),
            "nnz and max_obs_nnz contradict each other",
        )?;
        rule(
            self.max_obs_bytes <= u64::from(u32::MAX),
            "max_obs_bytes is above 2^32 - 1",
        )?;
        let fits = self
            .encoding
            .obs_bytes(self.max_obs_nnz, &self.matrix)
            .contains(&self.max_obs_bytes);
        rule(fits, "max_obs_bytes and max_obs_nnz contradict each other")?;
        let longest = self.shards.iter().map(|shard| shard.bytes).max().unwrap_or(0);
        rule(
            self.max_obs_bytes <= longest,
            "max_obs_bytes is above the length of every shard",
        )
    }

    fn check_shards(&self) -> Result<(), String> {
        if self.encoding == Encoding::Linked {
            return rule(self.shards.is_empty(), "a linked store has shards");
        }
        let alignment = u64::from(self.alignment);
        rule(
            u32::try_from(self.shards.len()).is_ok_and(|n| n < u32::MAX),
            "there are 2^32 - 1 shards or more",
        )?;
        rule(
            self.shards.iter().enumerate().all(|(number, shard)| {
                shard.file == FileName::shard(number as u32)
                    && shard.bytes % alignment == 0
                    && shard.bytes >= alignment
            }),
            "a shard's name or length is not what the format prescribes",
        )?;
        rule(
            self.shards
                .iter()
                .filter_map(|shard| shard.store_id.as_ref())
                .all(|id| parse_id(id).is_some()),
            "store_id is not 32 lower-case hexadecimal digits",
        )?;
        let sum = |of: fn(&ShardEntry) -> u64| {
            self.shards
                .iter()
                .try_fold(0u64, |sum, shard| sum.checked_add(of(shard)))
        };
        rule(
            sum(|shard| shard.bytes).is_some_and(|bytes| bytes < LIMIT),
            "the shards have 2^63 bytes or more",
        )?;
        rule(
            sum(|shard| shard.blocks) == Some(self.n_obs.div_ceil(u64::from(self.block_size))),
            "the blocks of the shards do not add up to those of the store",
        )
    }
}

fn rule(holds: bool, rule: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(rule.to_owned()),
    }
}
