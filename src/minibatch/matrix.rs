//! One matrix of a minibatch.

use sprs::CsMatViewI;

use super::output::{Layout, ResolvedOutput};
use super::typed::{AnyIndices, AnyValues};
use super::views::{CsrView, DenseView, TopKView};
use crate::gpu::Gpu;

/// Memory of a matrix. All parts are as long as the longest that they held, so that they are not filled with zeros again for
/// each minibatch.
#[derive(Debug, Default)]
pub(crate) struct MatrixBuffers {
    /// CSR.
    pub(crate) indptr: AnyIndices,
    /// CSR and top k.
    pub(crate) indices: AnyIndices,
    pub(crate) values: AnyValues,
    /// Top k.
    pub(crate) lens: Vec<u32>,
    /// Dense.
    pub(crate) used: Used,
}

impl MatrixBuffers {
    /// Has the large arrays page-locked, where they are not yet.
    pub(crate) fn pin(&mut self, gpu: &Gpu) {
        self.indptr.pin(gpu);
        self.indices.pin(gpu);
        self.values.pin(gpu);
    }

    /// Forgets what the memory holds: others may have written to it.
    pub(crate) fn forget(&mut self) {
        self.used.columns.clear();
        self.used.ends.clear();
        self.used.written = self.values.capacity();
        // Bytes that are neither 0 nor 1 are not booleans.
        if matches!(self.values, AnyValues::Bool(_)) {
            self.values = AnyValues::default();
        }
    }
}

/// The places of a dense matrix that may not be zero. All others are.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Columns of all rows, one row after the other.
    pub(crate) columns: Vec<i32>,
    /// Where each row ends in `columns`.
    pub(crate) ends: Vec<usize>,
    /// The first so many values may be anything: others have had them to write to.
    pub(crate) written: usize,
}

/// A matrix of a minibatch: `n_obs` rows, one for each of its cells, by `n_vars` columns.
#[derive(Debug, Default)]
pub struct Matrix {
    pub(crate) buffers: MatrixBuffers,
    layout: Layout,
    n_obs: usize,
    n_vars: usize,
    nnz: usize,
}

impl Matrix {
    /// Says what the buffers hold, once they are filled as `resolved` says.
    pub(crate) fn set_shape(&mut self, resolved: &ResolvedOutput, n_obs: usize, nnz: usize) {
        (self.layout, self.n_vars) = (resolved.layout, resolved.n_vars);
        (self.n_obs, self.nnz) = (n_obs, nnz);
    }

    /// How the values lie in memory: which of the accessors has them.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.n_obs
    }

    /// Number of columns.
    pub fn n_vars(&self) -> usize {
        self.n_vars
    }

    /// Number of values that come from the store: all of a sparse matrix, all that a dense one does not fill up with zeros, all
    /// of a ranked one that are not padding.
    pub fn nnz(&self) -> usize {
        self.nnz
    }

    /// The matrix, where it is sparse, whatever its types.
    pub fn csr(&self) -> Option<CsrView<'_>> {
        (self.layout == Layout::Csr).then(|| CsrView {
            shape: [self.n_obs, self.n_vars],
            indptr: self.buffers.indptr.indices(self.n_obs + 1),
            indices: self.buffers.indices.indices(self.nnz),
            values: self.buffers.values.values(self.nnz),
        })
    }

    /// The matrix, where it is dense.
    pub fn dense(&self) -> Option<DenseView<'_>> {
        (self.layout == Layout::Dense).then(|| DenseView {
            shape: [self.n_obs, self.n_vars],
            strides: [self.n_vars, 1],
            values: self.buffers.values.values(self.n_obs * self.n_vars),
        })
    }

    /// The highest values of each row, where it is ranked.
    pub fn top_k(&self) -> Option<TopKView<'_>> {
        let Layout::TopK(k) = self.layout else {
            return None;
        };
        let len = self.n_obs * k;
        Some(TopKView {
            shape: [self.n_obs, k],
            indices: self.buffers.indices.indices(len),
            values: self.buffers.values.values(len),
            lens: &self.buffers.lens,
        })
    }

    /// `n_obs + 1` offsets into `indices` and `data`, the first 0.
    ///
    /// # Panics
    /// If the matrix is not CSR with `i32` indices: then [`Matrix::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn indptr(&self) -> &[i32] {
        match &self.buffers.indptr {
            AnyIndices::I32(indptr) if self.layout == Layout::Csr => &indptr.as_slice()[..=self.n_obs],
            _ => self.is_other("indptr", "i32 indices"),
        }
    }

    /// The column of each value, strictly ascending in each row.
    ///
    /// # Panics
    /// If the matrix is not CSR with `i32` indices: then [`Matrix::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn indices(&self) -> &[i32] {
        match &self.buffers.indices {
            AnyIndices::I32(indices) if self.layout == Layout::Csr => &indices.as_slice()[..self.nnz],
            _ => self.is_other("indices", "i32 indices"),
        }
    }

    /// The values.
    ///
    /// # Panics
    /// If the matrix is not CSR with `f32` values: then [`Matrix::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn data(&self) -> &[f32] {
        match &self.buffers.values {
            AnyValues::F32(values) if self.layout == Layout::Csr => &values.as_slice()[..self.nnz],
            _ => self.is_other("data", "f32 values"),
        }
    }

    #[track_caller]
    fn is_other(&self, accessor: &str, types: &str) -> ! {
        panic!(
            "{accessor}() is for CSR with {types}, and this matrix was asked for as {:?}: use csr(), dense() or top_k()",
            self.layout
        )
    }

    /// The matrix as one of `sprs`, without a copy.
    ///
    /// `sprs` checks the structure, which takes a pass over `indices`.
    ///
    /// # Panics
    /// If the matrix is not CSR with `i32` indices and `f32` values.
    #[track_caller]
    pub fn as_sprs(&self) -> CsMatViewI<'_, f32, i32> {
        let shape = (self.n_obs, self.n_vars);
        match CsMatViewI::try_new(shape, self.indptr(), self.indices(), self.data()) {
            Ok(view) => view,
            Err((_, _, _, error)) => unreachable!("a decoded matrix is canonical CSR: {error}"),
        }
    }

    /// As [`as_sprs`](Self::as_sprs), or `None` if the matrix is not CSR with `i32` indices and `f32` values.
    pub fn try_as_sprs(&self) -> Option<CsMatViewI<'_, f32, i32>> {
        let csr = self.csr()?;
        csr.indices.as_i32()?;
        csr.values.get::<f32>()?;
        Some(self.as_sprs())
    }
}
