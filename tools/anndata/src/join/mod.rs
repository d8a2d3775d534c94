//! Several inputs as one: the obs of all, one after the other, over one list of genes.
//!
//! - **Genes** are identified by their names, or by a column of var. With [`VarJoin::Same`] all inputs must have the same ones,
//!   in any order; [`VarJoin::Inner`] takes those that all have, [`VarJoin::Outer`] those that any has. They come in the
//!   order in which they are met. A gene that an input lacks is zero in its rows. Where all inputs have equal lists, nothing
//!   is matched, so that names may repeat; else a gene that is taken must occur once in each input.
//! - **Values** of the matrix become the narrowest type that holds those of all inputs: `u8` and `i8` are `i16`, `i32` and
//!   `f32` are `f64`. 64-bit integers beside floats become `f64`, `u64` beside signed integers `i64`; a value that these do
//!   not hold exactly is refused by its place.
//! - **Columns of obs**: all that any input has, in the order in which they are met; missing values where an input has none
//!   (so integers and booleans become nullable; floats and categories have missing values as they are). Types are
//!   united as those of the matrix; numbers, booleans and texts are never mixed, but refused (but for the index, whose names
//!   become texts then, as in anndata). Categories are merged in the
//!   order in which they are met; ordered ones stay ordered where one input's list holds all others in its order, else
//!   they lose the order, with a warning. Categories beside plain values become plain, with a warning.
//! - **Columns of var**: all that any input has, where the inputs agree on the values of the genes they share. Others are
//!   left out, with a warning that names them: they tell of an input, not of a gene. (`anndata.concat` leaves out all but
//!   what `merge` asks for.)
//! - Names of obs may repeat, with a warning; a suffix makes them unique.
//!
//! Inputs are opened when their rows are read, and closed again: hundreds cost no more memory than their category labels,
//! lists of genes and four bytes per obs.

pub(crate) mod columns;
mod error;
pub(crate) mod names;
mod shared;
pub(crate) mod unify;
mod vars;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field};
use xxhash_rust::xxh3::xxh3_64;

pub use error::JoinError;
pub(crate) use vars::NOT_KEPT;

use super::error::{ReadError, Result};
use super::table::{self, ENCODING, INDEX_NAME, JoinedColumn, JoinedKind, JoinedPart, ORDERED};
use super::write::is_column_name;
use super::{Input, MatrixSource, OpenOptions, Selection, TableSource, Workspace, matrix};
use columns::Found;
use vars::JoinedVar;

/// Which genes several inputs have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VarJoin {
    /// All inputs must have the same genes, in any order.
    #[default]
    Same,
    /// Those that all inputs have.
    Inner,
    /// Those that any input has; zero where an input lacks them.
    Outer,
}

impl VarJoin {
    /// `same`, `inner` or `outer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Inner => "inner",
            Self::Outer => "outer",
        }
    }
}

/// How inputs become one.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// Which genes.
    pub var: VarJoin,
    /// The column of var that tells genes; their names where `None`.
    pub var_key: Option<String>,
    /// A categorical column of obs with the label of each cell's input.
    pub label_column: Option<String>,
    /// The labels; the inputs' names without extension where `None`.
    pub labels: Option<Vec<String>>,
    /// The columns of obs that are wanted; others that hold different kinds of values are left out, not refused. All where
    /// `None`.
    pub obs_columns: Option<Vec<String>>,
    /// Makes the names of obs unique: this and the label of their input are appended.
    pub index_unique: Option<String>,
}

impl JoinOptions {
    /// Whether they change anything about a single input.
    pub fn is_default_for_one(&self) -> bool {
        self.label_column.is_none() && self.index_unique.is_none()
    }
}

/// Names of obs that are looked at for repeats; of more only a part is, chosen by their hashes.
const MAX_HASHES: u64 = 4 << 20;

/// Rows of obs that are read at a time while names are looked at.
const NAMES_ROWS: u64 = 1 << 16;

/// Inputs that are read as one.
#[derive(Debug)]
pub(super) struct Joined {
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
    pub(super) fn open(inputs: &[PathBuf], open: &OpenOptions, options: &JoinOptions) -> Result<Self> {
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
        let rows = |path: &PathBuf| Ok(Input::open_with(path, open)?.obs()?.n_rows());
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
    pub(super) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The inputs, in order.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// Opens each of the inputs by itself, in order.
    pub(super) fn each(&self) -> impl Iterator<Item = Result<Input>> + '_ {
        self.inputs.iter().map(|path| Input::open_with(path, &self.open))
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

    pub(super) fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        // What is not there is named before the genes are looked at.
        let parts = matrix::JoinedParts::open(&self.inputs, &self.open, selection, workspace)?;
        let vars = self.join_vars(selection)?;
        parts.join(&self.n_obs, vars.n_vars as u64, vars.maps.as_deref())
    }

    pub(super) fn var(&self, selection: &Selection) -> Result<TableSource> {
        Ok(self.join_vars(selection)?.table.clone())
    }

    pub(super) fn obs(&self) -> Result<TableSource> {
        let (mut parts, mut found, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut repeats = Repeats::new(self.n_obs.iter().sum());
        for (path, &n_rows) in self.inputs.iter().zip(&self.n_obs) {
            let table = Input::open_with(path, &self.open)?.obs()?;
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
            parts.push(JoinedPart {
                path: path.clone(),
                n_rows,
            });
        }
        if self.inputs.len() > 1 && repeats.any() {
            warnings.push(
                "names of obs are not unique across the inputs; give --index-unique SEP to append the label of each input"
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

/// Finds out whether names repeat, in bounded memory.
struct Repeats {
    hashes: Vec<u64>,
    /// Hashes up to this are kept.
    limit: u64,
}

impl Repeats {
    fn new(n_names: u64) -> Self {
        Self {
            hashes: Vec::new(),
            limit: u64::MAX / n_names.div_ceil(MAX_HASHES).max(1),
        }
    }

    fn add(&mut self, table: &TableSource) -> std::result::Result<(), ReadError> {
        let names = table.project(&[0]);
        for start in (0..names.n_rows()).step_by(NAMES_ROWS as usize) {
            let batch = names.read(start..names.n_rows().min(start + NAMES_ROWS))?;
            if let Some(names) = batch.column(0).as_string_opt::<i32>() {
                let hashes = names.iter().flatten().map(|name| xxh3_64(name.as_bytes()));
                self.hashes.extend(hashes.filter(|hash| *hash <= self.limit));
            }
        }
        Ok(())
    }

    fn any(mut self) -> bool {
        self.hashes.sort_unstable();
        self.hashes.windows(2).any(|pair| pair[0] == pair[1])
    }
}
