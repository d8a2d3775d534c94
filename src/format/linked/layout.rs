//! Where the sections of the index of a linked store are, and its header.

use std::path::Path;

use crate::format::FormatError;
use crate::format::checksum::crc32c;
use crate::format::constants::{INDEX_HEADER_BYTES, LINK_MAGIC, LINK_VERSION, SECTION_ALIGNMENT};

use super::EXTENT_BYTES;

/// The start of every 64th obs is in the index.
pub(crate) const GROUP_OBS: u64 = 64;
/// Most bytes of a description: the paths of some hundred thousand files, or some hundred different maps of columns.
const MAX_DESCRIPTION_BYTES: u32 = 64 << 20;
/// Bytes of a start.
const START_BYTES: u64 = 8;
/// Bytes of the checksum of a row.
pub(crate) const CHECKSUM_BYTES: u64 = 4;

/// Width of a count: 2 or 4 bytes.
pub(crate) const fn count_bytes(max_obs_nnz: u32) -> u32 {
    if max_obs_nnz <= u16::MAX as u32 { 2 } else { 4 }
}

/// Where the sections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkedLayout {
    pub(crate) n_obs: u64,
    pub(crate) nnz: u64,
    /// Width of a count: 2 or 4 bytes.
    pub(crate) count_bytes: u32,
    /// Length of the description, which follows the header.
    pub(crate) description_bytes: u32,
    /// Extents of the columns and of the values.
    pub(crate) n_extents: [u64; 2],
    /// Start of the starts.
    pub(crate) starts_at: u64,
    /// Start of the counts.
    pub(crate) counts_at: u64,
    /// Start of the extents of the columns and of the values.
    pub(crate) extents_at: [u64; 2],
    /// Start of the checksums of the rows, if there are any.
    pub(crate) checksums_at: Option<u64>,
    /// Length of the file.
    pub(crate) file_bytes: u64,
}

impl LinkedLayout {
    /// The layout for these numbers; `None` if the description is too long, or the file would have 2^63 bytes or more.
    pub(crate) fn new(
        n_obs: u64,
        nnz: u64,
        count_bytes: u32,
        description_bytes: u32,
        n_extents: [u64; 2],
        has_row_checksums: bool,
    ) -> Option<Self> {
        let align = |at: u64| at.checked_next_multiple_of(SECTION_ALIGNMENT as u64);
        let after = |at: u64, n: u64, bytes: u64| at.checked_add(n.checked_mul(bytes)?);
        let starts_at = align(after(INDEX_HEADER_BYTES as u64, u64::from(description_bytes), 1)?)?;
        let counts_at = align(after(starts_at, n_obs.div_ceil(GROUP_OBS), START_BYTES)?)?;
        let first = align(after(counts_at, n_obs, u64::from(count_bytes))?)?;
        let second = align(after(first, n_extents[0], EXTENT_BYTES as u64)?)?;
        let extents_end = after(second, n_extents[1], EXTENT_BYTES as u64)?;
        let (checksums_at, file_bytes) = match has_row_checksums {
            false => (None, extents_end),
            true => {
                let at = align(extents_end)?;
                (Some(at), after(at, n_obs, CHECKSUM_BYTES)?)
            }
        };
        (file_bytes < 1 << 63 && description_bytes <= MAX_DESCRIPTION_BYTES).then_some(Self {
            n_obs,
            nnz,
            count_bytes,
            description_bytes,
            n_extents,
            starts_at,
            counts_at,
            extents_at: [first, second],
            checksums_at,
            file_bytes,
        })
    }

    /// The 64 bytes of the header.
    pub(crate) fn header(&self, store_id: [u8; 16]) -> [u8; INDEX_HEADER_BYTES] {
        let mut header = [0; INDEX_HEADER_BYTES];
        header[..8].copy_from_slice(&LINK_MAGIC);
        header[8..12].copy_from_slice(&LINK_VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&self.count_bytes.to_le_bytes());
        header[16..24].copy_from_slice(&self.n_obs.to_le_bytes());
        header[24..32].copy_from_slice(&self.nnz.to_le_bytes());
        header[32..36].copy_from_slice(&self.description_bytes.to_le_bytes());
        header[40..56].copy_from_slice(&store_id);
        let crc = crc32c(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Whether a header is that of an index of the version that is read.
    ///
    /// # Errors
    /// If it is that of another one.
    pub(crate) fn check_version(header: &[u8], file: &Path) -> Result<(), FormatError> {
        let found = header.strip_prefix(&LINK_MAGIC).and_then(<[u8]>::first_chunk);
        match found.map(|&found| u32::from_le_bytes(found)) {
            Some(found) if found != LINK_VERSION => Err(FormatError::LinkVersion {
                file: file.to_path_buf(),
                found,
                expected: LINK_VERSION,
            }),
            _ => Ok(()),
        }
    }

    /// Length of the description that a header states.
    pub(crate) fn stated_description_bytes(header: &[u8]) -> Option<u32> {
        let bytes = header.get(32..36)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes)).filter(|&bytes| bytes <= MAX_DESCRIPTION_BYTES)
    }

    /// The gaps between the sections, which are zero; the last is empty where there are no checksums.
    pub(crate) fn gaps(&self) -> [(u64, u64); 5] {
        let description_end = INDEX_HEADER_BYTES as u64 + u64::from(self.description_bytes);
        let starts_end = self.starts_at + self.n_obs.div_ceil(GROUP_OBS) * START_BYTES;
        let counts_end = self.counts_at + self.n_obs * u64::from(self.count_bytes);
        let [first_end, second_end] =
            [0, 1].map(|k| self.extents_at[k] + self.n_extents[k] * EXTENT_BYTES as u64);
        [
            (description_end, self.starts_at),
            (starts_end, self.counts_at),
            (counts_end, self.extents_at[0]),
            (first_end, self.extents_at[1]),
            (second_end, self.checksums_at.unwrap_or(second_end)),
        ]
    }
}
