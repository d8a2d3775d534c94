//! Reads AnnData (`.h5ad`, zarr) and what 10x Genomics writes (`.h5`, Matrix Market): a matrix as rows of canonical CSR in storage order, `obs` and `var` as Arrow tables.
//!
//! Memory is bounded whatever the file claims: bulk data passes in windows, and only `indptr` (8 bytes per obs) and the
//! category labels are held whole. No input panics; what is not read is refused with one sentence that names it.

mod container;
mod error;
mod join;
mod left_out;
mod matrix;
mod rows;
mod stamp;
mod table;
mod tenx;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::{Result, SourceError};
pub(crate) use join::unify;
pub use join::{JoinError, JoinOptions, VarJoin};
pub use left_out::{LeftOut, PartKind};
pub(crate) use matrix::Looks;
pub use matrix::{Canonicalised, CountMode, MatrixSource, Rows, Selection, Workspace};
pub use rows::{RowSet, RowSetBuilder};
pub use stamp::InputStamp;
pub use table::TableSource;
pub(crate) use table::{Scatter, ScatterError};

use container::SourceFile;
use tenx::TenX;

/// The most dimensions of an array of `obsm`: each gets a name in memory, and a file must not choose how many that are.
const MAX_DIMENSIONS: u64 = 1 << 20;

/// An open input: AnnData, one of the forms that 10x Genomics writes, or several inputs as one.
#[derive(Clone, Debug)]
pub struct AnnData {
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Layout {
    AnnData(Arc<SourceFile>),
    TenX(Arc<TenX>),
    Joined(Arc<join::Joined>),
}

impl AnnData {
    /// Opens an input, finds out what it is, and checks that it is whole as far as that can be seen.
    ///
    /// # Errors
    /// The input is missing, unreadable, of no known kind, or shorter than its header says.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(market) = TenX::open_market(path)? {
            return Ok(Self {
                layout: Layout::TenX(Arc::new(market)),
            });
        }
        let file = Arc::new(SourceFile::open(path)?);
        let layout = match TenX::open_file(&file)? {
            Some(tenx) => Layout::TenX(Arc::new(tenx)),
            None => Layout::AnnData(file),
        };
        Ok(Self { layout })
    }

    /// Opens several inputs, of the same or of different forms, as one: their obs one after the other, over one list of genes.
    /// How is told in [`JoinOptions`] and the README's section on several files.
    ///
    /// # Errors
    /// As [`Self::open`] for each of them; and [`JoinError`], here or where a matrix or table is opened or read.
    ///
    /// # Panics
    /// Where there is no input.
    pub fn join(inputs: &[PathBuf], options: &JoinOptions) -> Result<Self> {
        assert!(!inputs.is_empty(), "an input");
        let joined = join::Joined::open(inputs, options)?;
        Ok(Self {
            layout: Layout::Joined(Arc::new(joined)),
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
        match &self.layout {
            Layout::AnnData(file) => matrix::open(file, selection, workspace),
            Layout::TenX(tenx) => tenx.matrix(selection, workspace),
            Layout::Joined(joined) => joined.matrix(selection, workspace),
        }
    }

    /// Opens the table of the rows.
    ///
    /// # Errors
    /// The table does not exist, is of an encoding that is not read, or is damaged.
    pub fn obs(&self) -> Result<TableSource> {
        match &self.layout {
            Layout::AnnData(file) => table::open(file, "obs"),
            Layout::TenX(tenx) => tenx.obs(),
            Layout::Joined(joined) => joined.obs(),
        }
    }

    /// Opens the table of the columns of the selected matrix: `raw/var` for `raw`, else `var`; for an array of `obsm` one that
    /// numbers its dimensions from 0.
    ///
    /// # Errors
    /// As for [`Self::obs`].
    pub fn var(&self, selection: &Selection) -> Result<TableSource> {
        match (&self.layout, selection) {
            (Layout::AnnData(file), Selection::Obsm(_)) => {
                let n_dimensions = self.matrix(selection)?.n_vars();
                if n_dimensions > MAX_DIMENSIONS {
                    return Err(SourceError::Dimensions {
                        file: file.path().to_owned(),
                        object: selection.path(),
                        found: n_dimensions,
                        limit: MAX_DIMENSIONS,
                    });
                }
                let names = (0..n_dimensions).map(|number| number.to_string()).collect();
                table::of_strings(file.path(), &selection.path(), vec![("_index", names)])
            }
            (Layout::AnnData(file), Selection::Raw) => table::open(file, "raw/var"),
            (Layout::AnnData(file), Selection::X | Selection::Layer(_)) => table::open(file, "var"),
            (Layout::TenX(tenx), _) => tenx.var(),
            (Layout::Joined(joined), _) => joined.var(selection),
        }
    }
}
