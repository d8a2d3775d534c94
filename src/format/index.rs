//! The index: where each obs is and how many values it has (`FORMAT.md`, section 4).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::constants::{BLOCK_RECORD_BYTES, INDEX_HEADER_BYTES, INDEX_MAGIC, SECTION_ALIGNMENT, VERSION};
use super::error::FormatError;
use super::manifest::{Encoding, Manifest, ShardEntry};
use super::raw::RawLayout;
use super::readahead::Readahead;
use super::rules::least_bytes;
use crate::store::lazy::Lazy;

/// Where the sections of an index lie, from the shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLayout {
    /// Number of obs.
    pub n_obs: u64,
    /// Number of blocks.
    pub n_blocks: u64,
    /// Width of a details entry: 2 or 4 bytes.
    pub detail_bytes: u32,
    /// Start of the ends.
    pub ends_at: u64,
    /// Start of the details.
    pub details_at: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

impl IndexLayout {
    /// The layout for a store of this shape.
    pub const fn new(n_obs: u64, block_size: u32, encoding: Encoding, max_obs_nnz: u64) -> Self {
        let align = SECTION_ALIGNMENT as u64;
        let n_blocks = n_obs.div_ceil(block_size as u64);
        let detail_bytes = match encoding {
            Encoding::Packed if max_obs_nnz <= u16::MAX as u64 => 2,
            _ => 4,
        };
        let ends_at =
            (INDEX_HEADER_BYTES as u64 + n_blocks * BLOCK_RECORD_BYTES as u64).next_multiple_of(align);
        let details_at = (ends_at + n_obs * 4).next_multiple_of(align);
        Self {
            n_obs,
            n_blocks,
            detail_bytes,
            ends_at,
            details_at,
            file_bytes: details_at + n_obs * detail_bytes as u64,
        }
    }

    /// The 64 bytes of the header.
    pub fn header(
        &self,
        encoding: Encoding,
        block_size: u32,
        store_id: [u8; 16],
    ) -> [u8; INDEX_HEADER_BYTES] {
        let mut header = [0; INDEX_HEADER_BYTES];
        header[..8].copy_from_slice(&INDEX_MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(encoding as u32).to_le_bytes());
        header[16..24].copy_from_slice(&self.n_obs.to_le_bytes());
        header[24..32].copy_from_slice(&self.n_blocks.to_le_bytes());
        header[32..36].copy_from_slice(&block_size.to_le_bytes());
        header[36..40].copy_from_slice(&self.detail_bytes.to_le_bytes());
        header[40..56].copy_from_slice(&store_id);
        let crc = super::checksum::crc32c(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Record of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Start of the block in its shard.
    pub offset_bytes: u64,
    /// Number of the shard.
    pub shard: u32,
    /// Length of the payload, padding not included.
    pub payload_bytes: u32,
}

impl BlockRecord {
    /// The record of these 16 bytes.
    pub fn from_bytes(bytes: [u8; BLOCK_RECORD_BYTES]) -> Self {
        let at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            offset_bytes: u64::from(at(0)) | u64::from(at(4)) << 32,
            shard: at(8),
            payload_bytes: at(12),
        }
    }

    /// The 16 bytes of the record.
    pub fn to_bytes(self) -> [u8; BLOCK_RECORD_BYTES] {
        let mut bytes = [0; BLOCK_RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.offset_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.shard.to_le_bytes());
        bytes[12..].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes
    }
}

/// Place of one obs in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObsPlace {
    /// Packed: bytes of the frame within the block. Raw: numbers of its values within the block.
    pub range: (u32, u32),
    /// Number of values.
    pub nnz: u32,
    /// Raw: the CRC. Packed: 0 (the frame holds it).
    pub crc: u32,
}

/// What the manifest says of every obs, against which each entry of an index is checked when it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryLimits {
    pub(crate) encoding: Encoding,
    pub(crate) max_obs_nnz: u32,
    pub(crate) max_obs_bytes: u64,
}

impl EntryLimits {
    /// Place of the obs whose entries these are; `start` is the end of the obs before it in the same block. `None` where they do
    /// not fit the payload of the block, the limits, or each other: then memory for its values must not be taken.
    #[inline]
    pub(crate) fn place(self, (start, end): (u32, u32), detail: u32, payload_bytes: u32) -> Option<ObsPlace> {
        if start > end {
            return None;
        }
        let len = end - start;
        let (nnz, crc, fits) = match self.encoding {
            Encoding::Packed => {
                let least = least_bytes(Encoding::Packed, detail, 0, super::ValueType::F32);
                let len = u64::from(len);
                let holds = len >= least && (detail > 0 || len == 0) && len <= self.max_obs_bytes;
                (detail, 0, end <= payload_bytes && holds)
            }
            // The number of values gives that of the bytes. The place of the last value within the payload is checked where the
            // layout of the block is known.
            Encoding::Raw => (len, detail, u64::from(end) * 2 <= u64::from(payload_bytes)),
        };
        (fits && nnz <= self.max_obs_nnz).then_some(ObsPlace {
            range: (start, end),
            nnz,
            crc,
        })
    }
}

/// Checks that blocks follow each other, without gaps, in the shards that the manifest gives them to.
///
/// `record` reads the record of the next block. `broken` makes the error of a rule that is broken: by the record of a block, or at the
/// end of a shard, at this byte.
pub(crate) fn check_order<E>(
    shards: &[ShardEntry],
    alignment: u32,
    mut record: impl FnMut(u64) -> Result<BlockRecord, E>,
    broken: impl Fn(Misplaced, String) -> E,
) -> Result<(), E> {
    let alignment = u64::from(alignment);
    let mut block = 0;
    for (number, shard) in shards.iter().enumerate() {
        let mut next = alignment;
        for _ in 0..shard.blocks {
            let found = record(block)?;
            if (found.shard as usize, found.offset_bytes) != (number, next) {
                let rule = format!(
                    "block {block} is at shard {}, byte {}; expected shard {number}, byte {next}",
                    found.shard, found.offset_bytes
                );
                return Err(broken(Misplaced::Block(block), rule));
            }
            // Below 2^63 before and 2^32 more.
            next += u64::from(found.payload_bytes).next_multiple_of(alignment);
            if next > shard.bytes {
                let rule = format!("block {block} ends at byte {next} of {}", shard.bytes);
                return Err(broken(Misplaced::Block(block), rule));
            }
            block += 1;
        }
        // Where obs were appended, the last block before them was written again elsewhere, and the old one is still there.
        if next != shard.bytes && shard.store_id.is_none() {
            let rule = format!(
                "the shard's blocks end at byte {next}, the file at {}",
                shard.bytes
            );
            return Err(broken(
                Misplaced::End {
                    shard: number,
                    at: next,
                },
                rule,
            ));
        }
    }
    Ok(())
}

/// Where blocks do not lie as they should.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misplaced {
    /// By the record of this block.
    Block(u64),
    /// After the last block of this shard.
    End {
        /// Number of the shard.
        shard: usize,
        /// Where the block ends.
        at: u64,
    },
}

/// The index of an open store, read as it is looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {
    content: Arc<Lazy>,
    readahead: Arc<Readahead>,
    file: Arc<PathBuf>,
    layout: IndexLayout,
    encoding: Encoding,
    block_size: u32,
    n_vars: u64,
    value_bytes: u32,
    limits: EntryLimits,
    raw_value_type: Option<super::ValueType>,
    shard_bytes: Arc<[u64]>,
    alignment: u32,
}

impl Index {
    /// Takes an index after comparing its length and header with the manifest. No entry is read.
    pub(crate) fn new(content: Lazy, file: PathBuf, manifest: &Manifest) -> Result<Self, FormatError> {
        let layout = manifest.index_layout();
        if content.len() as u64 != layout.file_bytes {
            let (expected, found) = (layout.file_bytes, content.len() as u64);
            return Err(FormatError::Length {
                file,
                expected,
                found,
            });
        }
        let expected = layout.header(manifest.encoding, manifest.block_size, manifest.store_id());
        let header = content.bytes(0..expected.len())?;
        if let Some(at) = expected.iter().zip(header).position(|(a, b)| a != b) {
            return Err(FormatError::invalid(
                &file,
                at as u64,
                "the index's header is not that of this store",
            ));
        }
        Ok(Self {
            content: Arc::new(content),
            readahead: Arc::new(Readahead::new(layout.file_bytes)),
            file: Arc::new(file),
            layout,
            encoding: manifest.encoding,
            block_size: manifest.block_size,
            n_vars: manifest.n_vars,
            value_bytes: manifest.stored_value_type().size_bytes() as u32,
            limits: manifest.entry_limits(),
            raw_value_type: manifest.raw_value_type,
            shard_bytes: manifest.shards.iter().map(|shard| shard.bytes).collect(),
            alignment: manifest.alignment,
        })
    }

    /// Number of obs.
    pub fn n_obs(&self) -> u64 {
        self.layout.n_obs
    }

    /// Number of blocks.
    pub fn n_blocks(&self) -> u64 {
        self.layout.n_blocks
    }

    /// Obs per block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The encoding of the blocks.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes of the whole file.
    ///
    /// # Errors
    /// Where it cannot be read, or has become shorter.
    pub(crate) fn bytes(&self) -> Result<&[u8], FormatError> {
        self.content.bytes(0..self.content.len())
    }

    /// Has the kernel read what the index says of these obs, which ascend, all at once and without waiting for it.
    pub(crate) fn will_need(&self, obs: impl Iterator<Item = u64> + Clone) {
        if self.readahead.is_done() {
            return;
        }
        let ask = |range| self.content.will_need(range);
        let layout = &self.layout;
        let record = |obs| {
            let at = INDEX_HEADER_BYTES as u64 + obs / u64::from(self.block_size) * BLOCK_RECORD_BYTES as u64;
            at..at + BLOCK_RECORD_BYTES as u64
        };
        // An obs begins where the one before it ends.
        let ends = |obs: u64| layout.ends_at + obs.saturating_sub(1) * 4..layout.ends_at + (obs + 1) * 4;
        let details = |obs: u64| {
            let (at, width) = (layout.details_at, u64::from(layout.detail_bytes));
            at + obs * width..at + (obs + 1) * width
        };
        self.readahead.ask(obs.clone().map(record), ask);
        self.readahead.ask(obs.clone().map(ends), ask);
        self.readahead.ask(obs.map(details), ask);
    }

    /// The obs of a block.
    pub fn obs_of_block(&self, block: u64) -> Range<u64> {
        let first = block * u64::from(self.block_size);
        first..(first + u64::from(self.block_size)).min(self.n_obs())
    }

    #[inline]
    fn array_at<const N: usize>(&self, at: u64) -> Result<[u8; N], FormatError> {
        self.content.array(at as usize)
    }

    #[inline]
    fn u32_at(&self, at: u64) -> Result<u32, FormatError> {
        self.array_at(at).map(u32::from_le_bytes)
    }

    /// Record of a block, checked to lie within its shard.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where it does not: the index is damaged. Else where the index has become shorter.
    ///
    /// # Panics
    /// Where there is no such block.
    #[inline]
    pub fn block(&self, block: u64) -> Result<BlockRecord, FormatError> {
        assert!(block < self.n_blocks(), "block {block} of {}", self.n_blocks());
        let at = INDEX_HEADER_BYTES as u64 + block * BLOCK_RECORD_BYTES as u64;
        let record = BlockRecord::from_bytes(self.array_at(at)?);
        let offset_bytes = record.offset_bytes;
        let shard_bytes = self.shard_bytes.get(record.shard as usize).copied().unwrap_or(0);
        let inside = offset_bytes >= u64::from(self.alignment)
            && offset_bytes.is_multiple_of(u64::from(self.alignment))
            && offset_bytes
                .checked_add(u64::from(record.payload_bytes))
                .is_some_and(|end| end <= shard_bytes);
        // An empty payload takes no space, and its record may stand at the end of a shard.
        if inside {
            Ok(record)
        } else {
            Err(self.damaged(at, format!("block {block} does not lie within a shard")))
        }
    }

    /// Place of an obs within its block, checked against the block's payload and the limits in the manifest.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where it does not fit: the index is damaged.
    ///
    /// # Panics
    /// Where there is no such obs.
    #[inline]
    pub fn place(&self, obs: u64, payload_bytes: u32) -> Result<ObsPlace, FormatError> {
        assert!(obs < self.n_obs(), "obs {obs} of {}", self.n_obs());
        let end_at = self.layout.ends_at + obs * 4;
        let (start, end) = if obs.is_multiple_of(u64::from(self.block_size)) {
            (0, self.u32_at(end_at)?)
        } else {
            // It begins where the obs before it ends.
            let both = u64::from_le_bytes(self.array_at(end_at - 4)?);
            (both as u32, (both >> 32) as u32)
        };
        let detail_at = self.layout.details_at + obs * u64::from(self.layout.detail_bytes);
        let detail = match self.layout.detail_bytes {
            2 => u32::from(u16::from_le_bytes(self.array_at(detail_at)?)),
            _ => self.u32_at(detail_at)?,
        };
        self.limits
            .place((start, end), detail, payload_bytes)
            .ok_or_else(|| self.bad_entry(obs, (start, end), detail))
    }

    #[cold]
    fn bad_entry(&self, obs: u64, (start, end): (u32, u32), detail: u32) -> FormatError {
        let values = match self.encoding {
            Encoding::Packed => detail,
            Encoding::Raw => end.wrapping_sub(start),
        };
        let EntryLimits {
            max_obs_nnz,
            max_obs_bytes,
            ..
        } = self.limits;
        let rule = format!(
            "the entry of obs {obs} ({start}..{end}, {values} values) fits neither its block nor the limits of an obs \
             ({max_obs_nnz} values, {max_obs_bytes} bytes)"
        );
        self.damaged(self.layout.ends_at + obs * 4, rule)
    }

    /// What the third section says of the obs at this place.
    pub(crate) fn detail(&self, place: ObsPlace) -> u32 {
        match self.encoding {
            Encoding::Packed => place.nnz,
            Encoding::Raw => place.crc,
        }
    }

    /// Layout of a raw block, checked against its payload.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where the payload is not what the number of values asks for: the index is damaged.
    pub fn raw_layout(&self, block: u64, payload_bytes: u32) -> Result<RawLayout, FormatError> {
        let obs = self.obs_of_block(block);
        let at = self.layout.ends_at + (obs.end - 1) * 4;
        let n_obs = (obs.end - obs.start) as usize;
        let layout = RawLayout::new(
            n_obs,
            self.u32_at(at)? as usize,
            self.n_vars,
            self.stored_value_type(),
        );
        if layout.payload_bytes == payload_bytes as usize {
            Ok(layout)
        } else {
            let rule = format!(
                "block {block} has {payload_bytes} bytes, expected {}",
                layout.payload_bytes
            );
            Err(self.damaged(at, rule))
        }
    }

    fn stored_value_type(&self) -> super::ValueType {
        debug_assert!(
            self.raw_value_type
                .is_some_and(|t| t.size_bytes() as u32 == self.value_bytes)
        );
        self.raw_value_type.unwrap_or(super::ValueType::F32)
    }

    fn damaged(&self, offset: u64, rule: String) -> FormatError {
        FormatError::invalid(&self.file, offset, rule)
    }

    /// The index's file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}
