//! Arrays of a zarr hierarchy, and what is read of them.
//!
//! A chunk is decoded whole, or not at all: only then are all its checksums looked at. How long it is, stored and decoded, is
//! compared with its array before memory is taken for it.

mod stored;

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cellring_core::ValueType;
use rayon::prelude::*;

use super::chain::{Chain, ElementBytes, product};
use super::metadata::{Keys, Metadata};
use super::shards::Shards;
use super::storage::Storage;
use crate::container::limits::MAX_CHUNK_BYTES;
use crate::container::{Class, Fault, Foreign, StoredArray, Watched};

/// Chunks that any array may have, whatever the length of its files: those that hold only the fill value are not there.
const MANY_CHUNKS: u64 = 1 << 20;

/// Stored chunks are at most so many times as long as what they hold (numbers may be stored as wider ones), and these bytes more.
const MAX_STORED_SHARE: u64 = 8;
const MAX_OVERHEAD_BYTES: u64 = 1 << 16;

/// An array of one dimension or two, or a scalar, which is read as one row.
pub(super) struct ZarrArray {
    storage: Arc<Storage>,
    path: String,
    /// The names of chunks or, if they are in shards, of those.
    keys: Keys,
    /// The codecs of a chunk.
    chain: Chain,
    /// Shape of a chunk.
    chunk: Vec<NonZeroU64>,
    shards: Option<Shards>,
    n_rows: u64,
    /// 1 of an array of less than two dimensions.
    n_columns: u64,
    n_dimensions: usize,
    chunk_rows: u64,
    chunk_columns: u64,
    /// Bytes of an element.
    width_bytes: usize,
    /// An element that is not stored.
    fill: Vec<u8>,
    /// The most bytes of a stored chunk.
    most_stored_bytes: u64,
    /// The chunk of which only a part was wanted last: the rest of it is wanted next.
    tail: Mutex<Option<(u64, Vec<u8>)>>,
}

impl std::fmt::Debug for ZarrArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZarrArray")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ZarrArray {
    /// The array at `path` of a hierarchy whose files have `len_bytes` together.
    pub(super) fn new(
        storage: &Arc<Storage>,
        path: &str,
        metadata: Metadata,
        len_bytes: u64,
    ) -> Result<Self, Fault> {
        let Metadata {
            shape,
            element,
            chunk,
            chain,
            fill,
            keys,
        } = metadata;
        let (chain, shards, chunk) = match chain.into_shards() {
            Err(chain) => (chain, None, chunk),
            Ok(layout) => {
                let shards = Shards::new(layout, &shape, &chunk);
                let chunk = shards.chunk().to_vec();
                (shards.chain().clone(), Some(shards), chunk)
            }
        };
        let n_elements = product(chunk.iter().map(|length| length.get()));
        let chunk_bytes = n_elements
            .and_then(|n| n.checked_mul(element.size_bytes as u64))
            .filter(|&bytes| bytes <= MAX_CHUNK_BYTES);
        let Some(chunk_bytes) = chunk_bytes else {
            return Err(format!(
                "its chunks have {} elements, expected at most {MAX_CHUNK_BYTES} bytes",
                n_elements.unwrap_or(u64::MAX)
            )
            .into());
        };
        let pairs = shape.iter().zip(&chunk);
        let n_chunks = product(pairs.map(|(length, chunk)| length.div_ceil(chunk.get())));
        if n_chunks.is_none_or(|n| n > len_bytes.saturating_add(MANY_CHUNKS)) {
            return Err(format!(
                "it claims {} chunks, which is more than {len_bytes} bytes can hold",
                n_chunks.unwrap_or(u64::MAX)
            )
            .into());
        }
        let most_stored_bytes = match element.class == Class::VarText {
            true => MAX_CHUNK_BYTES,
            false => {
                let most = chunk_bytes.saturating_mul(MAX_STORED_SHARE) + MAX_OVERHEAD_BYTES;
                most.min(MAX_CHUNK_BYTES + MAX_CHUNK_BYTES / MAX_STORED_SHARE)
            }
        };
        let along = |lengths: &[u64], dimension: usize| lengths.get(dimension).copied().unwrap_or(1);
        let of_chunk: Vec<u64> = chunk.iter().map(|length| length.get()).collect();
        Ok(Self {
            storage: Arc::clone(storage),
            path: path.to_owned(),
            n_rows: along(&shape, 0),
            n_columns: along(&shape, 1),
            n_dimensions: shape.len(),
            chunk_rows: along(&of_chunk, 0),
            chunk_columns: along(&of_chunk, 1),
            width_bytes: element.size_bytes,
            fill,
            most_stored_bytes,
            tail: Mutex::new(None),
            chain,
            chunk,
            shards,
            keys,
        })
    }

    pub(super) fn shape(&self) -> Vec<u64> {
        match self.n_dimensions {
            0 => vec![],
            1 => vec![self.n_rows],
            _ => vec![self.n_rows, self.n_columns],
        }
    }

    /// The bytes of a chunk as they are stored; `None` if it is not.
    fn stored(&self, row: u64, column: u64) -> Result<Option<Vec<u8>>, Fault> {
        let at = &[row, column][..self.n_dimensions];
        match &self.shards {
            None => self.storage.read(&self.keys.of(at), self.most_stored_bytes),
            Some(shards) => {
                let held_bytes = |shard: &[u64]| self.storage.held_bytes(&self.keys.of(shard));
                shards.read(at, self.most_stored_bytes, held_bytes, |shard| {
                    let key = self.keys.of(shard);
                    Ok((self.storage.pieces(&key, MAX_CHUNK_BYTES)?, key))
                })
            }
        }
    }

    fn decoded(&self, row: u64, column: u64) -> Result<Option<Vec<u8>>, Fault> {
        let Some(stored) = self.stored(row, column)? else {
            return Ok(None);
        };
        let element = ElementBytes {
            size_bytes: self.width_bytes,
            fill: &self.fill,
        };
        Ok(Some(self.chain.decode(stored, &self.chunk, element)?))
    }

    fn fill(&self, place: &mut [u8]) {
        for element in place.chunks_exact_mut(self.fill.len()) {
            element.copy_from_slice(&self.fill);
        }
    }

    /// Reads rows that lie in one row of chunks.
    fn read_band(&self, rows: Range<u64>, band: &mut [u8]) -> Result<(), Fault> {
        let row = rows.start / self.chunk_rows;
        let skip = (rows.start - row * self.chunk_rows) as usize;
        let n_tiles = self.n_columns.div_ceil(self.chunk_columns);
        if n_tiles == 1 {
            self.deliver(self.decoded(row, 0)?.as_deref(), 0, skip, band);
            return Ok(());
        }
        let band = Mutex::new(band);
        (0..n_tiles).into_par_iter().try_for_each(|column| {
            let decoded = self.decoded(row, column)?;
            let mut band = band.lock().unwrap_or_else(PoisonError::into_inner);
            self.deliver(decoded.as_deref(), column, skip, &mut band);
            Ok(())
        })
    }

    /// Copies from a chunk, of which `skip` rows are passed over, what a band holds of it; the fill value where there is none.
    fn deliver(&self, chunk: Option<&[u8]>, column: u64, skip: usize, band: &mut [u8]) {
        let row_bytes = self.n_columns as usize * self.width_bytes;
        let chunk_row_bytes = self.chunk_columns as usize * self.width_bytes;
        if row_bytes == chunk_row_bytes {
            match chunk {
                Some(chunk) => band.copy_from_slice(&chunk[skip * row_bytes..][..band.len()]),
                None => self.fill(band),
            }
            return;
        }
        let start = column as usize * chunk_row_bytes;
        let end = row_bytes.min(start + chunk_row_bytes);
        for (row, place) in band.chunks_exact_mut(row_bytes).enumerate() {
            let place = &mut place[start..end];
            match chunk {
                Some(chunk) => place.copy_from_slice(&chunk[(skip + row) * chunk_row_bytes..][..end - start]),
                None => self.fill(place),
            }
        }
    }

    /// Adds the strings of rows that lie in one chunk; gives their bytes.
    fn add_text(&self, rows: Range<u64>, most_bytes: u64, strings: &mut Vec<String>) -> Result<u64, Fault> {
        let chunk = rows.start / self.chunk_rows;
        let Some(stored) = self.stored(chunk, 0)? else {
            let fill = text(&self.fill, strings.len())?;
            let n_bytes = (fill.len() as u64).saturating_mul(rows.end - rows.start);
            if n_bytes > most_bytes {
                return Err(too_much_text().into());
            }
            strings.extend({ rows }.map(|_| fill.clone()));
            return Ok(n_bytes);
        };
        let (bytes, offsets) = self
            .chain
            .decode_text(stored, self.chunk_rows * self.chunk_columns)?;
        let first = (rows.start - chunk * self.chunk_rows) as usize;
        let offsets = &offsets[first..=first + (rows.end - rows.start) as usize];
        let n_bytes = (offsets[offsets.len() - 1] - offsets[0]) as u64;
        if n_bytes > most_bytes {
            return Err(too_much_text().into());
        }
        for pair in offsets.windows(2) {
            let string = bytes.get(pair[0]..pair[1]).unwrap_or_default();
            strings.push(text(string, strings.len())?);
        }
        Ok(n_bytes)
    }
}

/// Why text is refused that is more than its file can be meant to hold.
fn too_much_text() -> String {
    "its strings are longer together than those of any sound file of this length".to_owned()
}

fn text(bytes: &[u8], row: usize) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("string {row} is not UTF-8"))
}

impl Foreign for ZarrArray {
    fn read(&self, range: Range<u64>, place: &mut [u8]) -> Result<(), Fault> {
        if place.is_empty() {
            return Ok(());
        }
        let chunk = range.start / self.chunk_rows;
        let first = chunk * self.chunk_rows;
        let until = first.saturating_add(self.chunk_rows).min(self.n_rows);
        if self.n_dimensions < 2 && range.end <= until {
            let skip = (range.start - first) as usize;
            if (range.start, range.end) == (first, until) {
                self.deliver(self.decoded(chunk, 0)?.as_deref(), 0, skip, place);
                return Ok(());
            }
            // Not locked while it is decoded, which others that wait for another chunk do meanwhile.
            let tail = || self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = tail().take_if(|(kept, _)| *kept == chunk);
            let decoded = match kept {
                Some((_, decoded)) => Some(decoded),
                None => self.decoded(chunk, 0)?,
            };
            self.deliver(decoded.as_deref(), 0, skip, place);
            if range.end < until
                && let Some(decoded) = decoded
            {
                *tail() = Some((chunk, decoded));
            }
            return Ok(());
        }
        let row_bytes = self.n_columns as usize * self.width_bytes;
        let mut bands = Vec::new();
        let mut rest = place;
        let mut start = range.start;
        while start < range.end {
            let end = (start / self.chunk_rows + 1).saturating_mul(self.chunk_rows);
            let end = end.min(range.end);
            let (band, after) = std::mem::take(&mut rest).split_at_mut((end - start) as usize * row_bytes);
            rest = after;
            bands.push((start..end, band));
            start = end;
        }
        bands
            .into_par_iter()
            .try_for_each(|(rows, band)| self.read_band(rows, band))
    }

    fn read_text(&self, range: Range<u64>, most_bytes: u64) -> Result<Vec<String>, Fault> {
        let n = range.end - range.start;
        if n.saturating_mul(size_of::<String>() as u64) > most_bytes {
            return Err(too_much_text().into());
        }
        let mut strings = Vec::with_capacity(n as usize);
        let mut left_bytes = most_bytes;
        let mut start = range.start;
        while start < range.end {
            let end = (start / self.chunk_rows + 1).saturating_mul(self.chunk_rows);
            let end = end.min(range.end);
            left_bytes -= self.add_text(start..end, left_bytes, &mut strings)?;
            start = end;
        }
        Ok(strings)
    }

    fn rows_together(&self) -> u64 {
        self.chunk_rows
    }

    fn chunk_bytes(&self) -> u64 {
        self.chunk_rows * self.chunk_columns * self.width_bytes as u64
    }

    fn held_bytes(&self) -> u64 {
        match &self.shards {
            None => 0,
            Some(shards) => {
                let first = self.keys.of(&[0, 0][..self.n_dimensions]);
                shards.held_bytes(self.storage.held_bytes(&first))
            }
        }
    }

    fn place_of(&self, row: u64) -> String {
        format!("chunk {} of {}", row / self.chunk_rows, self.path)
    }

    fn stored(&self, value_type: ValueType) -> Result<StoredArray, String> {
        self.stored_array(value_type)
    }

    fn absent_chunks(&self) -> (u64, u64) {
        self.count_absent()
    }

    fn watched(&self, whole: bool) -> Vec<Watched> {
        self.saying_bytes(whole)
    }
}
