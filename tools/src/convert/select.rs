//! Which obs, genes and columns are converted.

use std::collections::HashSet;
use std::path::Path;

use arrow_array::StringArray;
use cellring::select::Filter;

use super::inputs::Element;
use super::{ConvertError, ConvertOptions, ObsOrder};
use crate::anndata::{RowSet, RowSetBuilder, Selection, TableSource};

/// Names of absent genes that a message shows.
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

/// The obs that the filter of the options takes; `None` without one.
pub(super) fn rows(
    input: &Path,
    options: &ConvertOptions,
    obs: &TableSource,
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
    let mut rows = RowSetBuilder::default();
    for start in (0..n_obs).step_by(FILTER_ROWS) {
        if rows.len() == limit {
            break;
        }
        let batch = asked.read(start..n_obs.min(start + FILTER_ROWS as u64))?;
        for is_taken in bound.mask(&batch) {
            rows.push(is_taken && rows.len() < limit);
        }
    }
    if rows.is_empty() && limit > 0 {
        return Err(ConvertError::NothingTaken {
            file: input.to_path_buf(),
            filter: text.clone(),
            n_obs,
        });
    }
    Ok(Some(rows.finish(n_obs)))
}

/// Keeps the obs and genes of a matrix that the options want.
pub(super) fn part(
    input: &Path,
    options: &ConvertOptions,
    rows: Option<&RowSet>,
    element: Element,
) -> Result<Element, ConvertError> {
    let Element {
        selection,
        matrix,
        var,
    } = element;
    let genes = match (&options.genes, &selection) {
        (None, _) | (_, Selection::Obsm(_)) => None,
        (Some(list), _) => Some(places_of(list, input, &var)?),
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
    Ok(Element {
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

/// The places of the genes that a list names, ascending. A name that several genes have means all of them.
fn places_of(list: &Path, input: &Path, var: &TableSource) -> Result<Vec<u32>, ConvertError> {
    let text = std::fs::read_to_string(list).map_err(|error| ConvertError::GeneList {
        file: list.to_path_buf(),
        error,
    })?;
    let lines = text.lines().map(str::trim);
    let wanted: HashSet<&str> = lines.filter(|name| !name.is_empty()).collect();
    let batch = var.read(0..var.n_rows())?;
    let mut found = HashSet::new();
    let mut places = Vec::new();
    if let Some(names) = batch.column(0).as_any().downcast_ref::<StringArray>() {
        for (place, name) in names.iter().enumerate() {
            if let Some(name) = name.and_then(|name| wanted.get(name)) {
                places.push(place as u32);
                found.insert(*name);
            }
        }
    }
    if found.len() == wanted.len() {
        return Ok(places);
    }
    let mut absent: Vec<&str> = wanted.difference(&found).copied().collect();
    absent.sort_unstable();
    Err(ConvertError::NoGene {
        list: list.to_path_buf(),
        file: input.to_path_buf(),
        n_absent: absent.len(),
        examples: absent[..absent.len().min(SHOWN)].join(", "),
    })
}
