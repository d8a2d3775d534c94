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
//! let config = LoaderConfig::default()
//!     .output(
//!         OutputConfig::default()
//!             .layout(Layout::Dense)
//!             .value_type(OutputType::Bf16)
//!             .genes(genes)
//!             .normalize(Normalize::LOG1P_10K),
//!     )
//!     .obs_columns(vec!["cell_type".into(), ColumnChoice::codes("donor_id")]);
//! let loader = Loader::new(store, config)?;
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
mod column_sorter;
mod columns;
mod device;
mod error;
mod genes;
mod lanes;
mod logarithm;
mod matrix;
mod normalize;
mod output;
mod rank;
mod reader;
mod recycle;
mod tensors;
mod typed;
mod views;

pub(crate) use assemble::{Rows, Scratch, assemble};
pub use columns::{ColumnChoice, ColumnForm, ObsColumn, ObsValues};
pub use device::{ArrayRole, DeviceCsr, DeviceDense, DeviceMatrix, DeviceTopK};
#[doc(hidden)]
pub use error::OutputError;
pub(crate) use genes::texts;
pub use genes::{GeneReport, GeneSelection};
pub use half::{bf16, f16};
pub use matrix::Matrix;
pub(crate) use normalize::Unfit;
pub use normalize::{LibraryGenes, Normalize};
pub(crate) use output::ResolvedOutput;
pub use output::{IndexType, Layout, OutputConfig, OutputType};
pub(crate) use reader::{ColumnReader, Mismatch, read_columns};
pub(crate) use recycle::{Buffers, Recycler};
pub use tensors::{MatrixTensors, Tensor, Tensors};
pub use views::{CsrView, DenseView, Indices, TopKView, Value, Values};

use std::sync::Arc;

use sprs::CsMatViewI;

/// Some cells, in the order in which the plan drew them.
///
/// `n_obs` rows by `n_vars` columns; columns are those of the store's `var` table (of several stores, the
/// columns that they are joined by), or the selected genes. [More matrices](Self::matrices) of the same cells are delivered if
/// they are asked for. The memory goes
/// back to the loader when the minibatch is dropped; keeping it costs nothing but that memory.
#[derive(Debug)]
pub struct Minibatch {
    buffers: Buffers,
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
    /// A minibatch of buffers that were filled.
    pub(crate) fn new(
        buffers: Buffers,
        (number, global, padding): (u64, u64, bool),
        recycler: Arc<Recycler>,
    ) -> Self {
        Self {
            buffers,
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
        self.matrix().layout()
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.buffers.obs.len()
    }

    /// Number of columns.
    pub fn n_vars(&self) -> usize {
        self.matrix().n_vars()
    }

    /// Number of values that come from the store: all of a sparse minibatch, all that a dense one does not fill up with
    /// zeros, all of a ranked one that are not padding.
    pub fn nnz(&self) -> usize {
        self.matrix().nnz()
    }

    /// The obs of each row: its number in the store or [`Collection`](crate::loader::Collection).
    pub fn obs(&self) -> &[u64] {
        &self.buffers.obs
    }

    /// The chosen obs columns, in the order in which they were chosen; one value per row.
    pub fn columns(&self) -> &[ObsColumn] {
        &self.buffers.columns
    }

    /// The chosen obs column of this name.
    pub fn column(&self, name: &str) -> Option<&ObsColumn> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// The first matrix: that of the store itself.
    pub fn matrix(&self) -> &Matrix {
        &self.buffers.matrices[0]
    }

    /// The other matrices of the same cells, in the order in which they were
    /// [chosen](crate::LoaderConfig::matrices).
    pub fn matrices(&self) -> &[Matrix] {
        &self.buffers.matrices[1..]
    }

    /// The matrix, where it is sparse, whatever its types.
    pub fn csr(&self) -> Option<CsrView<'_>> {
        self.matrix().csr()
    }

    /// The matrix, where it is dense.
    pub fn dense(&self) -> Option<DenseView<'_>> {
        self.matrix().dense()
    }

    /// The highest values of each row, where the minibatch is ranked.
    pub fn top_k(&self) -> Option<TopKView<'_>> {
        self.matrix().top_k()
    }

    /// `n_obs + 1` offsets into `indices` and `data`, the first 0.
    ///
    /// # Panics
    /// If the minibatch is not CSR with `i32` indices: then [`Minibatch::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn indptr(&self) -> &[i32] {
        self.matrix().indptr()
    }

    /// The column of each value, strictly ascending in each row.
    ///
    /// # Panics
    /// If the minibatch is not CSR with `i32` indices: then [`Minibatch::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn indices(&self) -> &[i32] {
        self.matrix().indices()
    }

    /// The values.
    ///
    /// # Panics
    /// If the minibatch is not CSR with `f32` values: then [`Minibatch::csr`] and its neighbours have the content.
    #[track_caller]
    pub fn data(&self) -> &[f32] {
        self.matrix().data()
    }

    /// The minibatch as a matrix of `sprs`, without a copy.
    ///
    /// `sprs` checks the structure, which takes a pass over `indices`.
    ///
    /// # Panics
    /// If the minibatch is not CSR with `i32` indices and `f32` values.
    #[track_caller]
    pub fn as_sprs(&self) -> CsMatViewI<'_, f32, i32> {
        self.matrix().as_sprs()
    }

    /// As [`as_sprs`](Self::as_sprs), or `None` if the minibatch is not CSR with `i32` indices and `f32` values.
    pub fn try_as_sprs(&self) -> Option<CsMatViewI<'_, f32, i32>> {
        self.matrix().try_as_sprs()
    }
}

impl Drop for Minibatch {
    fn drop(&mut self) {
        self.recycler.give_back(std::mem::take(&mut self.buffers));
    }
}
