//! The matrix of a store, as a source of rows like that of a file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cellring::Store;
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring_anndata::__internal::{MAX_WINDOW_ROWS, RowSource, decoding_pool};
use cellring_anndata::{Canonicalised, MatrixSource, ReadError, Result};
use rayon::prelude::*;

/// Entries that one thread reads in one go.
const PART_NNZ: u64 = 1 << 17;

/// The matrix of a store, its rows and columns in the store's order.
///
/// # Errors
/// If the threads that are to read it cannot be started.
pub(super) fn matrix(store: &Arc<Store>) -> Result<MatrixSource> {
    Ok(MatrixSource::from_rows(StoredRows {
        pool: decoding_pool(store.path())?,
        store: Arc::clone(store),
    }))
}

/// The rows of a store, in its order.
#[derive(Debug)]
struct StoredRows {
    store: Arc<Store>,
    pool: rayon::ThreadPool,
}

impl RowSource for StoredRows {
    fn place(&self) -> (&Path, &str) {
        (self.store.path(), "X")
    }

    fn form(&self) -> &'static str {
        "csr_matrix"
    }

    fn n_obs(&self) -> u64 {
        self.store.n_obs()
    }

    fn n_vars(&self) -> u64 {
        self.store.n_vars()
    }

    fn nnz(&self) -> u64 {
        self.store.manifest().nnz
    }

    fn value_type(&self) -> ValueType {
        self.store.manifest().value_type
    }

    fn indices_type(&self) -> String {
        "int32".to_owned()
    }

    fn stored_in(&self, row: u64) -> u64 {
        // What is wrong with the index, reading says.
        self.store.nnz_of(row).map_or(0, u64::from)
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let (mut at, mut nnz) = (start, 0);
        while at < end.min(start + MAX_WINDOW_ROWS) {
            nnz += self.stored_in(at);
            if nnz > max_nnz as u64 && at > start {
                break;
            }
            at += 1;
        }
        start..at
    }

    fn read(&self, rows: &Range<u64>, _: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let mut parts = Vec::new();
        let mut at = rows.start;
        while at < rows.end {
            let part = self.window(at, rows.end, PART_NNZ as usize);
            at = part.end;
            parts.push(part);
        }
        let parts: Vec<CsrRows> = parts
            .into_par_iter()
            .map(|part| self.store.rows(part))
            .collect::<std::result::Result<_, cellring::Error>>()
            .map_err(|error| ReadError::Rows(Box::new(error)))?;
        let mut all = CsrRows {
            indptr: vec![0],
            indices: Vec::new(),
            values: ValueBuffer::with_capacity(self.value_type(), 0),
        };
        for mut part in parts {
            let before = all.indices.len() as u64;
            all.indptr.extend(part.indptr[1..].iter().map(|end| before + end));
            all.indices.append(&mut part.indices);
            cellring::with_element!(self.value_type(), T => append::<T>(&mut all.values, &mut part.values));
        }
        Ok((all, Canonicalised::default()))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        *indices = self.read(rows, None)?.0.indices;
        Ok(())
    }
}

fn append<T: cellring::format::Element>(all: &mut ValueBuffer, more: &mut ValueBuffer) {
    if let (Some(all), Some(more)) = (T::vec_mut(all), T::vec_mut(more)) {
        all.append(more);
    }
}
