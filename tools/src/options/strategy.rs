//! Options of strategies: what cells are sampled by, such as weights, classes, groups, orders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cellring::Store;
use cellring::plan::{
    Balanced, Controls, Custom, Grouped, MISSING, SamplerData, Strategy, StrategyKind, Subset, Weighted,
};
use cellring::select::{self, Codes};
use clap::value_parser;

use super::lists::read_ids;
use super::notes::{Notes, listed, shown};
use super::subset::{SubsetArgs, filtered};
use crate::failure::Failure;
use crate::message::MessageKind;
use crate::output;

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
        Ok(SamplerData::default()
            .subset(subset.subset(store)?)
            .notes(self.notes(subset)))
    }

    /// The strategy of this kind, which [`kind`](Self::kind) gave, with its data.
    pub(crate) fn strategy(
        &self,
        kind: StrategyKind,
        store: &Store,
        subset: Option<&Subset>,
    ) -> Result<Strategy, Failure> {
        if let Some(column) = &self.weights {
            return Ok(Strategy::Weighted(
                Weighted::new(select::weights(store, column)?)
                    .n_draws(self.draws)
                    .replacement(!self.without_replacement),
            ));
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
            return Ok(Strategy::Balanced(
                Balanced::new(classes.codes)
                    .n_draws(self.draws)
                    .global(self.balance_global),
            ));
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
        let mut grouped = Grouped::new(groups.codes)
            .n_per_group(self.n_per_group)
            .sets_per_minibatch(self.sets_per_minibatch);
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
        let controls = Controls::new(vec![code], n_per_set);
        grouped.controls = Some(match match_codes {
            Some(codes) => controls.match_codes(codes),
            None => controls,
        });
        Ok(grouped)
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

fn codes(store: &Store, columns: &[String]) -> Result<Codes, Failure> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Ok(select::codes(store, &columns)?)
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
