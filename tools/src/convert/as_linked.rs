//! Whether the inputs of a linked store still have what was linked of them.
//!
//! A store watches the files that its matrices are in. A conversion reads more of the inputs: where rows begin, `obs` and `var`, which the
//! store has copied.

use std::path::{Path, PathBuf};

use arrow_schema::{FieldRef, Schema};
use cellring::__internal::stored_nnz;
use cellring::Store;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use cellring::format::table::Table;
use cellring_anndata::TableSource;

use super::error::ConvertError;
use super::inputs::Inputs;
use super::options::ConvertOptions;
use super::selected::SelectedMatrix;

/// Compares inputs with what was linked of them, which `options` say.
///
/// # Errors
/// If something is not what it was, or cannot be read.
pub(super) fn check(
    store: &Store,
    paths: &[PathBuf],
    output: &Path,
    options: &ConvertOptions,
) -> Result<(), ConvertError> {
    let changed = |what: String| ConvertError::NotAsLinked {
        store: store.path().to_path_buf(),
        what,
    };
    let matrices = || std::iter::once(store).chain(store.matrices().iter().map(AsRef::as_ref));
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let inputs: Vec<PathBuf> = paths.iter().map(|input| real(input)).collect();
    // Parts of an input that were moved alone are read by the store only.
    let files = matrices().flat_map(Store::shard_paths);
    if let Some(file) = files
        .into_iter()
        .find(|file| !inputs.iter().any(|input| real(file).starts_with(input)))
    {
        let input = paths[0].display();
        return Err(changed(format!(
            "{}, which it reads, is not in the input {input}",
            file.display()
        )));
    }
    let opened = Inputs::open(paths, output, options)?;
    if opened.obs.n_rows() != store.n_obs() || opened.selected_matrices.len() != matrices().count() {
        return Err(changed(format!(
            "the number of rows or matrices in {}",
            opened.name.display()
        )));
    }
    for (matrix, selected) in matrices().zip(&opened.selected_matrices) {
        if let Some(what) = other_rows(matrix, selected)? {
            return Err(changed(format!("{what} in {}", opened.name.display())));
        }
        if let Some(column) = other_column(matrix.var(), &selected.var)? {
            return Err(changed(format!("column {column:?} of {}", selected.var)));
        }
    }
    match other_column(store.obs(), &opened.obs)? {
        Some(column) => Err(changed(format!("column {column:?} of {}", opened.obs))),
        None => Ok(()),
    }
}

/// The first row that has another number of values.
fn other_rows(matrix: &Store, selected: &SelectedMatrix) -> Result<Option<String>, ConvertError> {
    for (obs, found) in (0..).zip(selected.matrix.stored_per_row(0..matrix.n_obs())) {
        if u64::from(stored_nnz(matrix, obs)?) != found {
            return Ok(Some(format!("row {obs} of {}", selected.selection.path())));
        }
    }
    Ok(None)
}

/// The first column that is another one in a table.
fn other_column(stored: &Table, found: &TableSource) -> Result<Option<String>, ConvertError> {
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
    for (number, start) in (0..found.n_rows()).step_by(TABLE_BATCH_ROWS).enumerate() {
        let end = found.n_rows().min(start + TABLE_BATCH_ROWS as u64);
        let (stored, found) = (stored.batch(number)?, found.read(start..end)?);
        for name in &own {
            let same = match (stored.column_by_name(name), found.column_by_name(name)) {
                (Some(stored), Some(found)) => stored.as_ref() == found.as_ref(),
                _ => false,
            };
            if !same {
                return Ok(Some(name.clone()));
            }
        }
    }
    Ok(None)
}
