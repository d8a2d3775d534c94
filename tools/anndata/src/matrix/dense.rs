//! Dense matrices: zeros are left out, and only those (negative zeros and NaNs are values).

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cellring_core::with_values;
use cellring_core::{CsrRows, ValueBuffer, ValueType};
use rayon::prelude::*;

use super::canonical::Canonicalised;
use super::compressed::{VALUE_TYPES, value_type_of};
use super::source::{MAX_WINDOW_ROWS, RowSource, check_row_nnz, decoding_pool, reuse};
use super::stored::{NotStored, StoredRows};
use super::value::Value;
use crate::container::{AbsentChunks, Grid};
use crate::error::{ReadError, Result};

/// Bytes of a band that is decoded at a time, where the file's own pieces are smaller.
const BAND_BYTES: u64 = 8 << 20;

/// A dense matrix, read in bands of whole tiles.
#[derive(Debug)]
pub(super) struct Dense {
    grid: Grid,
    value_type: ValueType,
    /// Rows of a band: a multiple of the height of the file's tiles.
    band_rows: u64,
    pool: rayon::ThreadPool,
    /// The band that was decoded last, and its first row.
    band: Mutex<Option<(u64, Vec<u8>)>>,
}

impl Dense {
    pub(super) fn new(grid: Grid) -> Result<Self> {
        let value_type = value_type_of(grid.element()).ok_or_else(|| ReadError::UnsupportedElement {
            file: grid.file().path().to_owned(),
            object: grid.path().to_owned(),
            found: grid.element().name(),
            expected: VALUE_TYPES,
        })?;
        let pool = decoding_pool(grid.file().path())?;
        if grid.n_columns() >= 1 << 31 {
            let detail = format!("it has {} columns, expected less than 2^31", grid.n_columns());
            return Err(grid.file().invalid(grid.path(), detail));
        }
        let row_bytes = (grid.n_columns() * grid.element().size_bytes as u64).max(1);
        let together = grid.rows_together();
        let n_bands = (BAND_BYTES / row_bytes.saturating_mul(together)).max(1);
        let band_rows = together.saturating_mul(n_bands).min(grid.n_rows().max(1));
        Ok(Self {
            grid,
            value_type,
            band_rows,
            pool,
            band: Mutex::new(None),
        })
    }

    fn row_bytes(&self) -> usize {
        self.grid.n_columns() as usize * self.grid.element().size_bytes
    }

    /// Calls `use_rows` with the bytes of the rows, which lie in one band.
    fn with_rows<R>(&self, rows: &Range<u64>, use_rows: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let first = rows.start / self.band_rows * self.band_rows;
        let end = first.saturating_add(self.band_rows).min(self.grid.n_rows());
        let row_bytes = self.row_bytes();
        // Not locked while it is decoded: that runs on a pool, whose thread might meanwhile take up another read.
        let kept = self.band.lock().unwrap_or_else(PoisonError::into_inner).take();
        let bytes = match kept {
            Some((start, bytes)) if start == first => bytes,
            other => {
                let mut bytes = other.map(|(_, bytes)| bytes).unwrap_or_default();
                bytes.resize((end - first) as usize * row_bytes, 0);
                self.grid.read(first..end, &mut bytes)?;
                bytes
            }
        };
        let place = (rows.start - first) as usize * row_bytes..(rows.end - first) as usize * row_bytes;
        let used = use_rows(&bytes[place]);
        *self.band.lock().unwrap_or_else(PoisonError::into_inner) = Some((first, bytes));
        Ok(used)
    }
}

impl RowSource for Dense {
    fn stored(&self) -> std::result::Result<Vec<StoredRows>, NotStored> {
        Ok(vec![StoredRows {
            n_obs: self.n_obs(),
            column_map: None,
            indices: None,
            data: self.grid.stored().map_err(|reason| self.not_stored(reason))?,
            row_starts: Vec::new(),
        }])
    }

    fn place(&self) -> (&Path, &str) {
        (self.grid.file().path(), self.grid.path())
    }

    fn is_stored_by_rows(&self) -> bool {
        true
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.grid.absent_chunks().into_iter().collect()
    }

    fn form(&self) -> &'static str {
        "array"
    }

    fn n_obs(&self) -> u64 {
        self.grid.n_rows()
    }

    fn n_vars(&self) -> u64 {
        self.grid.n_columns()
    }

    fn nnz(&self) -> u64 {
        self.grid.n_rows() * self.grid.n_columns()
    }

    fn value_type(&self) -> ValueType {
        self.value_type
    }

    fn indices_type(&self) -> String {
        "int32".to_owned()
    }

    fn has_bounds_only(&self) -> bool {
        true
    }

    fn stored_in(&self, _: u64) -> u64 {
        self.grid.n_columns()
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        // The band, and its tiles while they are put together.
        let band_bytes = self.band_rows * self.row_bytes() as u64;
        2 * band_bytes
            + self
                .grid
                .decoding_bytes(self.pool.current_num_threads())
                .min(band_bytes)
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let fitting = (max_nnz as u64 / self.grid.n_columns().max(1)).clamp(1, MAX_WINDOW_ROWS);
        let band_end = (start / self.band_rows + 1) * self.band_rows;
        start..end.min(band_end).min(start + fitting)
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        check_row_nnz(self, rows.start, self.grid.n_columns())?;
        let mut window = reuse(spent, self.value_type);
        let (indptr, indices) = (&mut window.indptr, &mut window.indices);
        let big_endian = self.grid.element().big_endian;
        let row_bytes = self.row_bytes().max(1);
        let n_rows = (rows.end - rows.start) as usize;
        let values = &mut window.values;
        with_values!(values, values => values.clear());
        self.with_rows(rows, |bytes| {
            let per_thread = n_rows.div_ceil(rayon::current_num_threads()).max(1);
            let parts: Vec<_> = bytes
                .par_chunks(per_thread * row_bytes)
                .map(|part| compact(part, row_bytes, self.value_type, big_endian))
                .collect();
            indptr.push(0);
            for (ends, part_indices, mut part_values) in parts {
                let base = indices.len() as u64;
                indptr.extend(ends.iter().map(|end| base + end));
                indices.extend_from_slice(&part_indices);
                values.append(&mut part_values);
            }
            // Rows without columns have no bytes.
            indptr.resize(n_rows + 1, 0);
        })?;
        Ok((window, Canonicalised::default()))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        let (window, _) = self.read(rows, None)?;
        *indices = window.indices;
        Ok(())
    }
}

/// The values of whole rows that are not zero: where each row ends, columns, values.
fn compact(
    rows: &[u8],
    row_bytes: usize,
    value_type: ValueType,
    big_endian: bool,
) -> (Vec<u64>, Vec<u32>, ValueBuffer) {
    let mut values = ValueBuffer::with_capacity(value_type, 0);
    let (ends, indices) = with_values!(&mut values, values => {
        let (ends, indices, found) = compact_values(rows, row_bytes, big_endian);
        *values = found;
        (ends, indices)
    });
    (ends, indices, values)
}

fn compact_values<T: Value>(rows: &[u8], row_bytes: usize, big_endian: bool) -> (Vec<u64>, Vec<u32>, Vec<T>) {
    let (mut ends, mut indices, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows.chunks_exact(row_bytes) {
        for (column, element) in row.chunks_exact(T::STORED_BYTES).enumerate() {
            let value = T::from_file(element, big_endian);
            if !value.is_plus_zero() {
                indices.push(column as u32);
                values.push(value);
            }
        }
        ends.push(indices.len() as u64);
    }
    (ends, indices, values)
}
