//! Shards: files of many chunks, with an index of where each of them is.

use std::num::NonZeroU64;

use serde_json::Value;

use super::{Chain, ElementBytes, Layout, guard, lengths, n_elements, product};
use crate::container::{Class, Fault};

/// The most chunks of a shard. Their places are held in memory.
const MAX_CHUNKS: u64 = 1 << 20;

/// What the index of a shard says of a chunk that is not stored.
pub(in super::super) const ABSENT: (u64, u64) = (u64::MAX, u64::MAX);

/// Bytes of an entry of the index of a shard.
const ENTRY_BYTES: u64 = size_of::<(u64, u64)>() as u64;

/// How a shard is made up of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ShardLayout {
    /// Shape of a chunk.
    pub(in super::super) chunk: Vec<NonZeroU64>,
    /// Chunks along each dimension of the shard.
    pub(in super::super) per_shard: Vec<u64>,
    /// The codecs of a chunk.
    pub(in super::super) inner: Chain,
    index: Chain,
    pub(in super::super) index_bytes: u64,
    index_is_first: bool,
}

impl ShardLayout {
    pub(super) fn new(
        levels: usize,
        configuration: &Value,
        shard: &[NonZeroU64],
        class: &Class,
        element_bytes: usize,
    ) -> Result<Self, Fault> {
        let chunk = lengths(configuration.get("chunk_shape"))?;
        let pairs = || {
            shard
                .iter()
                .zip(&chunk)
                .map(|(shard, chunk)| (shard.get(), chunk.get()))
        };
        if chunk.len() != shard.len() || pairs().any(|(shard, chunk)| !shard.is_multiple_of(chunk)) {
            return Err(format!("its shards of {shard:?} are not made of whole chunks of {chunk:?}").into());
        }
        let per_shard: Vec<u64> = pairs().map(|(shard, chunk)| shard / chunk).collect();
        let n_chunks = product(per_shard.iter().copied()).filter(|&n| n <= MAX_CHUNKS);
        let Some(n_chunks) = n_chunks else {
            return Err(
                format!("its shards have {per_shard:?} chunks, expected at most {MAX_CHUNKS}").into(),
            );
        };
        // The index is an array of numbers itself: of the offset and the length of each chunk.
        let numbers = Class::Int { signed: false };
        let index = Chain::within(0, &configuration["index_codecs"], &[], &numbers, size_of::<u64>())?;
        let plain = Some(n_chunks * ENTRY_BYTES).filter(|_| matches!(index.layout, Layout::Fixed { .. }));
        let stored = { index.codecs.iter() }.try_fold(plain, |n, codec| Some(codec.encoded_bytes(n?)));
        let Some(Some(index_bytes)) = stored else {
            return Err("the index of its shards is compressed".to_owned().into());
        };
        let index_is_first = match configuration["index_location"].as_str() {
            Some("start") => true,
            None | Some("end") => false,
            Some(other) => return Err(format!("the index of its shards is at their {other}").into()),
        };
        Ok(Self {
            inner: Chain::within(levels, &configuration["codecs"], &chunk, class, element_bytes)?,
            chunk,
            per_shard,
            index,
            index_bytes,
            index_is_first,
        })
    }

    /// Where the index of a shard of so many bytes is.
    pub(in super::super) fn index_at(&self, shard_bytes: u64) -> Result<u64, String> {
        let last = shard_bytes.checked_sub(self.index_bytes);
        let last = last.ok_or_else(|| {
            format!(
                "it has {} bytes, but the shard only {shard_bytes}",
                self.index_bytes
            )
        })?;
        Ok(if self.index_is_first { 0 } else { last })
    }

    /// Offset and length of each chunk of a shard of so many bytes, as its index says; [`ABSENT`] for those that are not stored.
    pub(in super::super) fn places(
        &self,
        index: Vec<u8>,
        shard_bytes: u64,
    ) -> Result<Vec<(u64, u64)>, String> {
        let n_chunks: u64 = self.per_shard.iter().product();
        let numbers = guard(|| self.index.decode_bytes(index, Some(n_chunks * ENTRY_BYTES)))?;
        let number = |bytes: &[u8; 8]| match self.index.big_endian() {
            true => u64::from_be_bytes(*bytes),
            false => u64::from_le_bytes(*bytes),
        };
        let entries = numbers.as_chunks::<8>().0.as_chunks::<2>().0;
        let places: Vec<_> = entries
            .iter()
            .map(|[offset, n]| (number(offset), number(n)))
            .collect();
        // No two chunks share bytes, so that no small shard stands for much.
        let lengths = places.iter().filter(|&&place| place != ABSENT);
        let sum = lengths.fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        match sum > shard_bytes {
            true => Err(format!(
                "its chunks have {sum} bytes, but the shard only {shard_bytes}"
            )),
            false => Ok(places),
        }
    }

    /// Decodes a shard of this shape whole.
    pub(super) fn decode(
        &self,
        stored: &[u8],
        shard: &[NonZeroU64],
        element: ElementBytes<'_>,
    ) -> Result<Vec<u8>, String> {
        let at = self.index_at(stored.len() as u64)? as usize;
        let index = stored[at..][..self.index_bytes as usize].to_vec();
        let places = self.places(index, stored.len() as u64)?;
        // Of one dimension all is one row.
        let rows_and_columns = |lengths: &[NonZeroU64]| match lengths {
            [rows, columns] => [rows.get() as usize, columns.get() as usize],
            _ => [1, n_elements(lengths) as usize],
        };
        let [rows, columns] = rows_and_columns(&self.chunk);
        let [_, shard_columns] = rows_and_columns(shard);
        let row_bytes = columns * element.size_bytes;
        let shard_row_bytes = shard_columns * element.size_bytes;
        let across = shard_columns / columns;
        let n = n_elements(shard) as usize;
        let mut all = element.fill.repeat(n * element.size_bytes / element.fill.len());
        for (number, place) in places.into_iter().enumerate() {
            let (offset, n_bytes) = place;
            if place == ABSENT {
                continue;
            }
            let within = offset
                .checked_add(n_bytes)
                .filter(|&end| end <= stored.len() as u64);
            let Some(end) = within else {
                return Err(format!("chunk {number} of a shard ends beyond it"));
            };
            let piece = stored[offset as usize..end as usize].to_vec();
            let decoded = self.inner.decode_elements(piece, &self.chunk, element)?;
            let (down, right) = (number / across * rows, number % across * row_bytes);
            for (row, from) in decoded.chunks_exact(row_bytes).enumerate() {
                all[(down + row) * shard_row_bytes + right..][..row_bytes].copy_from_slice(from);
            }
        }
        Ok(all)
    }
}
