//! What a manifest says, of a store as of a part of one, fits together: checked once, before a file that it names is opened.
//!
//! Everything that is later allocated, added up or divided by rests on these rules, so nothing behind them checks again.

use super::constants::{
    ALIGNMENT_RANGE, CHECKSUM_PIECE_BYTES, DESCRIPTOR_BYTES, FRAME_CRC_BYTES, GROUP_LEN, MAX_BLOCK_SIZE,
    MAX_DICTIONARY, MAX_EXCEPTIONS, MAX_WIDTH,
};
use super::file::FileName;
use super::manifest::{Encoding, FileEntry, ShardEntry};
use super::raw::index_bytes;
use super::value::ValueType;

/// Numbers of bytes and of values, and their sums, stay below this.
const LIMIT: u64 = 1 << 63;
/// Bytes of a position in the source, which each row of `var` has.
const POSITION_BYTES: u64 = 4;

/// What a manifest says of one matrix.
pub(crate) struct Claims<'a> {
    pub(crate) n_obs: u64,
    pub(crate) n_vars: u64,
    pub(crate) nnz: u64,
    pub(crate) encoding: Encoding,
    pub(crate) value_type: ValueType,
    /// The type in which values are stored.
    pub(crate) stored: ValueType,
    pub(crate) block_size: u32,
    pub(crate) alignment: u32,
    pub(crate) max_obs_nnz: u32,
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
            self.var.bytes >= self.n_vars * POSITION_BYTES,
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
        rule(
            (1..=MAX_BLOCK_SIZE).contains(&self.block_size),
            "block_size is not within 1..=65536",
        )?;
        rule(
            self.alignment.is_power_of_two() && ALIGNMENT_RANGE.contains(&self.alignment),
            "alignment is not a power of two within 512..=1048576",
        )?;
        rule(
            self.n_vars < 1 << 31 && self.n_obs < 1 << 48,
            "the shape is beyond 2^48 obs or 2^31 vars",
        )?;
        rule(
            self.stored == self.value_type
                || (self.encoding == Encoding::Raw
                    && matches!(self.stored, ValueType::U8 | ValueType::U16 | ValueType::U32)),
            "raw_value_type is neither value_type nor u8, u16 or u32",
        )
    }

    /// The limits of a single obs.
    fn check_obs(&self) -> Result<(), String> {
        let (nnz, most) = (u128::from(self.nnz), u128::from(self.max_obs_nnz));
        rule(
            u64::from(self.max_obs_nnz) <= self.n_vars,
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
        let least = least_bytes(self.encoding, self.max_obs_nnz, self.n_vars, self.stored);
        let fits = match self.encoding {
            Encoding::Packed if least == 0 => self.max_obs_bytes == 0,
            Encoding::Packed => {
                let most = most_bytes(self.max_obs_nnz, self.value_type);
                (least..=most).contains(&self.max_obs_bytes)
            }
            Encoding::Raw => self.max_obs_bytes == least,
        };
        rule(fits, "max_obs_bytes and max_obs_nnz contradict each other")?;
        let longest = self.shards.iter().map(|shard| shard.bytes).max().unwrap_or(0);
        rule(
            self.max_obs_bytes <= longest,
            "max_obs_bytes is above the length of every shard",
        )
    }

    fn check_shards(&self) -> Result<(), String> {
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

/// The least number of bytes in which an obs with `nnz` values lies. Raw: the only one.
#[inline]
pub(crate) fn least_bytes(encoding: Encoding, nnz: u32, n_vars: u64, stored: ValueType) -> u64 {
    let values = u64::from(nnz);
    match (encoding, values) {
        (_, 0) => 0,
        // A mode, a descriptor for each group, and the checksum.
        (Encoding::Packed, _) => {
            1 + values.div_ceil(GROUP_LEN as u64) * DESCRIPTOR_BYTES as u64 + FRAME_CRC_BYTES as u64
        }
        (Encoding::Raw, _) => values * (index_bytes(n_vars) + stored.size_bytes()) as u64,
    }
}

/// The largest number of bytes of a frame of `nnz` values: those of a dictionary, of groups that have all exceptions, and of plain values.
fn most_bytes(nnz: u32, value_type: ValueType) -> u64 {
    let width = value_type.size_bytes() as u64;
    let packed = (GROUP_LEN * MAX_WIDTH as usize).div_ceil(8);
    let group = DESCRIPTOR_BYTES + 2 * (packed + MAX_EXCEPTIONS * 5);
    let groups = u64::from(nnz).div_ceil(GROUP_LEN as u64) * group as u64;
    let head = (1 + 2 + FRAME_CRC_BYTES + MAX_DICTIONARY * width as usize) as u64;
    head + groups + u64::from(nnz) * width
}

fn rule(holds: bool, rule: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(rule.to_owned()),
    }
}

/// The bytes of a store id, written as 32 lower-case hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(id)
}

/// A checksum, written as 8 lower-case hexadecimal digits.
pub(crate) fn parse_crc(text: &str) -> Option<u32> {
    match text.len() {
        8 => text
            .bytes()
            .try_fold(0, |crc, byte| Some(crc << 4 | digit(byte)?)),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'a'..=b'f' => Some(u32::from(byte - b'a' + 10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_in_lower_case() {
        assert_eq!(parse_crc("00c0ffee"), Some(0x00C0_FFEE));
        for text in ["00C0FFEE", "c0ffee", "+0c0ffee", "000c0ffee", "0x0ffeee", "ääää"] {
            assert_eq!(parse_crc(text), None, "{text}");
        }
        let id = parse_id("000102030405060708090a0b0c0d0e0f").unwrap();
        assert_eq!(id, std::array::from_fn(|k| k as u8));
        assert_eq!(parse_id("000102030405060708090A0B0C0D0E0F"), None);
        assert_eq!(parse_id("ääääääääääääääää"), None);
    }

    #[test]
    fn the_least_bytes_of_an_obs() {
        for (nnz, packed, raw) in [(0, 0, 0), (1, 8, 6), (128, 8, 768), (129, 11, 774)] {
            assert_eq!(least_bytes(Encoding::Packed, nnz, 100, ValueType::F32), packed);
            assert_eq!(least_bytes(Encoding::Raw, nnz, 100, ValueType::F32), raw);
        }
        // As FORMAT.md says it.
        assert_eq!(
            most_bytes(129, ValueType::F32),
            7 + 65_536 * 4 + 1_625 * 2 + 129 * 4
        );
    }
}
