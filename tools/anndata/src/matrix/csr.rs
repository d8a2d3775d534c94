//! Matrices that are stored by rows.

use std::ops::Range;
use std::path::Path;

use cellring_core::with_values;
use cellring_core::{CsrRows, ValueType};

use super::canonical::{Canonicalised, Fault, canonicalise};
use super::compressed::Compressed;
use super::source::{RowSource, blame_overflow, check_row_nnz, decoding_pool, reuse, window_of};
use super::stored::{NotStored, StoredRows};
use super::value::Value;
use crate::container::AbsentChunks;
use crate::error::{ReadError, Result};

/// A CSR matrix.
#[derive(Debug)]
pub(crate) struct Csr {
    arrays: Compressed,
    form: &'static str,
    pool: rayon::ThreadPool,
}

impl Csr {
    pub(crate) fn new(arrays: Compressed, form: &'static str) -> Result<Self> {
        let pool = decoding_pool(arrays.file.path())?;
        Ok(Self { arrays, form, pool })
    }

    /// Fills `indptr` for the rows, and returns the range of their entries.
    fn lay_out(&self, rows: &Range<u64>, indptr: &mut Vec<u64>) -> Result<Range<u64>> {
        let bounds = &self.arrays.indptr[rows.start as usize..=rows.end as usize];
        let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
        check_row_nnz(self, rows.start, last - first)?;
        indptr.clear();
        indptr.extend(bounds.iter().map(|end| end - first));
        Ok(first..last)
    }

    /// Turns a fault inside a window into an error that names its place in the file.
    fn blame(&self, fault: Fault, first_row: u64, first_position: u64) -> ReadError {
        let Fault::Index { row, position } = fault else {
            return blame_overflow(self, fault, first_row);
        };
        let position = first_position + position as u64;
        match self.arrays.index_at(position) {
            Err(error) => error,
            Ok(found) => ReadError::IndexRange {
                file: self.arrays.file.path().to_owned(),
                object: self.arrays.indices.path().to_owned(),
                row: first_row + row as u64,
                position,
                found,
                n_vars: self.arrays.n_minor,
            },
        }
    }
}

impl RowSource for Csr {
    fn stored(&self) -> std::result::Result<Vec<StoredRows>, NotStored> {
        let Compressed {
            indices,
            data,
            row_starts,
            ..
        } = &self.arrays;
        let explain = |reason| self.not_stored(reason);
        Ok(vec![StoredRows {
            n_obs: self.n_obs(),
            column_map: None,
            indices: Some(indices.stored().map_err(explain)?),
            data: data.stored().map_err(explain)?,
            row_starts: row_starts.clone(),
        }])
    }

    fn place(&self) -> (&Path, &str) {
        (self.arrays.file.path(), &self.arrays.object)
    }

    fn is_stored_by_rows(&self) -> bool {
        true
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.arrays.absent_chunks()
    }

    fn form(&self) -> &'static str {
        self.form
    }

    fn n_obs(&self) -> u64 {
        self.arrays.n_major()
    }

    fn n_vars(&self) -> u64 {
        self.arrays.n_minor
    }

    fn nnz(&self) -> u64 {
        self.arrays.nnz()
    }

    fn value_type(&self) -> ValueType {
        self.arrays.value_type
    }

    fn indices_type(&self) -> String {
        self.arrays.indices_type()
    }

    fn stored_in(&self, row: u64) -> u64 {
        self.arrays.indptr[row as usize + 1] - self.arrays.indptr[row as usize]
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        self.arrays.decoding_bytes(self.pool.current_num_threads())
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        window_of(&self.arrays.indptr, start, end, max_nnz)
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let mut window = reuse(spent, self.arrays.value_type);
        let (indptr, indices) = (&mut window.indptr, &mut window.indices);
        let report = with_values!(&mut window.values, values => {
            let entries = self.lay_out(rows, indptr)?;
            let n = (entries.end - entries.start) as usize;
            indices.resize(n, 0);
            values.resize(n, Default::default());
            let (read_indices, read_values) = rayon::join(
                || self.arrays.read_indices(entries.clone(), indices),
                || Value::read(&self.arrays.data, entries.clone(), values),
            );
            read_indices?;
            read_values?;
            canonicalise(indptr, indices, values, self.arrays.n_minor)
                .map_err(|fault| self.blame(fault, rows.start, entries.start))?
        });
        Ok((window, report))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        let entries = self.lay_out(rows, &mut Vec::new())?;
        indices.resize((entries.end - entries.start) as usize, 0);
        self.arrays.read_indices(entries.clone(), indices)?;
        let n_vars = self.arrays.n_minor;
        match indices.iter().position(|&column| u64::from(column) >= n_vars) {
            None => Ok(()),
            Some(position) => {
                let row = self.arrays.major_of(entries.start + position as u64);
                let row = (row - rows.start) as usize;
                Err(self.blame(Fault::Index { row, position }, rows.start, entries.start))
            }
        }
    }
}
