//! Options that say which cells are sampled, and by what: subsets, splits, weights, classes, groups, orders.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::Store;
use cellring::plan::{
    Balanced, Controls, Custom, Grouped, MISSING, SamplerData, Strategy, StrategyKind, Subset, Weighted,
};
use cellring::select::{self, Codes, Filter, Matches, SelectError, SplitSpec};
use cellring_tools::list;
use cellring_tools::message::MessageKind;
use cellring_tools::paths::PathError;
use clap::value_parser;

use super::filter::FILTER_HELP;
use crate::failure::Failure;
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
    fn notes(&self, notes: &mut Notes) {
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
    fn is_given(&self) -> bool {
        self.obs_filter.is_some()
            || !self.obs_range.is_empty()
            || self.obs_file.is_some()
            || self.split.is_some()
    }
}

/// What the strategies sample by.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Strategy options")]
pub(crate) struct StrategyArgs {
    /// Draw cells by the weights in this obs column (strategy weighted)
    #[arg(long, value_name = "COLUMN")]
    weights: Option<String>,
    /// Draw each cell at most once in an epoch
    #[arg(long, requires = "weights")]
    without_replacement: bool,
    /// Draws of an epoch, with --weights or --balance [default: as many as there are cells to draw from]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    draws: Option<u64>,
    /// Draw each class equally often, a class being a combination of values in these obs columns (strategy balanced)
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    balance: Vec<String>,
    /// Balance by the classes' sizes in the whole store rather than in the subset
    #[arg(long, requires = "balance")]
    balance_global: bool,
    /// Make minibatches of whole sets of cells that have equal values in these obs columns (strategy grouped)
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    group: Vec<String>,
    /// Cells in a set [default: the whole group]
    #[arg(long, value_name = "N", requires = "group", value_parser = value_parser!(u32).range(1..))]
    n_per_group: Option<u32>,
    /// Sets in a minibatch [default: as many as fit --batch-size]
    #[arg(long, value_name = "N", requires = "group", value_parser = value_parser!(u32).range(1..))]
    sets_per_minibatch: Option<u32>,
    /// Which cells are controls, as COLUMN=VALUE or as for --obs-filter; some follow each set
    #[arg(long, value_name = "COLUMN=VALUE|EXPR", requires = "group")]
    controls: Option<String>,
    /// For each set, take controls that have its values in these obs columns
    #[arg(
        long = "match",
        value_name = "COLUMN,...",
        value_delimiter = ',',
        requires = "controls"
    )]
    match_by: Vec<String>,
    /// Controls that follow each set [default: --n-per-group]
    #[arg(long, value_name = "N", requires = "controls", value_parser = value_parser!(u32).range(1..))]
    n_controls: Option<u32>,
    /// Take the cells whose numbers are in this file, one per line, in this order (strategy custom)
    #[arg(long, value_name = "FILE")]
    order: Option<PathBuf>,
    /// Shuffle each fetch of --order
    #[arg(long, requires = "order")]
    shuffle_order: bool,
}

impl StrategyArgs {
    /// The strategy that the options ask for, checked against the one that is named.
    pub(crate) fn kind(&self, named: Option<StrategyKind>) -> Result<StrategyKind, Failure> {
        let given = [
            (self.weights.is_some(), StrategyKind::Weighted, "--weights COLUMN"),
            (
                !self.balance.is_empty(),
                StrategyKind::Balanced,
                "--balance COLUMN",
            ),
            (!self.group.is_empty(), StrategyKind::Grouped, "--group COLUMN"),
            (self.order.is_some(), StrategyKind::Custom, "--order FILE"),
        ];
        let mut asked = given.iter().filter(|(is_given, ..)| *is_given);
        let usage = |sentence| Err(Failure::Usage(sentence));
        let kind = match (named, asked.next(), asked.next()) {
            (_, Some((.., one)), Some((.., other))) => {
                return usage(format!(
                    "{one} and {other} are for different strategies; give one of them"
                ));
            }
            (Some(named), Some((_, implied, option)), None) if named != *implied => {
                return usage(format!(
                    "{option} is for the strategy {implied}, not for {named}; leave out one of the two"
                ));
            }
            (_, Some((_, implied, _)), None) => *implied,
            (named, None, _) => named.unwrap_or_default(),
        };
        let needed = given.iter().find(|(is_given, of, _)| *of == kind && !is_given);
        if let Some((.., option)) = needed {
            return usage(format!("the strategy {kind} needs {option}"));
        }
        if self.draws.is_some() && !matches!(kind, StrategyKind::Weighted | StrategyKind::Balanced) {
            return usage("--draws is for --weights or --balance; leave it out".into());
        }
        Ok(kind)
    }

    /// What the sampler samples from.
    pub(crate) fn data(&self, subset: &SubsetArgs, store: &Store) -> Result<SamplerData, Failure> {
        if self.order.is_some() && subset.is_given() {
            return Err(Failure::Usage(
                "--order chooses the cells itself, so it cannot be combined with a subset; leave out one of the two"
                    .into(),
            ));
        }
        Ok(SamplerData {
            subset: subset.subset(store)?,
            notes: self.notes(subset),
            ..SamplerData::default()
        })
    }

    /// The strategy of this kind, which [`kind`](Self::kind) gave, with its data.
    pub(crate) fn strategy(
        &self,
        kind: StrategyKind,
        store: &Store,
        subset: Option<&Subset>,
    ) -> Result<Strategy, Failure> {
        if let Some(column) = &self.weights {
            return Ok(Strategy::Weighted(Weighted {
                weights: select::weights(store, column)?,
                n_draws: self.draws,
                replacement: !self.without_replacement,
            }));
        }
        if !self.balance.is_empty() {
            let classes = codes(store, &self.balance)?;
            warn_of_one_class(&self.balance, &classes, subset);
            warn_of_unlabelled(
                "--balance",
                &self.balance,
                &classes.codes,
                subset,
                "they are never drawn",
            );
            return Ok(Strategy::Balanced(Balanced {
                codes: classes.codes,
                n_draws: self.draws,
                global: self.balance_global,
            }));
        }
        if !self.group.is_empty() {
            return Ok(Strategy::Grouped(self.grouped(store, subset)?));
        }
        if let Some(path) = &self.order {
            let order = Custom::from_ids(read_ids(path)?)?;
            if order.is_empty() {
                return Err(Failure::because(format!(
                    "--order: {} lists no cell, so there is nothing to sample; give the number of a cell on each line",
                    path.display()
                )));
            }
            return Ok(Strategy::Custom(if self.shuffle_order {
                order.shuffled()
            } else {
                order
            }));
        }
        plain(kind)
    }

    fn notes(&self, subset: &SubsetArgs) -> BTreeMap<String, String> {
        let mut notes = Notes::default();
        subset.notes(&mut notes);
        notes.add("--weights", self.weights.clone());
        notes.add("--balance", listed(&self.balance));
        notes.add("--group", listed(&self.group));
        notes.add("--controls", self.controls.clone());
        notes.add("--match", listed(&self.match_by));
        notes.add("--order", shown(self.order.as_deref()));
        notes.0
    }

    fn grouped(&self, store: &Store, subset: Option<&Subset>) -> Result<Grouped, Failure> {
        let groups = codes(store, &self.group)?;
        let has_group = |obs: u64| groups.codes[obs as usize] != MISSING;
        let any = match subset {
            Some(subset) => subset.iter().any(has_group),
            None => (0..store.n_obs()).any(has_group),
        };
        if !any {
            return Err(Failure::because(format!(
                "--group: no cell has a value in {}, so there is nothing to sample; choose other columns or other cells",
                self.group.join(", ")
            )));
        }
        let mut grouped = Grouped {
            codes: groups.codes,
            n_per_group: self.n_per_group,
            sets_per_minibatch: self.sets_per_minibatch,
            controls: None,
        };
        let Some(controls) = &self.controls else {
            warn_of_unlabelled("--group", &self.group, &grouped.codes, subset, LEFT_OUT);
            return Ok(grouped);
        };
        let Some(n_per_set) = self.n_controls.or(self.n_per_group) else {
            return Err(Failure::Usage(
                "--controls needs --n-controls or --n-per-group: how many follow each set".into(),
            ));
        };
        let controls = control_cells(store, controls)?;
        if controls.is_empty() {
            return Err(Failure::because(
                "--controls matches no cell; give a value or a filter that matches some",
            ));
        }
        // Controls form a group of their own, whatever the columns say of them.
        let code = u32::try_from(groups.classes.len()).unwrap_or(u32::MAX - 1);
        let mut codes_of_obs = grouped.codes.to_vec();
        for run in controls.runs() {
            codes_of_obs[run.start as usize..run.end as usize].fill(code);
        }
        grouped.codes = codes_of_obs.into();
        warn_of_unlabelled("--group", &self.group, &grouped.codes, subset, LEFT_OUT);
        let match_codes: Option<Arc<[u32]>> = match self.match_by.as_slice() {
            [] => None,
            columns => {
                let codes = codes(store, columns)?.codes;
                warn_of_unlabelled("--match", columns, &codes, subset, LEFT_OUT);
                Some(codes)
            }
        };
        grouped.controls = Some(Controls {
            groups: vec![code],
            match_codes,
            n_per_set,
        });
        Ok(grouped)
    }
}

/// Options and their values, of those that are given.
#[derive(Default)]
struct Notes(BTreeMap<String, String>);

impl Notes {
    fn add(&mut self, option: &str, value: Option<String>) {
        self.0.extend(value.map(|value| (option.to_owned(), value)));
    }
}

/// The strategy of a kind that takes no data.
pub(crate) fn plain(kind: StrategyKind) -> Result<Strategy, Failure> {
    kind.without_data().ok_or_else(|| {
        let plain = StrategyKind::ALL
            .iter()
            .filter(|kind| kind.without_data().is_some());
        let plain: Vec<&str> = plain.map(|kind| kind.name()).collect();
        Failure::Usage(format!(
            "the strategy {kind} needs options that this command does not have; use one of {}",
            plain.join(", ")
        ))
    })
}

fn listed(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

fn shown(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

fn codes(store: &Store, columns: &[String]) -> Result<Codes, Failure> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Ok(select::codes(store, &columns)?)
}

/// The cells that a filter takes, of which there are some; what is odd about it is said.
fn filtered(store: &Store, option: &str, filter: &str) -> Result<Subset, Failure> {
    let matches = Filter::parse(filter).and_then(|filter| filter.matches(store));
    let (subset, warnings) = matches.and_then(Matches::some).map_err(|error| match error {
        SelectError::NothingTaken { .. } => Failure::because(format!("{option}: {error}")),
        other => selecting(other),
    })?;
    for warning in warnings {
        output::warn(MessageKind::Selection, format!("{option}: {warning}"));
    }
    Ok(subset)
}

/// What becomes of cells without a group.
const LEFT_OUT: &str = "they are in no minibatch";

/// Says how many cells have no value in a column, and what becomes of them.
fn warn_of_unlabelled(option: &str, columns: &[String], codes: &[u32], subset: Option<&Subset>, what: &str) {
    let is_missing = |obs: u64| codes[obs as usize] == MISSING;
    let (n, n_missing) = match subset {
        Some(subset) => (subset.len(), subset.iter().filter(|obs| is_missing(*obs)).count()),
        None => (
            codes.len() as u64,
            codes.iter().filter(|code| **code == MISSING).count(),
        ),
    };
    if n_missing > 0 {
        output::warn(
            MessageKind::Selection,
            format!(
                "{option}: {} of {} cells have no value in {}, so {what}",
                output::count(n_missing as u64),
                output::count(n),
                columns.join(", ")
            ),
        );
    }
}

/// Says that there is nothing to balance.
fn warn_of_one_class(columns: &[String], classes: &Codes, subset: Option<&Subset>) {
    let mut codes: Box<dyn Iterator<Item = u32>> = match subset {
        Some(subset) => Box::new(subset.iter().map(|obs| classes.codes[obs as usize])),
        None => Box::new(classes.codes.iter().copied()),
    };
    let mut codes = codes.by_ref().filter(|code| *code != MISSING);
    if let Some(first) = codes.next()
        && codes.all(|code| code == first)
    {
        let class = classes.classes[first as usize].join(", ");
        output::warn(
            MessageKind::Selection,
            format!(
                "--balance: all cells with a value in {} have {class:?} there, so there is one class only and nothing to balance",
                columns.join(", ")
            ),
        );
    }
}

/// `COLUMN=VALUE`, or a filter.
fn control_cells(store: &Store, controls: &str) -> Result<Subset, Failure> {
    let plain = controls
        .split_once('=')
        .filter(|(column, value)| !value.starts_with('=') && !column.ends_with(['!', '<', '>']));
    let Some((column, value)) = plain else {
        return filtered(store, "--controls", controls);
    };
    let codes = select::codes(store, &[column])?;
    let Some(code) = codes.find(&[value]) else {
        let known: Vec<&String> = codes.classes.iter().flatten().collect();
        let nearest = select::nearest(value, &known).join(", ");
        let more = match known.len() {
            n if n > select::N_NEAREST => format!("; the nearest of its {n} values are {nearest}"),
            _ => format!("; it holds {nearest}"),
        };
        return Err(Failure::because(format!(
            "--controls: no cell has {value:?} in the obs column {column:?}{more}"
        )));
    };
    Ok(Subset::from_fn(store.n_obs(), |obs| {
        codes.codes[obs as usize] == code
    })?)
}

/// What is wrong with the text of an option is wrong usage; what is wrong with a column is not.
fn selecting(error: SelectError) -> Failure {
    match error {
        SelectError::Filter { .. } | SelectError::Split { .. } => usage(&error),
        other => other.into(),
    }
}

fn usage(error: &dyn std::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Numbers of cells, one in a line; empty lines and those that begin with # count for nothing.
fn read_ids(path: &Path) -> Result<Vec<u64>, Failure> {
    let text = list::read(path, list::MAX_NUMBERS_BYTES).map_err(PathError::io(path))?;
    let ids = list::lines(&text).map(|(number, line)| {
        line.parse().map_err(|_| {
            Failure::because(format!(
                "{}: line {number} is {line:?}, expected the number of a cell, from 0",
                path.display()
            ))
        })
    });
    ids.collect()
}

/// The lines of a file of names.
pub(crate) fn read_names(path: &Path) -> Result<Vec<String>, Failure> {
    let text = list::read(path, list::MAX_NAMES_BYTES).map_err(PathError::io(path))?;
    Ok(list::lines(&text).map(|(_, line)| line.to_owned()).collect())
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
