//! Arrays of a zarr hierarchy, decoded by `zarrs`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use zarrs::array::{Array, ArrayBytes, ArrayShardedExt};
use zarrs::array_subset::ArraySubset;
use zarrs::metadata::ArrayMetadata;
use zarrs::storage::{ReadableListableStorage, ReadableListableStorageTraits};

use super::array::MAX_CHUNK_BYTES;
use super::{Element, Foreign};

/// An array of one dimension or two.
pub(super) struct ZarrArray {
    array: Array<dyn ReadableListableStorageTraits>,
    path: String,
    /// Elements of `array` for each element that is asked for: bytes of a record, else 1.
    units: u64,
    width_bytes: usize,
    /// Rows of a chunk; of an inner chunk where chunks are sharded.
    chunk_rows: u64,
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
    pub(super) fn open(
        storage: &ReadableListableStorage,
        path: &str,
        metadata: ArrayMetadata,
        record_bytes: Option<usize>,
        element: &Element,
    ) -> Result<Self, String> {
        let storage = std::sync::Arc::clone(storage);
        let array = guard(|| {
            Array::new_with_metadata(storage, &format!("/{path}"), metadata)
                .map_err(|error| error.to_string())
        })?;
        let first = vec![0; array.shape().len()];
        let chunk = match array.effective_inner_chunk_shape() {
            Some(chunk) => chunk,
            None => array.chunk_shape(&first).map_err(|error| error.to_string())?,
        };
        let unit_bytes = if record_bytes.is_some() {
            1
        } else {
            element.size_bytes as u64
        };
        let chunk_elements = chunk
            .iter()
            .try_fold(1u64, |n, length| n.checked_mul(length.get()));
        let chunk_bytes = chunk_elements.and_then(|n| n.checked_mul(unit_bytes));
        if chunk_bytes.is_none_or(|bytes| bytes > MAX_CHUNK_BYTES) {
            return Err(format!(
                "its chunks have {} elements, expected at most {MAX_CHUNK_BYTES} bytes",
                chunk_elements.unwrap_or(u64::MAX)
            ));
        }
        let units = record_bytes.unwrap_or(1) as u64;
        Ok(Self {
            path: path.to_owned(),
            units,
            width_bytes: element.size_bytes,
            chunk_rows: (chunk.first().map_or(1, |length| length.get()) / units).max(1),
            tail: Mutex::new(None),
            array,
        })
    }

    pub(super) fn shape(&self) -> Vec<u64> {
        let mut shape = self.array.shape().to_vec();
        if let Some(length) = shape.last_mut() {
            *length /= self.units;
        }
        shape
    }

    /// Decodes whole rows.
    fn decode(&self, range: Range<u64>) -> Result<ArrayBytes<'_>, String> {
        let mut ranges: Vec<Range<u64>> = self.array.shape().iter().map(|&length| 0..length).collect();
        if let Some(first) = ranges.first_mut() {
            *first = range.start * self.units..range.end * self.units;
        }
        let subset = ArraySubset::new_with_ranges(&ranges);
        guard(|| {
            self.array
                .retrieve_array_subset(&subset)
                .map_err(|error| error.to_string())
        })
    }

    fn decode_fixed(&self, range: Range<u64>, n_bytes: usize) -> Result<Vec<u8>, String> {
        let bytes = self
            .decode(range)?
            .into_fixed()
            .map_err(|error| error.to_string())?;
        if bytes.len() != n_bytes {
            return Err(format!("it decodes to {} bytes, expected {n_bytes}", bytes.len()));
        }
        Ok(bytes.into_owned())
    }
}

impl Foreign for ZarrArray {
    fn read(&self, range: Range<u64>, place: &mut [u8]) -> Result<(), String> {
        if place.is_empty() {
            return Ok(());
        }
        let shape = self.shape();
        let chunk = range.start / self.chunk_rows;
        let first = chunk * self.chunk_rows;
        let until = first.saturating_add(self.chunk_rows).min(shape[0]);
        let is_part = range.end <= until && (range.start, range.end) != (first, until);
        if shape.len() != 1 || !is_part {
            place.copy_from_slice(&self.decode_fixed(range, place.len())?);
            return Ok(());
        }
        // Not locked while it is decoded: that runs on a pool, whose thread might meanwhile take up another part.
        let kept = self.tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        let decoded = match kept {
            Some((kept, decoded)) if kept == chunk => decoded,
            _ => self.decode_fixed(first..until, (until - first) as usize * self.width_bytes)?,
        };
        let start = (range.start - first) as usize * self.width_bytes;
        place.copy_from_slice(&decoded[start..start + place.len()]);
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = Some((chunk, decoded));
        Ok(())
    }

    fn read_text(&self, range: Range<u64>) -> Result<Vec<String>, String> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let n = (range.end - range.start) as usize;
        let (bytes, offsets) = self
            .decode(range)?
            .into_variable()
            .map_err(|error| error.to_string())?;
        let strings: Result<Vec<String>, String> = offsets
            .windows(2)
            .enumerate()
            .map(|(row, pair)| {
                let text = bytes.get(pair[0]..pair[1]).unwrap_or_default();
                String::from_utf8(text.to_vec()).map_err(|_| format!("string {row} is not UTF-8"))
            })
            .collect();
        match strings? {
            strings if strings.len() == n => Ok(strings),
            strings => Err(format!("it decodes to {} strings, expected {n}", strings.len())),
        }
    }

    fn rows_together(&self) -> u64 {
        self.chunk_rows
    }

    fn place_of(&self, row: u64) -> String {
        format!("chunk {} of {}", row / self.chunk_rows, self.path)
    }
}

/// Runs a call into the library; a panic over damaged data is an error like any other.
pub(super) fn guard<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(_) => Err("the zarr library failed on it".to_owned()),
    }
}
