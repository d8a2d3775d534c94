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

mod container;
mod error;
mod few;
mod foreign;
mod groups;
mod join;
mod left_out;
mod lines;
mod matrix;
mod open;
mod rows;
mod stamp;
mod table;
mod tenx;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::StringArray;
pub use cellring::format::{CsrRows, ValueBuffer, ValueType};

pub use error::{ReadError, Result};
pub use join::{JoinError, JoinOptions, VarJoin};
pub use left_out::{LeftOut, PartKind};
pub use matrix::{Canonicalised, CountMode, FrameColumn, MatrixSource, Rows, Selection, Workspace};
pub use open::OpenOptions;
pub use rows::{RowSet, RowSetBuilder};
pub use stamp::InputStamp;
pub use table::TableSource;

use container::SourceFile;
use tenx::TenX;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What the `cellring` command shares with this crate; not for others, and not stable.
#[doc(hidden)]
pub mod __internal {
    pub use crate::few::few;
    pub use crate::join::names::texts_of;
    pub use crate::join::unify::{
        CastError, Categories, cast, code_type, coded_as, codes_of, union, value_type,
    };
    pub use crate::left_out::MixedCounts;
    pub use crate::matrix::{Looks, MAX_WINDOW_ROWS, RowSource, decoding_pool, type_of_numpy_name};
    pub use crate::table::{ORDERED, Scatter, ScatterError};
    pub use crate::write::temporary::directory_of;
}

/// The most dimensions of an array of `obsm`: each gets a name in memory, and a file must not choose how many that are.
const MAX_DIMENSIONS: u64 = 1 << 20;

/// An open input: AnnData, one of the forms that 10x Genomics writes, or several inputs as one.
#[derive(Clone, Debug)]
pub struct Input {
    kind: InputKind,
}

#[derive(Clone, Debug)]
enum InputKind {
    AnnData(Arc<SourceFile>),
    TenX(Arc<TenX>),
    Joined(Arc<join::Joined>),
}

impl Input {
    /// Opens an input with [`OpenOptions::default`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens an input, finds out what it is, and checks that it is whole as far as that can be seen.
    ///
    /// # Errors
    /// The input is missing, unreadable, of no known kind, or shorter than its header says; it holds several matrices or groups
    /// of AnnData, of which the options choose none; or the options do not apply to it.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let kind = match TenX::open_market(path, options).map_err(|error| foreign::explain(path, error))? {
            Some(market) => InputKind::TenX(Arc::new(market)),
            None => {
                let file = SourceFile::open_as(path, options.force_read)
                    .map_err(|error| foreign::explain(path, error))?;
                let file = Arc::new(groups::choose(file, options)?);
                match TenX::open_file(&file, options)? {
                    Some(tenx) => InputKind::TenX(Arc::new(tenx)),
                    None => {
                        options.check_anndata(file.path())?;
                        groups::check(&file)?;
                        InputKind::AnnData(file)
                    }
                }
            }
        };
        Ok(Self { kind })
    }

    /// Opens several inputs, of the same or of different forms, as one: their obs one after the other, over one list of genes.
    /// [`JoinOptions`] and `tools/MANUAL.md` (Several files as one store) say how.
    ///
    /// # Errors
    /// As [`Self::open_with`] for each of them; and [`JoinError`], here or where a matrix or table is opened or read.
    ///
    /// # Panics
    /// Where there is no input.
    pub fn join(inputs: &[PathBuf], open: &OpenOptions, options: &JoinOptions) -> Result<Self> {
        assert!(!inputs.is_empty(), "an input");
        let joined = join::Joined::open(inputs, open, options)?;
        Ok(Self {
            kind: InputKind::Joined(Arc::new(joined)),
        })
    }

    /// Opens one of the matrices, with [`Workspace::default`].
    ///
    /// # Errors
    /// The matrix does not exist, is of a form that is not read, or its parts contradict each other.
    pub fn matrix(&self, selection: &Selection) -> Result<MatrixSource> {
        self.matrix_in(selection, &Workspace::default())
    }

    /// Opens one of the matrices; one that is not stored by rows is rewritten in the workspace when it is first read.
    ///
    /// # Errors
    /// As for [`Self::matrix`].
    pub fn matrix_in(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        match &self.kind {
            InputKind::AnnData(file) => matrix::open(file, selection, workspace),
            InputKind::TenX(tenx) => tenx.matrix(selection, workspace),
            InputKind::Joined(joined) => joined.matrix(selection, workspace),
        }
    }

    /// Opens the table of the rows.
    ///
    /// # Errors
    /// The table does not exist, is of an encoding that is not read, or is damaged.
    pub fn obs(&self) -> Result<TableSource> {
        match &self.kind {
            InputKind::AnnData(file) => table::open(file, "obs"),
            InputKind::TenX(tenx) => tenx.obs(),
            InputKind::Joined(joined) => joined.obs(),
        }
    }

    /// Opens the table of the columns of the selected matrix: `raw/var` for `raw`, else `var`; for a data frame of `obsm` its columns, for an
    /// array one that numbers its dimensions from 0.
    ///
    /// # Errors
    /// As for [`Self::obs`].
    pub fn var(&self, selection: &Selection) -> Result<TableSource> {
        match (&self.kind, selection) {
            (InputKind::AnnData(file), Selection::Obsm(_)) => {
                let of_names = |names| {
                    let columns = vec![("_index", names)];
                    table::of_strings(file.path(), &selection.path(), columns, Vec::new())
                };
                if let Some(names) = matrix::frame_names(file, selection)? {
                    return Ok(of_names(names.into()));
                }
                let n_dimensions = self.matrix(selection)?.n_vars();
                if n_dimensions > MAX_DIMENSIONS {
                    return Err(ReadError::Dimensions {
                        file: file.path().to_owned(),
                        object: selection.path(),
                        found: n_dimensions,
                        limit: MAX_DIMENSIONS,
                    });
                }
                let names = StringArray::from_iter_values((0..n_dimensions).map(|number| number.to_string()));
                Ok(of_names(names))
            }
            (InputKind::AnnData(file), Selection::Raw) => table::open(file, "raw/var"),
            (InputKind::AnnData(file), Selection::X | Selection::Layer(_)) => table::open(file, "var"),
            (InputKind::TenX(tenx), _) => tenx.var(),
            (InputKind::Joined(joined), _) => joined.var(selection),
        }
    }
}
