//! The forms that inputs have: AnnData, and those in the list below. A new one is a file here and a row in it.

mod anndata;
mod form;
mod tenx;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use form::InputForm;

use crate::container::SourceFile;
use crate::error::Result;
use crate::foreign;
use crate::groups;
use crate::open::OpenOptions;
use form::FormKind;

/// The forms beside AnnData, in the order in which they are asked. One that is known by more comes before one that is known by less:
/// 10x Genomics takes any group that holds `gene_names`.
const FORMS: [&dyn FormKind; 2] = [&tenx::MatrixMarket, &tenx::TenXHdf5];

/// Opens an input and finds out what it is.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn InputForm>> {
    let explained = |error| foreign::explain(path, error, &looked_for());
    for form in FORMS {
        if let Some(input) = form.open_path(path, options).map_err(explained)? {
            return Ok(input);
        }
    }
    let file = SourceFile::open_as(path, options.force_read).map_err(explained)?;
    let file = Arc::new(groups::choose(file, options)?);
    for form in FORMS {
        if let Some(input) = form.open_file(&file, options)? {
            return Ok(input);
        }
    }
    anndata::open(file, options)
}

/// All files of the input at this path, if it is several files beside each other.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let found = FORMS.iter().map(|form| form.files(path));
    { found }.find(|files| !files.is_empty()).unwrap_or_default()
}

/// What is looked for in a directory, for a message.
fn looked_for() -> String {
    let all: Vec<String> = FORMS.iter().filter_map(|form| form.looked_for()).collect();
    all.join(", and for ")
}
