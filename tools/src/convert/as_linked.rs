//! Whether the inputs of a linked store still have what was linked of them.
//!
//! A store watches the files that its matrices are in. A conversion reads more of the inputs: `obs` and `var`, which the store has copied, and
//! where all rows begin, of which the store watches samples.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_schema::{FieldRef, Schema};
use cellring::__internal::stored_nnz;
use cellring::Store;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use cellring::format::table::Table;
use cellring_anndata::__internal::ZARR_DOCUMENTS;
use cellring_anndata::TableSource;

use super::error::ConvertError;
use super::inputs::Inputs;
use super::options::ConvertOptions;
use super::selected::SelectedMatrix;

/// Compares inputs with what was linked of them, which `options` say, in the first `n_obs` rows.
///
/// # Errors
/// If something is not what it was, or cannot be read.
pub(super) fn check(
    store: &Store,
    paths: &[PathBuf],
    output: &Path,
    options: &ConvertOptions,
    n_obs: u64,
) -> Result<(), ConvertError> {
    let changed = |what: String| ConvertError::NotAsLinked {
        store: store.path().to_path_buf(),
        what,
    };
    let matrices = || std::iter::once(store).chain(store.matrices().iter().map(AsRef::as_ref));
    let opened = Inputs::open(paths, output, options)?;
    let name = opened.name.display();
    if opened.obs.n_rows() != store.n_obs() || opened.selected_matrices.len() != matrices().count() {
        return Err(changed(format!("the number of rows or matrices in {name}")));
    }
    let n_obs = n_obs.min(store.n_obs());
    for (matrix, selected) in matrices().zip(&opened.selected_matrices) {
        if let Some(file) = elsewhere(matrix, selected)? {
            return Err(ConvertError::Elsewhere {
                store: store.path().to_path_buf(),
                file,
                input: opened.name.clone(),
            });
        }
        if let Some(what) = other_rows(matrix, selected, n_obs)? {
            return Err(changed(format!("{what} in {name}")));
        }
        if let Some(column) = other_column(matrix.var(), &selected.var, matrix.n_vars())? {
            return Err(changed(format!("column {column:?} of {}", selected.var)));
        }
    }
    match other_column(store.obs(), &opened.obs, n_obs)? {
        Some(column) => Err(changed(format!("column {column:?} of {}", opened.obs))),
        None => Ok(()),
    }
}

/// A file that the store reads and the conversion does not: a part of an input that was moved alone.
fn elsewhere(matrix: &Store, selected: &SelectedMatrix) -> Result<Option<PathBuf>, ConvertError> {
    let stored = selected
        .matrix
        .stored()
        .map_err(|not_stored| ConvertError::NotLinkable {
            file: not_stored.file,
            matrix: selected.selection.path(),
            reason: not_stored.reason,
        })?;
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let arrays = stored
        .iter()
        .flat_map(|rows| rows.indices.iter().chain([&rows.data]));
    let of_rows = stored.iter().flat_map(|rows| &rows.row_starts);
    let files = arrays.flat_map(|array| &array.files);
    let read: HashSet<PathBuf> = files
        .chain(of_rows.map(|watched| &watched.file))
        .map(real)
        .collect();
    let is_document = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default();
        ZARR_DOCUMENTS.iter().any(|document| name == *document)
    };
    let mut files = matrix.shard_paths().into_iter();
    Ok(files.find(|file| !is_document(file) && !read.contains(&real(file))))
}

/// The first row that has another number of values.
fn other_rows(matrix: &Store, selected: &SelectedMatrix, n_obs: u64) -> Result<Option<String>, ConvertError> {
    for (obs, found) in (0..).zip(selected.matrix.stored_per_row(0..n_obs)) {
        if u64::from(stored_nnz(matrix, obs)?) != found {
            return Ok(Some(format!("row {obs} of {}", selected.selection.path())));
        }
    }
    Ok(None)
}

/// The first column that is another one in the first rows of a table.
fn other_column(stored: &Table, found: &TableSource, n_rows: u64) -> Result<Option<String>, ConvertError> {
    // Places in the source are no column of it.
    let is_of_source = |field: &&FieldRef| {
        let role = field.metadata().get(ROLE_KEY);
        role.is_none_or(|role| role != ROLE_SOURCE_POSITION)
    };
    let names = |schema: &Schema| -> Vec<String> {
        let fields = schema.fields().iter().filter(is_of_source);
        fields.map(|field| field.name().clone()).collect()
    };
    let (own, others) = (names(stored.schema()?), names(found.schema()));
    let other =
        |names: &[String], others: &[String]| names.iter().find(|name| !others.contains(name)).cloned();
    if let Some(name) = other(&own, &others).or_else(|| other(&others, &own)) {
        return Ok(Some(name));
    }
    for (number, start) in (0..n_rows).step_by(TABLE_BATCH_ROWS).enumerate() {
        let end = found.n_rows().min(start + TABLE_BATCH_ROWS as u64);
        let (stored, found) = (stored.batch(number)?, found.read(start..end)?);
        for name in &own {
            let same = match (stored.column_by_name(name), found.column_by_name(name)) {
                (Some(stored), Some(found)) => {
                    // Equal values may be other codes.
                    let categories =
                        |array: &ArrayRef| array.as_any_dictionary_opt().map(|array| array.values().clone());
                    stored.as_ref() == found.as_ref() && categories(stored) == categories(found)
                }
                _ => false,
            };
            if !same {
                return Ok(Some(name.clone()));
            }
        }
    }
    Ok(None)
}
