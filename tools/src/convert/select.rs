//! Which obs, genes and columns are converted.

use std::collections::HashSet;
use std::path::Path;

use arrow_array::StringArray;

use super::inputs::Element;
use super::{ConvertError, ConvertOptions};
use crate::anndata::{Selection, TableSource};

/// Names of absent genes that a message shows.
const SHOWN: usize = 5;

/// Keeps the obs and genes of a matrix that the options want.
pub(super) fn part(
    input: &Path,
    options: &ConvertOptions,
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
    let matrix = match (&genes, options.max_obs) {
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
    let Some(names) = &options.obs_columns else {
        return Ok(obs);
    };
    let available = names_of(&obs);
    obs.with_columns(names).map_err(|names| ConvertError::NoColumn {
        file: input.to_path_buf(),
        names,
        available,
    })
}

/// The columns of a table, for a message.
pub(super) fn names_of(table: &TableSource) -> String {
    let fields = table.schema().fields().iter().skip(1);
    let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
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
