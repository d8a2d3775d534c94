//! Which features of an input are kept: those of some types, or of one genome.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::StringArray;
use arrow_array::cast::AsArray;

use crate::error::{ReadError, Result};
use crate::open::{GENOME_OPTION, TYPES_OPTION};
use crate::{OpenOptions, TableSource};

pub(super) const FEATURE_TYPES: &str = "feature_types";
pub(super) const GENE_IDS: &str = "gene_ids";
pub(super) const GENOME: &str = "genome";

/// Kinds of features that a message shows.
const SHOWN: usize = 12;

/// The features that the options take, ascending; `None`: all. `genome` is not that of the options where it was used up already.
pub(super) fn rows(
    file: &Path,
    var: &TableSource,
    options: &OpenOptions,
    genome: Option<&str>,
) -> Result<Option<Vec<u32>>> {
    let refuse = |option, detail| {
        Err(ReadError::Inapplicable {
            file: file.to_owned(),
            option,
            detail,
        })
    };
    let mut kept: Option<Vec<bool>> = None;
    let mut keep = |takes: Vec<bool>| {
        kept = Some(match kept.take() {
            None => takes,
            Some(before) => before.into_iter().zip(takes).map(|(a, b)| a && b).collect(),
        });
    };
    if !options.feature_types.is_empty() {
        let Some(types) = text(var, FEATURE_TYPES)? else {
            return refuse(
                TYPES_OPTION,
                "it does not say what types its features have".to_owned(),
            );
        };
        let counts = counts(&types);
        if let Some(absent) = options
            .feature_types
            .iter()
            .find(|wanted| !counts.contains_key(wanted.as_str()))
        {
            let detail = format!(
                "none of its features is of type {absent}; there are {}",
                listed(&counts)
            );
            return refuse(TYPES_OPTION, detail);
        }
        let is_wanted = |kind: &str| options.feature_types.iter().any(|wanted| wanted == kind);
        keep(types.iter().map(|kind| kind.is_some_and(is_wanted)).collect());
    }
    if let Some(genome) = genome {
        let takes = match (text(var, GENOME)?, text(var, GENE_IDS)?) {
            (Some(genomes), _) => {
                let counts = counts(&genomes);
                if !counts.contains_key(genome) {
                    let detail = format!(
                        "none of its features is of genome {genome}; there are {}",
                        listed(&counts)
                    );
                    return refuse(GENOME_OPTION, detail);
                }
                genomes.iter().map(|of| of == Some(genome)).collect()
            }
            (None, Some(ids)) => {
                // CellRanger begins ids with the genome where it counts several, and fills up with underscores.
                let is_of = |id: &str| id.strip_prefix(genome).is_some_and(|rest| rest.starts_with('_'));
                let takes: Vec<bool> = ids.iter().map(|id| id.is_some_and(is_of)).collect();
                if !takes.contains(&true) {
                    let detail =
                        format!("none of its gene ids begins with {genome}_, as those of several genomes do");
                    return refuse(GENOME_OPTION, detail);
                }
                takes
            }
            (None, None) => {
                return refuse(
                    GENOME_OPTION,
                    "it does not say which genome its features belong to".to_owned(),
                );
            }
        };
        keep(takes);
    }
    let Some(kept) = kept else { return Ok(None) };
    let rows: Vec<u32> = (0..)
        .zip(kept)
        .filter(|(_, kept)| *kept)
        .map(|(row, _)| row)
        .collect();
    match rows.is_empty() {
        true => refuse(
            TYPES_OPTION,
            "no feature has one of these types and this genome".to_owned(),
        ),
        false => Ok(Some(rows)),
    }
}

/// A sentence on the types of features, where there are several: models of expression rarely want all of them.
pub(super) fn several_types(file: &Path, var: &TableSource) -> Result<Option<String>> {
    let Some(types) = text(var, FEATURE_TYPES)? else {
        return Ok(None);
    };
    let counts = counts(&types);
    let Some(first) = types.iter().flatten().next().filter(|_| counts.len() > 1) else {
        return Ok(None);
    };
    Ok(Some(format!(
        "{} has features of several types, all of which are kept: {}; {TYPES_OPTION} \"{first}\" keeps only those",
        file.display(),
        listed(&counts)
    )))
}

fn counts(texts: &StringArray) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for text in texts.iter().flatten() {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

fn listed(counts: &BTreeMap<&str, u64>) -> String {
    let mut names: Vec<String> = counts
        .iter()
        .take(SHOWN)
        .map(|(name, n)| match name.is_empty() {
            true => format!("{n} without one"),
            false => format!("{n} of {name}"),
        })
        .collect();
    if counts.len() > SHOWN {
        names.push("and others".to_owned());
    }
    names.join(", ")
}

/// A column of text, whole.
fn text(var: &TableSource, name: &str) -> Result<Option<StringArray>> {
    let fields = var.schema().fields();
    let Some(field) = (1..fields.len()).find(|&field| fields[field].name() == name) else {
        return Ok(None);
    };
    let batch = var.project(&[field]).read(0..var.n_rows())?;
    Ok(batch.column(0).as_string_opt::<i32>().cloned())
}
