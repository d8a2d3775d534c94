//! Reads AnnData (`.h5ad`, zarr, groups of larger files) and what 10x Genomics writes (`.h5`, Matrix Market): a matrix as rows of canonical CSR in storage order, `obs` and `var` as Arrow tables.
//!
//! Memory is bounded whatever the file claims: bulk data passes in windows, and only `indptr` (8 bytes per obs) and the
//! category labels are held whole. No input panics; what is not read is refused with one sentence that names it.

mod container;
mod error;
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

pub use error::{Result, SourceError};
pub(crate) use join::names::texts_of;
pub(crate) use join::unify;
pub use join::{JoinError, JoinOptions, VarJoin};
pub use left_out::{LeftOut, PartKind};
pub use matrix::{Canonicalised, CountMode, FrameColumn, MatrixSource, Rows, Selection, Workspace};
pub(crate) use matrix::{Looks, type_of_numpy_name};
pub use open::OpenOptions;
pub use rows::{RowSet, RowSetBuilder};
pub use stamp::InputStamp;
pub use table::TableSource;
pub(crate) use table::{ORDERED, Scatter, ScatterError};

use arrow_array::StringArray;
use container::SourceFile;
pub(crate) use open::GROUP_OPTION;
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
    /// Opens an input with [`OpenOptions::default`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens an input, finds out what it is, and checks that it is whole as far as that can be seen.
    ///
    /// # Errors
    /// The input is missing, unreadable, of no known kind, or shorter than its header says; it holds several matrices or groups
    /// of AnnData, of which the options choose none; or the options do not apply to it.
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self> {
        let layout = match TenX::open_market(path, options).map_err(|error| foreign::explain(path, error))? {
            Some(market) => Layout::TenX(Arc::new(market)),
            None => {
                let file = SourceFile::open_as(path, options.force_read)
                    .map_err(|error| foreign::explain(path, error))?;
                let file = Arc::new(groups::choose(file, options)?);
                match TenX::open_file(&file, options)? {
                    Some(tenx) => Layout::TenX(Arc::new(tenx)),
                    None => {
                        options.check_anndata(file.path())?;
                        groups::check(&file)?;
                        Layout::AnnData(file)
                    }
                }
            }
        };
        Ok(Self { layout })
    }

    /// Opens several inputs, of the same or of different forms, as one: their obs one after the other, over one list of genes.
    /// How is told in [`JoinOptions`] and the README's section on several files.
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

    /// Opens the table of the columns of the selected matrix: `raw/var` for `raw`, else `var`; for a data frame of `obsm` its columns, for an
    /// array one that numbers its dimensions from 0.
    ///
    /// # Errors
    /// As for [`Self::obs`].
    pub fn var(&self, selection: &Selection) -> Result<TableSource> {
        match (&self.layout, selection) {
            (Layout::AnnData(file), Selection::Obsm(_)) => {
                let of_names = |names| {
                    let columns = vec![("_index", names)];
                    table::of_strings(file.path(), &selection.path(), columns, Vec::new())
                };
                if let Some(names) = matrix::frame_names(file, selection)? {
                    return Ok(of_names(names.into()));
                }
                let n_dimensions = self.matrix(selection)?.n_vars();
                if n_dimensions > MAX_DIMENSIONS {
                    return Err(SourceError::Dimensions {
                        file: file.path().to_owned(),
                        object: selection.path(),
                        found: n_dimensions,
                        limit: MAX_DIMENSIONS,
                    });
                }
                let names = StringArray::from_iter_values((0..n_dimensions).map(|number| number.to_string()));
                Ok(of_names(names))
            }
            (Layout::AnnData(file), Selection::Raw) => table::open(file, "raw/var"),
            (Layout::AnnData(file), Selection::X | Selection::Layer(_)) => table::open(file, "var"),
            (Layout::TenX(tenx), _) => tenx.var(),
            (Layout::Joined(joined), _) => joined.var(selection),
        }
    }
}
