//! In which form each matrix is written: that of the source, as far as the store knows it.

use std::collections::HashMap;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::StringArray;
use arrow_schema::{DataType, Field};
use cellring::Store;
use cellring_anndata::__internal::type_of_numpy_name;
use cellring_anndata::write::{Form, MatrixSpec, Place};

use super::error::ExportError;
use super::report::ExportedMatrix;

/// The forms of AnnData, those of old versions too, and what inputs of different forms have together. What other formats call theirs does not
/// matter: an export never has it.
const OF_ANNDATA: [&str; 7] = [
    "array",
    "dataframe",
    "csr_matrix",
    "csc_matrix",
    "h5sparse csr",
    "h5sparse csc",
    "several",
];

/// The longest row of a dense matrix: a chunk is at least one row.
const MAX_ROW_BYTES: u64 = 1 << 28;
/// The most obs of a matrix that is written by columns: one column is held whole.
const MAX_CSC_OBS: u64 = 1 << 28;

/// The form of X, the layers and raw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormChoice {
    /// Of each matrix the form that it had in the source.
    #[default]
    Source,
    /// All by rows.
    Csr,
    /// All by columns.
    Csc,
    /// All dense.
    Dense,
}

impl FromStr for FormChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "source" => Ok(Self::Source),
            "csr" => Ok(Self::Csr),
            "csc" => Ok(Self::Csc),
            "dense" => Ok(Self::Dense),
            _ => Err("expected source, csr, csc or dense".to_owned()),
        }
    }
}

/// How one matrix is written.
pub(super) struct MatrixPlan {
    pub(super) place: Place,
    pub(super) spec: MatrixSpec,
    source_path: Option<String>,
    source_form: Option<String>,
    /// What is not as in the source.
    pub(super) difference: Option<String>,
}

impl MatrixPlan {
    pub(super) fn new(
        store: &Arc<Store>,
        place: Place,
        obs: &Range<u64>,
        choice: FormChoice,
    ) -> Result<Self, ExportError> {
        let about = |key: &str| {
            let value = store.manifest().source.get(key)?.as_str()?;
            Some(value.to_owned())
        };
        let (source_path, source_form) = (about("matrix"), about("encoding_type"));
        let form = form(store, &place, choice, source_form.as_deref(), obs)?;
        let path = place.path();
        let written = (path.as_str(), form.encoding());
        let difference = difference(written, (source_path.as_deref(), source_form.as_deref()));
        Ok(Self {
            spec: spec(store, obs)?.with_form(form),
            difference,
            place,
            source_path,
            source_form,
        })
    }

    pub(super) fn report(&self) -> ExportedMatrix {
        ExportedMatrix {
            path: self.place.path(),
            form: self.spec.form.encoding().to_owned(),
            source_path: self.source_path.clone(),
            source_form: self.source_form.clone(),
        }
    }
}

/// What is not as in the source, of the path and the form of a matrix.
fn difference((path, form): (&str, &str), source: (Option<&str>, Option<&str>)) -> Option<String> {
    let (source_path, source_form) = source;
    let mut changes = Vec::new();
    let anndata_form = source_form.filter(|name| OF_ANNDATA.contains(name));
    if let Some(source_form) = anndata_form.filter(|name| *name != form) {
        changes.push(format!("is {form} here and was {source_form} in the source"));
    }
    if let Some(source_path) = source_path.filter(|name| *name != path) {
        changes.push(format!("was {source_path} in the source"));
    }
    (!changes.is_empty()).then(|| format!("{path} {}", changes.join(", and ")))
}

fn form(
    store: &Store,
    place: &Place,
    choice: FormChoice,
    source_form: Option<&str>,
    obs: &Range<u64>,
) -> Result<Form, ExportError> {
    if matches!(place, Place::Obsm(_)) {
        // Embeddings: as they were, and dense if that is not known.
        return Ok(match source_form {
            Some("dataframe") => frame(store)?.map_or(Form::Dense, Form::Frame),
            Some("csr_matrix") => Form::Csr,
            Some("csc_matrix") if obs.end - obs.start <= MAX_CSC_OBS => Form::Csc,
            _ => Form::Dense,
        });
    }
    let wanted = match (choice, source_form) {
        (FormChoice::Csr, _) => Form::Csr,
        (FormChoice::Csc, _) => Form::Csc,
        (FormChoice::Dense, _) => Form::Dense,
        (FormChoice::Source, Some("array" | "dataframe")) => Form::Dense,
        (FormChoice::Source, Some("csc_matrix" | "h5sparse csc")) => Form::Csc,
        (FormChoice::Source, _) => Form::Csr,
    };
    let row_bytes = store.n_vars() * store.manifest().value_type.size_bytes() as u64;
    Ok(match wanted {
        Form::Dense if row_bytes > MAX_ROW_BYTES => Form::Csr,
        Form::Csc if obs.end - obs.start > MAX_CSC_OBS => Form::Csr,
        wanted => wanted,
    })
}

/// Rows of a linked store that are read at a time to count their values.
const COUNTED_ROWS: u64 = 1024;

/// Shape and types of these rows of a matrix.
fn spec(store: &Store, obs: &Range<u64>) -> Result<MatrixSpec, ExportError> {
    let n_obs = obs.end - obs.start;
    let nnz = if store.is_linked() {
        // What is stored is not always canonical: there may be zeros, and several values of one column.
        let parts = (obs.start..obs.end).step_by(COUNTED_ROWS as usize);
        parts
            .map(|first| first..(first + COUNTED_ROWS).min(obs.end))
            .try_fold(0, |nnz, part| {
                Ok::<_, cellring::Error>(nnz + store.rows(part)?.nnz() as u64)
            })?
    } else if n_obs == store.n_obs() {
        store.manifest().nnz
    } else {
        obs.clone().try_fold(0, |nnz, obs| {
            Ok::<_, cellring::Error>(nnz + u64::from(store.nnz_of(obs)?))
        })?
    };
    let mut spec = MatrixSpec::new(n_obs, store.n_vars(), store.manifest().value_type).with_nnz(nnz);
    spec.wide_indices |= has_wide_indices(store);
    Ok(spec)
}

/// Whether the source had 64-bit column indices, as far as the manifest says.
fn has_wide_indices(store: &Store) -> bool {
    let indices_type = store.manifest().source.get("indices_type");
    indices_type
        .and_then(|name| name.as_str())
        .is_some_and(|name| name.ends_with("64"))
}

/// The columns of a data frame, in the source's order, if the store says of each what it was.
fn frame(store: &Store) -> Result<Option<Vec<Field>>, ExportError> {
    let Some(columns) = store
        .manifest()
        .source
        .get("columns")
        .and_then(|columns| columns.as_array())
    else {
        return Ok(None);
    };
    let about = |column: &serde_json::Value| {
        let text = |key: &str| column.get(key)?.as_str();
        Some((
            text("name")?.to_owned(),
            (type_of_numpy_name(text("type")?)?, text("encoding")?.to_owned()),
        ))
    };
    let types: HashMap<String, (DataType, String)> = columns.iter().filter_map(about).collect();
    let positions = store.source_positions()?;
    let mut names = vec![String::new(); positions.len()];
    let mut at = 0;
    for batch in store.var().names()?.batches() {
        let Some(batch) = batch.as_any().downcast_ref::<StringArray>() else {
            return Ok(None);
        };
        for name in batch.iter() {
            if let (Some(position), Some(name)) = (positions.get(at), name) {
                names[*position as usize] = name.to_owned();
            }
            at += 1;
        }
    }
    let field = |name: String| {
        let (data_type, encoding) = types.get(&name)?.clone();
        let metadata = HashMap::from([("anndata.encoding".to_owned(), encoding)]);
        Some(Field::new(name, data_type, false).with_metadata(metadata))
    };
    Ok(names.into_iter().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_of_forms_that_anndata_has() {
        let of_form = |source_form| difference(("X", "csr_matrix"), (Some("X"), source_form));
        for same in [
            None,
            Some("csr_matrix"),
            Some("10x csc_matrix"),
            Some("matrix market"),
        ] {
            assert_eq!(of_form(same), None, "{same:?}");
        }
        for other in ["array", "csc_matrix", "h5sparse csr", "several"] {
            let expected = format!("X is csr_matrix here and was {other} in the source");
            assert_eq!(of_form(Some(other)), Some(expected));
        }
        let moved = difference(("raw/X", "array"), (Some("X"), Some("csr_matrix")));
        let expected = "raw/X is array here and was csr_matrix in the source, and was X in the source";
        assert_eq!(moved.as_deref(), Some(expected));
    }
}
