//! What the loader hands out.

mod columns;
mod recycle;

pub(crate) use columns::{ColumnReader, read_column};
pub use columns::{ObsColumn, ObsValues};
pub(crate) use recycle::{Buffers, Recycler};

use std::sync::Arc;

use sprs::CsMatViewI;

/// Some cells as a sparse matrix in CSR form, in the order in which the plan drew them.
///
/// `n_obs` rows by `n_vars` columns; columns are those of the store's `var` table. The memory goes back to the loader
/// when the minibatch is dropped; keeping it costs nothing but that memory.
#[derive(Debug)]
pub struct Minibatch {
    buffers: Buffers,
    nnz: usize,
    n_vars: usize,
    number: u64,
    global: u64,
    padding: bool,
    recycler: Arc<Recycler>,
}

impl Minibatch {
    pub(crate) fn new(
        buffers: Buffers,
        n_vars: usize,
        (number, global, padding): (u64, u64, bool),
        recycler: Arc<Recycler>,
    ) -> Self {
        let nnz = buffers.indptr.last().map_or(0, |&end| end as usize);
        Self {
            buffers,
            nnz,
            n_vars,
            number,
            global,
            padding,
            recycler,
        }
    }

    /// Number of this minibatch among those of this rank and epoch, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of this minibatch in the global sequence of the epoch.
    pub fn global(&self) -> u64 {
        self.global
    }

    /// Whether another rank gets the same minibatch too: it only evens out the ranks.
    pub fn is_padding(&self) -> bool {
        self.padding
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.buffers.obs.len()
    }

    /// Number of columns.
    pub fn n_vars(&self) -> usize {
        self.n_vars
    }

    /// Number of values.
    pub fn nnz(&self) -> usize {
        self.nnz
    }

    /// The obs of each row: its number in the store.
    pub fn obs(&self) -> &[u64] {
        &self.buffers.obs
    }

    /// `n_obs + 1` offsets into `indices` and `data`, the first 0.
    pub fn indptr(&self) -> &[i32] {
        &self.buffers.indptr
    }

    /// The column of each value, strictly ascending in each row.
    pub fn indices(&self) -> &[i32] {
        &self.buffers.indices[..self.nnz]
    }

    /// The values.
    pub fn data(&self) -> &[f32] {
        &self.buffers.data[..self.nnz]
    }

    /// The chosen obs columns, in the order in which they were chosen; one value per row.
    pub fn columns(&self) -> &[ObsColumn] {
        &self.buffers.columns
    }

    /// The minibatch as a matrix of `sprs`, without a copy.
    ///
    /// `sprs` checks the structure, which takes a pass over `indices`.
    pub fn as_sprs(&self) -> CsMatViewI<'_, f32, i32> {
        let shape = (self.n_obs(), self.n_vars);
        match CsMatViewI::try_new(shape, self.indptr(), self.indices(), self.data()) {
            Ok(view) => view,
            Err((_, _, _, error)) => unreachable!("a decoded minibatch is canonical CSR: {error}"),
        }
    }
}

impl Drop for Minibatch {
    fn drop(&mut self) {
        self.recycler.give_back(std::mem::take(&mut self.buffers));
    }
}
