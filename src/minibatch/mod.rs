//! What the loader hands out, and the forms that it can have.
//!
//! | [`Layout`] | accessor | what a model does with it |
//! |---|---|---|
//! | [`Csr`](Layout::Csr) | [`Minibatch::csr`], or [`indptr`](Minibatch::indptr), [`indices`](Minibatch::indices), [`data`](Minibatch::data) where they are `i32` and `f32` | sparse input; made dense on the device |
//! | [`Dense`](Layout::Dense) | [`Minibatch::dense`] | a few thousand selected genes |
//! | [`TopK`](Layout::TopK) | [`Minibatch::top_k`] | rank-based tokenisers |
//!
//! An [`OutputConfig`] says which, of which types, for which genes ([`GeneSelection`]), and on which scale ([`Normalize`]).
//! In this order a row is: decoded; summed up for its library size; cut down to the selected genes; divided, and its
//! logarithms taken; multiplied by gene weights; ranked; rounded to the output type. All of it happens row by row.
//!
//! ```no_run
//! use std::sync::Arc;
//! use cellring::minibatch::{ColumnChoice, GeneSelection, Layout, Normalize, OutputConfig, OutputType, bf16};
//! use cellring::{Loader, LoaderConfig, Store};
//!
//! let store = Arc::new(Store::open("atlas.cellring")?);
//! let (genes, report) = GeneSelection::by_names(store.var(), &["CD3E", "MS4A1", "NKG7", "LYZ"])?;
//! println!("{} genes are not in this store: {:?}", report.missing.len(), report.missing);
//! let config = LoaderConfig {
//!     output: OutputConfig {
//!         layout: Layout::Dense,
//!         value_type: OutputType::Bf16,
//!         genes: Some(genes),
//!         normalize: Some(Normalize::LOG1P_10K),
//!         ..OutputConfig::default()
//!     },
//!     obs_columns: vec!["cell_type".into(), ColumnChoice::codes("donor_id")],
//!     ..LoaderConfig::default()
//! };
//! let mut loader = Loader::new(store, config)?;
//! for minibatch in loader.epoch(0)? {
//!     let minibatch = minibatch?;
//!     let Some(dense) = minibatch.dense() else { continue };
//!     let [n_obs, n_genes] = dense.shape;
//!     let values: Option<&[bf16]> = dense.values.get();
//!     assert_eq!(values.map(<[_]>::len), Some(n_obs * n_genes));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Minibatch`] is `Send` and `Sync`, and its memory goes back to the loader, on whatever thread it is dropped.

mod assemble;
mod codes;
mod columns;
mod device;
mod genes;
mod normalize;
mod order;
mod output;
mod rank;
mod reader;
mod recycle;
mod typed;
mod views;

pub(crate) use assemble::{Rows, Scratch, assemble};
pub use columns::{ColumnChoice, ColumnForm, ObsColumn, ObsValues};
pub use device::{DeviceCsr, DeviceDense, DeviceTopK, Part};
pub(crate) use genes::texts;
pub use genes::{GeneReport, GeneSelection};
pub use half::{bf16, f16};
pub use normalize::{LibraryGenes, Normalize};
pub(crate) use output::Recipe;
pub use output::{IndexType, Layout, OutputConfig, OutputError, OutputType};
pub(crate) use reader::{ColumnReader, Mismatch, read_columns};
pub(crate) use recycle::{Buffers, Recycler};
pub use typed::Value;
pub use views::{CsrView, DenseView, Indices, TopKView, Values};

use std::sync::Arc;

use sprs::CsMatViewI;

use typed::{AnyIndices, AnyValues};

/// Some cells, in the order in which the plan drew them.
///
/// `n_obs` rows by `n_vars` columns; columns are those of the store's `var` table (of several stores, the
/// columns that they are joined by), or the selected genes. The memory goes
/// back to the loader when the minibatch is dropped; keeping it costs nothing but that memory.
#[derive(Debug)]
pub struct Minibatch {
    buffers: Buffers,
    layout: Layout,
    nnz: usize,
    n_vars: usize,
    number: u64,
    global: u64,
    padding: bool,
    recycler: Arc<Recycler>,
}

const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Minibatch>();
};

impl Minibatch {
    /// A minibatch of buffers that were filled as `recipe` says, with `nnz` values.
    pub(crate) fn new(
        buffers: Buffers,
        recipe: &Recipe,
        nnz: usize,
        (number, global, padding): (u64, u64, bool),
        recycler: Arc<Recycler>,
    ) -> Self {
        Self {
            buffers,
            layout: recipe.layout,
            nnz,
            n_vars: recipe.n_vars,
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

    /// How the values lie in memory: which of the accessors has them.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.buffers.obs.len()
    }

    /// Number of columns.
    pub fn n_vars(&self) -> usize {
        self.n_vars
    }

    /// Number of values that come from the store: all of a sparse minibatch, all that a dense one does not fill up with
    /// zeros, all of a ranked one that are not padding.
    pub fn nnz(&self) -> usize {
        self.nnz
    }

    /// The obs of each row: its number in the store or [`Collection`](crate::loader::Collection).
    pub fn obs(&self) -> &[u64] {
        &self.buffers.obs
    }

    /// The chosen obs columns, in the order in which they were chosen; one value per row.
    pub fn columns(&self) -> &[ObsColumn] {
        &self.buffers.columns
    }

    /// The matrix, where it is sparse, whatever its types.
    pub fn csr(&self) -> Option<CsrView<'_>> {
        (self.layout == Layout::Csr).then(|| CsrView {
            shape: [self.n_obs(), self.n_vars],
            indptr: self.buffers.indptr.indices(self.n_obs() + 1),
            indices: self.buffers.indices.indices(self.nnz),
            values: self.buffers.values.values(self.nnz),
        })
    }

    /// The matrix, where it is dense.
    pub fn dense(&self) -> Option<DenseView<'_>> {
        (self.layout == Layout::Dense).then(|| DenseView {
            shape: [self.n_obs(), self.n_vars],
            strides: [self.n_vars, 1],
            values: self.buffers.values.values(self.n_obs() * self.n_vars),
        })
    }

    /// The highest values of each row, where the minibatch is ranked.
    pub fn top_k(&self) -> Option<TopKView<'_>> {
        let Layout::TopK(k) = self.layout else {
            return None;
        };
        let len = self.n_obs() * k;
        Some(TopKView {
            shape: [self.n_obs(), k],
            indices: self.buffers.indices.indices(len),
            values: self.buffers.values.values(len),
            lens: &self.buffers.lens,
        })
    }

    /// `n_obs + 1` offsets into `indices` and `data`, the first 0.
    ///
    /// # Panics
    /// Where the minibatch is not CSR with `i32` indices: then [`Minibatch::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn indptr(&self) -> &[i32] {
        match &self.buffers.indptr {
            AnyIndices::I32(indptr) if self.layout == Layout::Csr => &indptr.as_slice()[..=self.n_obs()],
            _ => self.is_other("indptr", "i32 indices"),
        }
    }

    /// The column of each value, strictly ascending in each row.
    ///
    /// # Panics
    /// Where the minibatch is not CSR with `i32` indices: then [`Minibatch::csr`] and its neighbours have the content.
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
    /// Where the minibatch is not CSR with `f32` values: then [`Minibatch::csr`] and its neighbours have the content.
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
            "{accessor}() is for CSR minibatches with {types}, and this one was asked for as {:?}: use csr(), dense() or top_k()",
            self.layout
        )
    }

    /// The minibatch as a matrix of `sprs`, without a copy.
    ///
    /// `sprs` checks the structure, which takes a pass over `indices`.
    ///
    /// # Panics
    /// Where the minibatch is not CSR with `i32` indices and `f32` values.
    #[track_caller]
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
