//! The index: where each obs is and how many values it has (`FORMAT.md`, section 4).

mod layout;
mod limits;
mod order;
mod readahead;
pub(super) mod record;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use layout::IndexLayout;
pub(crate) use limits::EntryLimits;
pub(crate) use order::{Misplaced, check_order};
use readahead::Readahead;
pub use record::{BlockRecord, ObsPlace};

use super::constants::{BLOCK_RECORD_BYTES, INDEX_HEADER_BYTES};
use super::encoding::{Encoding, Entries, StoredMatrix};
use super::error::FormatError;
use super::lazy::Lazy;
use super::manifest::Manifest;
use super::obs::Location;

/// The index of an open store, read as it is looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {
    content: Arc<Lazy>,
    readahead: Arc<Readahead>,
    file: Arc<PathBuf>,
    layout: IndexLayout,
    encoding: Encoding,
    block_size: u32,
    matrix: StoredMatrix,
    limits: EntryLimits,
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
            matrix: manifest.stored_matrix(),
            limits: manifest.entry_limits(),
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
    /// If it cannot be read, or has become shorter.
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
    /// If it does not: the index is damaged. Else where the index has become shorter.
    ///
    /// # Panics
    /// If there is no such block.
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
    /// If it does not fit: the index is damaged.
    ///
    /// # Panics
    /// If there is no such obs.
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
        let values = self.encoding.place((start, end), detail).nnz;
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
        self.encoding.detail(place)
    }

    /// Where an obs is. Every range is checked to be within its shard.
    ///
    /// # Errors
    /// If the index is damaged.
    ///
    /// # Panics
    /// If there is no such obs.
    pub fn locate(&self, obs: u64) -> Result<Location, FormatError> {
        let block = obs / u64::from(self.block_size);
        let record = self.block(block)?;
        let place = self.place(obs, record.payload_bytes)?;
        Ok(Location {
            shard: record.shard,
            parts: self.encoding.parts(self, obs, place, block, record)?,
            nnz: place.nnz,
            crc: place.crc,
        })
    }

    fn damaged(&self, offset: u64, rule: String) -> FormatError {
        FormatError::invalid(&self.file, offset, rule)
    }

    /// The index's file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Entries for Index {
    fn matrix(&self) -> &StoredMatrix {
        &self.matrix
    }

    fn obs_of_block(&self, block: u64) -> Range<u64> {
        self.obs_of_block(block)
    }

    fn stated_end(&self, obs: u64) -> Result<u32, FormatError> {
        self.u32_at(self.layout.ends_at + obs * 4)
    }

    fn end(&self, obs: u64, payload_bytes: u32) -> Result<u32, FormatError> {
        self.place(obs, payload_bytes).map(|place| place.range.1)
    }

    fn damaged(&self, rule: String) -> FormatError {
        self.damaged(0, rule)
    }

    fn damaged_end(&self, obs: u64, rule: String) -> FormatError {
        self.damaged(self.layout.ends_at + obs * 4, rule)
    }
}
