//! Reads and writes AnnData of any size, with bounded memory and in pure Rust: no libhdf5, no Python.
//!
//! Inputs are `.h5ad`, zarr (2 and 3, directories and zip files), groups of larger files (MuData, SpatialData), the `.h5` of 10x
//! Genomics, and Matrix Market directories. [`Input::open`] finds out which it is; [`Input::join`] makes several of them one. Every
//! matrix comes out as rows of canonical CSR in storage order, whether it is stored as CSR, CSC, dense or as a data frame; `obs` and
//! `var` come out as Arrow record batches. [`write::AnnDataWriter`] writes `.h5ad` and zarr.
//!
//! Memory is bounded whatever a file claims: bulk data passes in windows, and only `indptr` (8 bytes per obs) and the category
//! labels are held whole. A matrix that is not stored by rows passes through a temporary file once ([`Workspace`]). No input panics;
//! what cannot be read is refused with one sentence that names the file, the object and a remedy ([`ReadError`]).
//!
//! # Example
//! Writes a small `.h5ad`, and reads it in windows of at most 1,000 values:
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{ArrayRef, RecordBatch, StringArray};
//! use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
//! use cellring_anndata::{CsrRows, Input, Selection, ValueBuffer, ValueType};
//!
//! fn names(prefix: &str, n: usize) -> Result<RecordBatch, arrow_schema::ArrowError> {
//!     let names = StringArray::from_iter_values((0..n).map(|i| format!("{prefix}{i}")));
//!     RecordBatch::try_from_iter([("_index", Arc::new(names) as ArrayRef)])
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let directory = tempfile::tempdir()?;
//!     let path = directory.path().join("cells.h5ad");
//!
//!     // 3 cells, 4 genes. Rows and tables may be pushed in pieces of any size.
//!     let mut writer = AnnDataWriter::create(&path, MatrixSpec::new(3, 4, ValueType::F32))?;
//!     writer.push_rows(&CsrRows {
//!         indptr: vec![0, 2, 2, 3],
//!         indices: vec![0, 3, 1],
//!         values: ValueBuffer::F32(vec![1.0, 5.0, 2.0]),
//!     })?;
//!     for (axis, batch) in [(Axis::Obs, names("cell", 3)?), (Axis::Var, names("gene", 4)?)] {
//!         writer.write_table(axis, &batch.schema(), [batch])?;
//!     }
//!     writer.finish()?;
//!
//!     let input = Input::open(&path)?;
//!     let matrix = input.matrix(&Selection::X)?;
//!     assert_eq!((matrix.n_obs(), matrix.n_vars()), (3, 4));
//!     let mut windows = matrix.rows(0..matrix.n_obs(), 1_000)?;
//!     let mut sum = 0.0;
//!     while let Some(window) = windows.next() {
//!         let window = window?;
//!         if let ValueBuffer::F32(values) = &window.values {
//!             sum += values.iter().sum::<f32>();
//!         }
//!         // Its memory is used again for a later window.
//!         windows.recycle(window);
//!     }
//!     assert_eq!(sum, 8.0);
//!
//!     let obs = input.obs()?.read(1..3)?;
//!     assert_eq!(obs.num_rows(), 2);
//!     Ok(())
//! }
//! ```

mod arrow_values;
mod container;
mod counts;
mod error;
mod foreign;
mod forms;
mod groups;
mod input;
mod join;
mod left_out;
mod lines;
mod matrix;
mod metadata;
mod open;
mod rows;
mod stamp;
mod table;
mod workspace;
pub mod write;

pub use cellring_core::{CsrRows, ValueBuffer, ValueType};

pub use container::{AbsentChunks, StoredArray, StoredChunk, StoredExtents, StoredRun, Watched};
pub use error::{ReadError, Result};
pub use input::Input;
pub use join::{JoinError, JoinOptions, VarJoin};
pub use left_out::{LeftOut, PartKind};
pub use matrix::{
    Canonicalised, CountMode, FrameColumn, MatrixSource, NotStored, Rows, Selection, StoredRows,
};
pub use open::OpenOptions;
pub use rows::{RowSet, RowSetBuilder};
pub use stamp::InputStamp;
pub use table::TableSource;
pub use workspace::Workspace;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What the `cellring` command shares with this crate; not for others, and not stable.
#[doc(hidden)]
pub mod __internal {
    pub use crate::arrow_values::values_of;
    pub use crate::counts::MixedCounts;
    pub use crate::join::names::texts_of;
    pub use crate::join::unify::{
        CastError, Categories, cast, code_type, coded_as, codes_of, union, value_type,
    };
    pub use crate::matrix::{Looks, MAX_WINDOW_ROWS, RowSource, decoding_pool, type_of_numpy_name};
    pub use crate::metadata::ORDERED;
    pub use crate::table::{Scatter, ScatterError};
    pub use crate::write::temporary::directory_of;
    pub use cellring_core::ZARR_DOCUMENTS;
}
