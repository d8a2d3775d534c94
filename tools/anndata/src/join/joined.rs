//! Several inputs that are read as one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field};

use super::columns::{self, Found};
use super::error::JoinError;
use super::options::{JoinOptions, VarJoin};
use super::repeats::Repeats;
use super::unify;
use super::vars::{self, JoinedVar};
use crate::error::Result;
use crate::forms::{self, InputForm};
use crate::matrix::{JoinedMatrices, MatrixSource, Selection};
use crate::metadata::{ENCODING, INDEX_NAME, ORDERED};
use crate::open::OpenOptions;
use crate::table::{self, JoinedColumn, JoinedInput, JoinedKind, TableSource};
use crate::workspace::Workspace;
use crate::write::is_column_name;

/// Inputs that are read as one.
#[derive(Debug)]
pub(crate) struct Joined {
    inputs: Vec<PathBuf>,
    /// What is read of each.
    open: OpenOptions,
    options: JoinOptions,
    labels: Vec<String>,
    /// Obs of each input.
    n_obs: Vec<u64>,
    /// The genes of X and the layers, those of raw, and the dimensions of arrays of obsm.
    vars: Mutex<HashMap<String, Arc<JoinedVar>>>,
}

impl Joined {
    /// Looks at the obs of all inputs.
    pub(crate) fn open(inputs: &[PathBuf], open: &OpenOptions, options: &JoinOptions) -> Result<Self> {
        let needs_labels = options.label_column.is_some() || options.index_unique.is_some();
        let labels = match &options.labels {
            Some(labels) => labels.clone(),
            None => inputs.iter().map(|path| label_of(path)).collect(),
        };
        if labels.len() != inputs.len() {
            let (expected, found) = (inputs.len(), labels.len());
            return Err(JoinError::LabelCount { expected, found }.into());
        }
        if let Some(column) = options.label_column.as_ref().filter(|name| !is_column_name(name)) {
            let column = column.clone();
            return Err(JoinError::LabelName { column }.into());
        }
        if needs_labels {
            let mut of_label = HashMap::new();
            for (path, label) in inputs.iter().zip(&labels) {
                if let Some(first) = of_label.insert(label, path) {
                    return Err(JoinError::RepeatedLabel {
                        first: first.clone(),
                        other: path.clone(),
                        label: label.clone(),
                    }
                    .into());
                }
            }
        }
        let rows = |path: &PathBuf| Ok(forms::open(path, open)?.obs()?.n_rows());
        Ok(Self {
            n_obs: inputs.iter().map(rows).collect::<Result<_>>()?,
            inputs: inputs.to_vec(),
            open: open.clone(),
            options: options.clone(),
            labels,
            vars: Mutex::default(),
        })
    }

    /// Number of inputs.
    pub(crate) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The inputs, in order.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// Their labels.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Opens each of the inputs by itself, in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = Result<Arc<dyn InputForm>>> + '_ {
        self.inputs.iter().map(|path| forms::open(path, &self.open))
    }

    /// The genes that the selected matrix has.
    fn join_vars(&self, selection: &Selection) -> Result<Arc<JoinedVar>> {
        let vars = || self.vars.lock().unwrap_or_else(PoisonError::into_inner);
        // Layers have the genes of X.
        let axis = match selection {
            Selection::X | Selection::Layer(_) => Selection::X.path(),
            other => other.path(),
        };
        if let Some(known) = vars().get(&axis) {
            return Ok(Arc::clone(known));
        }
        let (how, key) = match selection {
            // The numbers of dimensions, which must be as many in all inputs.
            Selection::Obsm(_) => (VarJoin::Same, None),
            _ => (self.options.var, self.options.var_key.as_deref()),
        };
        let joined = Arc::new(vars::join(&self.inputs, &self.open, selection, how, key)?);
        vars().insert(axis, Arc::clone(&joined));
        Ok(joined)
    }

    pub(crate) fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        // What is not there is named before the genes are looked at.
        let parts = JoinedMatrices::open(&self.inputs, &self.open, selection, workspace)?;
        let vars = self.join_vars(selection)?;
        parts.join(&self.n_obs, vars.n_vars as u64, vars.maps.as_deref())
    }

    pub(crate) fn var(&self, selection: &Selection) -> Result<TableSource> {
        Ok(self.join_vars(selection)?.table.clone())
    }

    pub(crate) fn obs(&self) -> Result<TableSource> {
        let (mut parts, mut found, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut repeats = Repeats::new(self.n_obs.iter().sum());
        for (path, &n_rows) in self.inputs.iter().zip(&self.n_obs) {
            let table = forms::open(path, &self.open)?.obs()?;
            if table.n_rows() != n_rows {
                let (file, object) = (path.clone(), "obs".to_owned());
                return Err(JoinError::Changed { file, object }.into());
            }
            found.push(Found::new(path, &table)?);
            let of_file = |warning: &String| format!("{}: {warning}", path.display());
            warnings.extend(table.warnings().iter().map(of_file));
            if self.options.index_unique.is_none() {
                repeats.add(&table)?;
            }
            parts.push(JoinedInput {
                path: path.clone(),
                n_rows,
            });
        }
        if self.inputs.len() > 1 && repeats.any() {
            warnings.push(
                "names of obs are not unique across the inputs; give `index_unique` to append the label of each input"
                    .to_owned(),
            );
        }
        let mut columns = columns::join("obs", &found, self.options.obs_columns.as_deref(), &mut warnings)?;
        if let Some(separator) = &self.options.index_unique {
            let suffixes = self.labels.iter().map(|label| format!("{separator}{label}"));
            columns[0].kind = JoinedKind::Suffixed {
                suffixes: suffixes.collect(),
            };
            let mut metadata = columns[0].field.metadata().clone();
            let name = metadata.get(INDEX_NAME).cloned().unwrap_or_default();
            // AnnData cannot hold an index that has the name of a column but not its values.
            if columns[1..].iter().any(|column| *column.field.name() == name) {
                metadata.insert(INDEX_NAME.to_owned(), "_index".to_owned());
                warnings.push(format!(
                    "the names of obs, with their suffixes, differ from the column {name} now, so the index is not called {name} any more"
                ));
            }
            let field = Field::new(columns[0].field.name(), DataType::Utf8, false);
            columns[0].field = field.with_metadata(metadata);
        }
        if let Some(name) = &self.options.label_column {
            let having = columns.iter().find(|column| column.field.name() == name);
            if let Some(having) = having {
                let part = having.places.iter().position(Option::is_some).unwrap_or(0);
                let (file, column) = (self.inputs[part].clone(), name.clone());
                return Err(JoinError::LabelColumn { file, column }.into());
            }
            columns.push(self.label_column(name));
        }
        Ok(table::joined(parts, self.open.clone(), columns, warnings))
    }

    fn label_column(&self, name: &str) -> JoinedColumn {
        let labels: ArrayRef = Arc::new(StringArray::from(self.labels.clone()));
        let key = unify::code_type(labels.len());
        let data_type = DataType::Dictionary(Box::new(key), Box::new(DataType::Utf8));
        let metadata = HashMap::from([
            (ENCODING.to_owned(), "categorical".to_owned()),
            (ORDERED.to_owned(), "false".to_owned()),
        ]);
        JoinedColumn {
            field: Field::new(name, data_type, true).with_metadata(metadata),
            kind: JoinedKind::Label { labels },
            places: vec![None; self.inputs.len()],
        }
    }
}

/// The name of an input without what says its form.
fn label_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = [".zip", ".gz"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    // Of Matrix Market the prefix is the sample.
    let sample = name
        .strip_suffix("matrix.mtx")
        .map(|prefix| prefix.trim_end_matches(['_', '.', '-']));
    if let Some(sample) = sample.filter(|sample| !sample.is_empty()) {
        return sample.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => name.to_owned(),
    }
}
