//! Options of subsets and splits: which cells are sampled.

use std::ops::Range;
use std::path::PathBuf;

use cellring::__internal::Cause;
use cellring::Store;
use cellring::plan::Subset;
use cellring::select::{Filter, Matches, SelectError, SplitSpec};

use super::filter::FILTER_HELP;
use super::lists::read_ids;
use super::notes::{Notes, listed, shown};
use crate::failure::Failure;
use crate::message::MessageKind;
use crate::output;

/// Which cells an epoch is made of.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Subset options (all that are given are met)")]
pub(crate) struct SubsetArgs {
    /// Only cells for which this is true, such as 'cell_type == "B cell" and (n_genes >= 200 or not is_doublet)'; --help explains it
    #[arg(long, value_name = "EXPR", long_help = FILTER_HELP)]
    obs_filter: Option<String>,
    /// Only cells in these ranges of cell numbers, from 0, the end not included
    #[arg(long, value_name = "A..B,...", value_delimiter = ',', value_parser = parse_range)]
    obs_range: Vec<Range<u64>>,
    /// Only the cells whose numbers, from 0, are in this file, one per line
    #[arg(long, value_name = "FILE")]
    obs_file: Option<PathBuf>,
    /// Divide all cells of the store at random, such as train=0.8,val=0.1,test=0.1, and take the part named by --part
    #[arg(long, value_name = "NAME=FRACTION,...", requires = "part")]
    split: Option<String>,
    /// The part of the split to take
    #[arg(long, value_name = "NAME", requires = "split")]
    part: Option<String>,
    /// Keep cells with the same value in this obs column in one part
    #[arg(long, value_name = "COLUMN", requires = "split")]
    split_by: Option<String>,
    /// Seed of the split, independent of --seed
    #[arg(long, value_name = "N", default_value_t = 0, requires = "split")]
    split_seed: u64,
}

impl SubsetArgs {
    /// The subset, and `None` for all.
    pub(crate) fn subset(&self, store: &Store) -> Result<Option<Subset>, Failure> {
        let n_obs = store.n_obs();
        let (mut subset, mut asked) = (Subset::all(n_obs)?, Vec::new());
        if !self.obs_range.is_empty() {
            asked.push("--obs-range");
            let ranges = Subset::from_ranges(n_obs, self.obs_range.iter().cloned());
            subset = subset.intersect(&ranges.map_err(|error| usage(&error))?)?;
        }
        if let Some(path) = &self.obs_file {
            asked.push("--obs-file");
            let ids = read_ids(path)?;
            let listed = Subset::from_ids(n_obs, ids)
                .map_err(|error| Failure::because(format!("{}: {error}", path.display())))?;
            subset = subset.intersect(&listed)?;
        }
        if let Some(filter) = &self.obs_filter {
            asked.push("--obs-filter");
            subset = subset.intersect(&filtered(store, "--obs-filter", filter)?)?;
        }
        if let (Some(spec), Some(part)) = (&self.split, &self.part) {
            asked.push("--split");
            let spec = SplitSpec::parse(spec).map_err(selecting)?;
            let names = spec.names().collect::<Vec<_>>().join(", ");
            let place = spec.names().position(|name| name == part).ok_or_else(|| {
                Failure::Usage(format!(
                    "--part {part} is not a part of --split, whose parts are {names}"
                ))
            })?;
            let mut parts = spec
                .divide(store, self.split_seed, self.split_by.as_deref())
                .map_err(selecting)?;
            subset = subset.intersect(&parts.swap_remove(place).1)?;
        }
        if !asked.is_empty() && subset.is_empty() {
            let takes = if asked.len() == 1 {
                "selects"
            } else {
                "together select"
            };
            let asked = asked.join(" and ");
            return Err(Failure::because(format!(
                "{asked} {takes} none of the {n_obs} cells, so there is nothing to sample; select more"
            )));
        }
        Ok((!asked.is_empty()).then_some(subset))
    }

    /// What was asked for, by option, for the message of a saved state that does not fit.
    pub(super) fn notes(&self, notes: &mut Notes) {
        let ranges = self.obs_range.iter().map(|range| format!("{range:?}"));
        notes.add("--obs-filter", self.obs_filter.clone());
        notes.add("--obs-range", listed(&ranges.collect::<Vec<_>>()));
        notes.add("--obs-file", shown(self.obs_file.as_deref()));
        notes.add("--split", self.split.clone());
        notes.add("--part", self.part.clone());
        notes.add("--split-by", self.split_by.clone());
        let seed = self.split.as_ref().map(|_| self.split_seed.to_string());
        notes.add("--split-seed", seed);
    }

    /// Whether any of these options is given.
    pub(super) fn is_given(&self) -> bool {
        self.obs_filter.is_some()
            || !self.obs_range.is_empty()
            || self.obs_file.is_some()
            || self.split.is_some()
    }
}

/// The cells that a filter takes, of which there are some; what is odd about it is said.
pub(super) fn filtered(store: &Store, option: &str, filter: &str) -> Result<Subset, Failure> {
    let matches = Filter::parse(filter).and_then(|filter| filter.matches(store));
    let (subset, warnings) = matches.and_then(Matches::some).map_err(|error| match error {
        nothing if matches!(nothing.cause(), Cause::Select(SelectError::NothingTaken { .. })) => {
            Failure::because(format!("{option}: {nothing}"))
        }
        other => selecting(other),
    })?;
    for warning in warnings {
        output::warn(MessageKind::Selection, format!("{option}: {warning}"));
    }
    Ok(subset)
}

/// What is wrong with the text of an option is wrong usage; what is wrong with a column is not.
fn selecting(error: cellring::Error) -> Failure {
    match error.cause() {
        Cause::Select(
            SelectError::Filter { .. } | SelectError::FilterColumn { .. } | SelectError::Split { .. },
        ) => usage(&error),
        _ => error.into(),
    }
}

fn usage(error: &dyn std::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(start, end)| Some(start.trim().parse().ok()?..end.trim().parse().ok()?))
        .filter(|range: &Range<u64>| range.start < range.end);
    range.ok_or_else(|| format!("{text:?} is not a range of cells; write it as 0..500"))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_have_cells() {
        assert_eq!(parse_range("3..7"), Ok(3..7));
        for text in ["", "..", "3", "3..", "7..3", "3..3", "-1..3", "a..b"] {
            assert!(
                parse_range(text).unwrap_err().contains("is not a range"),
                "{text}"
            );
        }
    }
}
