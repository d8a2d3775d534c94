//! Which cells and by what, for one store or several as one: columns and filters become numbers of the collection.

use std::collections::HashMap;

use cellring::plan::MISSING;
use cellring::select::{self, Filter, SelectWarning, SplitSpec};
use cellring::{Collection, Result, Subset};

/// The cells that a filter takes; warnings go to `warnings`, with the name of the `argument`. A value that is in one of several stores is
/// no reason for one.
pub(crate) fn filter(
    collection: &Collection,
    argument: &str,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<Subset> {
    let filter = Filter::parse(text)?;
    let stores = collection.stores();
    let mut ranges = Vec::new();
    let mut said: Vec<SelectWarning> = Vec::new();
    for (number, store) in stores.iter().enumerate() {
        let start = collection.range(number).start;
        let matches = filter.matches(store)?;
        ranges.extend(
            matches
                .subset
                .runs()
                .map(|run| start + run.start..start + run.end),
        );
        said.extend(matches.warnings);
    }
    if ranges.is_empty()
        && let Some(store) = stores.last()
    {
        // Says what there is instead.
        filter.matches(store)?.some()?;
    }
    for (place, warning) in said.iter().enumerate() {
        let is_same = |other: &&SelectWarning| absent(other) == absent(warning);
        let is_first = !said[..place].iter().any(|other| is_same(&other));
        if is_first && said.iter().filter(is_same).count() == stores.len() {
            warnings.push(format!("{argument}: {warning}"));
        }
    }
    Subset::from_ranges(collection.n_obs(), ranges)
}

/// The column and the values that a warning is about.
fn absent(warning: &SelectWarning) -> Option<(&str, &[String])> {
    match warning {
        SelectWarning::AbsentValues { column, values, .. } => Some((column, values)),
        _ => None,
    }
}

/// A class for each cell by these columns, and what the classes are.
pub(crate) fn codes(collection: &Collection, columns: &[String]) -> Result<(Vec<u32>, Vec<Vec<String>>)> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut all = Vec::with_capacity(collection.n_obs() as usize);
    let mut classes: Vec<Vec<String>> = Vec::new();
    let mut known: HashMap<Vec<String>, u32> = HashMap::new();
    for store in collection.stores() {
        let found = select::codes(store, &columns)?;
        let places: Vec<u32> = found
            .classes
            .into_iter()
            .map(|class| {
                *known.entry(class).or_insert_with_key(|class| {
                    classes.push(class.clone());
                    classes.len() as u32 - 1
                })
            })
            .collect();
        all.extend(found.codes.iter().map(|&code| match code {
            MISSING => MISSING,
            code => places[code as usize],
        }));
    }
    Ok((all, classes))
}

/// A weight for each cell, from a column.
pub(crate) fn weights(collection: &Collection, column: &str) -> Result<Vec<f32>> {
    let mut all = Vec::with_capacity(collection.n_obs() as usize);
    for store in collection.stores() {
        all.extend_from_slice(&select::weights(store, column)?);
    }
    Ok(all)
}

/// A part of a split of all cells.
pub(crate) fn part(
    collection: &Collection,
    split: &str,
    part: &str,
    by: Option<&str>,
    seed: u64,
) -> std::result::Result<Subset, Refusal> {
    let spec = SplitSpec::parse(split)?;
    let names: Vec<&str> = spec.names().collect();
    let Some(place) = names.iter().position(|name| *name == part) else {
        return Err(Refusal::Argument(format!(
            "part={part:?} is not a part of split={split:?}, whose parts are {}",
            names.join(", ")
        )));
    };
    let (stores, mut ranges) = (collection.stores(), Vec::new());
    if by.is_some() && stores.len() > 1 {
        // A group that is in several stores would be divided in each.
        return Err(Refusal::Argument(
            "split_by keeps the groups of one store together, and there are several: give subset= the cells of this part".into(),
        ));
    }
    for (number, store) in stores.iter().enumerate() {
        let start = collection.range(number).start;
        let mut parts = spec.divide(store, seed, by)?;
        let (_, subset) = parts.swap_remove(place);
        ranges.extend(subset.runs().map(|run| start + run.start..start + run.end));
    }
    Ok(Subset::from_ranges(collection.n_obs(), ranges)?)
}

/// Why something asked for cannot be: the library says so, or an argument does not fit another.
pub(crate) enum Refusal {
    Library(cellring::Error),
    Argument(String),
}

impl From<cellring::Error> for Refusal {
    fn from(error: cellring::Error) -> Self {
        Self::Library(error)
    }
}
