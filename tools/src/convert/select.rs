//! Which obs, genes and columns are converted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow_array::StringArray;
use cellring::__internal::Cause;
use cellring::select::{Filter, SelectError};
use cellring_anndata::{RowSet, RowSetBuilder, Selection, TableSource};
use cellring_core::few;

use super::error::ConvertError;
use super::options::{ConvertOptions, ObsOrder};
use super::selected::SelectedMatrix;
use crate::list;
use crate::message::{Message, MessageKind};

/// Names of genes that a message shows.
const SHOWN: usize = 5;

/// Rows of obs that the filter sees at a time.
const FILTER_ROWS: usize = 1 << 16;

/// The columns of obs that the options ask about, kept or not; `None` where all are kept.
pub(super) fn asked_columns(options: &ConvertOptions) -> Result<Option<Vec<String>>, ConvertError> {
    let Some(kept) = &options.obs_columns else {
        return Ok(None);
    };
    let mut asked = kept.clone();
    if let Some(text) = &options.obs_filter {
        asked.extend(Filter::parse(text)?.columns().into_iter().map(str::to_owned));
    }
    if let Some(ObsOrder::SortedBy(columns)) = &options.obs_order {
        asked.extend_from_slice(columns);
    }
    Ok(Some(asked))
}

/// The obs that the filter of the options takes; `None` without one. What is odd about it becomes a warning.
pub(super) fn rows(
    input: &Path,
    options: &ConvertOptions,
    obs: &TableSource,
    warnings: &mut Vec<Message>,
) -> Result<Option<RowSet>, ConvertError> {
    let Some(text) = &options.obs_filter else {
        return Ok(None);
    };
    let filter = Filter::parse(text)?;
    let mut bound = filter.bind(obs.schema())?;
    let names = filter.columns();
    let fields = obs.schema().fields();
    let is_asked = |&place: &usize| place > 0 && names.contains(&fields[place].name().as_str());
    let asked: Vec<usize> = (0..fields.len()).filter(is_asked).collect();
    let asked = obs.project(&asked);
    let n_obs = obs.n_rows();
    let limit = options.max_obs.unwrap_or(u64::MAX);
    let read = |start: u64| asked.read(start..n_obs.min(start + FILTER_ROWS as u64));
    let starts = || (0..n_obs).step_by(FILTER_ROWS);
    let mut rows = RowSetBuilder::default();
    let mut has_seen_all = limit > 0;
    for start in starts() {
        if rows.len() == limit {
            has_seen_all = false;
            break;
        }
        for is_taken in bound.mask(&read(start)?) {
            rows.push(is_taken && rows.len() < limit);
        }
    }
    // Of obs that were not looked at any may have the values that the others lack.
    if has_seen_all {
        let again = starts().map(|start| read(start).map_err(ConvertError::from));
        let odd = bound.review(again).map_err(|error| match error {
            ConvertError::Store(nothing)
                if matches!(nothing.cause(), Cause::Select(SelectError::NothingTaken { .. })) =>
            {
                let file = input.to_path_buf();
                ConvertError::NothingTaken { file, nothing }
            }
            other => other,
        })?;
        let messages = odd.iter().map(|odd| {
            let sentence = format!("{}: {odd}", input.display());
            Message::new(MessageKind::Selection, sentence)
        });
        warnings.extend(messages);
    }
    Ok(Some(rows.finish(n_obs)))
}

/// The genes that are kept. The list is read once: it may come from a pipe.
pub(super) struct GeneList {
    path: PathBuf,
    text: String,
}

impl GeneList {
    pub(super) fn read(path: &Path) -> Result<Self, ConvertError> {
        let text = list::read(path, list::MAX_NAMES_BYTES).map_err(|error| ConvertError::GeneList {
            file: path.to_path_buf(),
            error: cellring::format::explain(path, error),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            text,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Keeps the obs and genes of a matrix that the options want.
pub(super) fn part(
    input: &Path,
    options: &ConvertOptions,
    genes: Option<&GeneList>,
    rows: Option<&RowSet>,
    selected: SelectedMatrix,
    warnings: &mut Vec<Message>,
) -> Result<SelectedMatrix, ConvertError> {
    let SelectedMatrix {
        selection,
        matrix,
        var,
    } = selected;
    let genes = match (genes, &selection) {
        (None, _) | (_, Selection::Obsm(_)) => None,
        (Some(list), Selection::Raw) => Some(places_of(list, input, ("raw/var", &var), warnings)?),
        (Some(list), _) => Some(places_of(list, input, ("var", &var), warnings)?),
    };
    let (matrix, max_obs) = match rows {
        // Which are no more than are wanted.
        Some(rows) => (matrix.pick(rows), None),
        None => (matrix, options.max_obs),
    };
    let matrix = match (&genes, max_obs) {
        (None, None) => matrix,
        (_, max_obs) => matrix.select(max_obs.unwrap_or(u64::MAX), genes.as_deref()),
    };
    let var = match &genes {
        None => var,
        Some(genes) => var.with_rows(genes)?,
    };
    Ok(SelectedMatrix {
        selection,
        matrix,
        var,
    })
}

/// Keeps the columns of obs that the options want.
pub(super) fn columns(
    input: &Path,
    options: &ConvertOptions,
    obs: TableSource,
) -> Result<TableSource, ConvertError> {
    match &options.obs_columns {
        None => Ok(obs),
        Some(names) => {
            // Who adds a column wants it.
            let mut names = names.clone();
            names.extend(options.join.label_column.clone());
            with_columns(input, obs, &names)
        }
    }
}

/// The index and these columns.
fn with_columns(input: &Path, obs: TableSource, names: &[String]) -> Result<TableSource, ConvertError> {
    let available = obs.column_names();
    obs.with_columns(names).map_err(|names| ConvertError::NoColumn {
        file: input.to_path_buf(),
        names,
        available,
    })
}

/// The places of the genes that a list names, ascending. A name that several genes have means all of them. Names that none has, and
/// those that the list has twice, become warnings.
fn places_of(
    list: &GeneList,
    input: &Path,
    (table, var): (&'static str, &TableSource),
    warnings: &mut Vec<Message>,
) -> Result<Vec<u32>, ConvertError> {
    let names = || list::lines(&list.text).map(|(_, name)| name);
    let list = list.path.as_path();
    let mut wanted = HashSet::new();
    let twice: Vec<&str> = names().filter(|name| !wanted.insert(*name)).collect();
    if wanted.is_empty() {
        let list = list.to_path_buf();
        return Err(ConvertError::EmptyGeneList { list });
    }
    let batch = var.read(0..var.n_rows())?;
    let held = batch.column(0).as_any().downcast_ref::<StringArray>();
    let held = || held.into_iter().flat_map(|held| held.iter());
    let mut found = HashSet::new();
    let mut places = Vec::new();
    for (place, name) in (0u32..).zip(held()) {
        if let Some(name) = name.and_then(|name| wanted.get(name)) {
            places.push(place);
            found.insert(*name);
        }
    }
    if found.is_empty() {
        return Err(ConvertError::NoGene {
            list: list.to_path_buf(),
            n_named: wanted.len(),
            named: few(names(), SHOWN),
            file: input.to_path_buf(),
            held: few(held().flatten(), SHOWN),
        });
    }
    let n_absent = wanted.len() - found.len();
    if n_absent > 0 {
        let mut seen = HashSet::new();
        let absent = names().filter(|name| !found.contains(name) && seen.insert(*name));
        let sentence = format!(
            "{n_absent} of the {} genes that {} names are not in {table} of {} and are left out: {}",
            wanted.len(),
            list.display(),
            input.display(),
            few(absent, SHOWN)
        );
        warnings.push(Message::new(MessageKind::Genes, sentence));
    }
    if !twice.is_empty() {
        let sentence = format!(
            "{} lines of {} repeat a gene, which is stored once: {}",
            twice.len(),
            list.display(),
            few(twice, SHOWN)
        );
        warnings.push(Message::new(MessageKind::Genes, sentence));
    }
    Ok(places)
}
