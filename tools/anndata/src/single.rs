//! One open input: AnnData, or one of the forms that 10x Genomics writes.

use std::path::Path;
use std::sync::Arc;

use arrow_array::StringArray;

use crate::container::SourceFile;
use crate::error::{ReadError, Result};
use crate::matrix::{self, MatrixSource, Selection};
use crate::open::OpenOptions;
use crate::table::{self, TableSource};
use crate::tenx::TenX;
use crate::workspace::Workspace;
use crate::{foreign, groups};

/// The most dimensions of an array of `obsm`: each gets a name in memory, and a file must not choose how many that are.
const MAX_DIMENSIONS: u64 = 1 << 20;

/// One open input.
#[derive(Clone, Debug)]
pub(crate) enum SingleInput {
    AnnData(Arc<SourceFile>),
    TenX(Arc<TenX>),
}

impl SingleInput {
    /// Opens an input and finds out what it is.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        Ok(
            match TenX::open_market(path, options).map_err(|error| foreign::explain(path, error))? {
                Some(market) => Self::TenX(Arc::new(market)),
                None => {
                    let file = SourceFile::open_as(path, options.force_read)
                        .map_err(|error| foreign::explain(path, error))?;
                    let file = Arc::new(groups::choose(file, options)?);
                    match TenX::open_file(&file, options)? {
                        Some(tenx) => Self::TenX(Arc::new(tenx)),
                        None => {
                            options.check_anndata(file.path())?;
                            groups::check(&file)?;
                            Self::AnnData(file)
                        }
                    }
                }
            },
        )
    }

    /// Opens one of the matrices.
    pub(crate) fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        match self {
            Self::AnnData(file) => matrix::open(file, selection, workspace),
            Self::TenX(tenx) => tenx.matrix(selection, workspace),
        }
    }

    /// Opens the table of the rows.
    pub(crate) fn obs(&self) -> Result<TableSource> {
        match self {
            Self::AnnData(file) => table::open(file, "obs"),
            Self::TenX(tenx) => tenx.obs(),
        }
    }

    /// Opens the table of the columns of the selected matrix.
    pub(crate) fn var(&self, selection: &Selection) -> Result<TableSource> {
        match (self, selection) {
            (Self::AnnData(file), Selection::Obsm(_)) => {
                let of_names = |names| {
                    let columns = vec![("_index", names)];
                    table::of_strings(file.path(), &selection.path(), columns, Vec::new())
                };
                if let Some(names) = matrix::frame_names(file, selection)? {
                    return Ok(of_names(names.into()));
                }
                let n_dimensions = matrix::open(file, selection, &Workspace::default())?.n_vars();
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
            (Self::AnnData(file), Selection::Raw) => table::open(file, "raw/var"),
            (Self::AnnData(file), Selection::X | Selection::Layer(_)) => table::open(file, "var"),
            (Self::TenX(tenx), _) => tenx.var(),
        }
    }
}
