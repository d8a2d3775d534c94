//! Which cells an epoch draws, and by what.

use cellring::plan::{Balanced, Controls, Custom, Grouped, MISSING, Strategy, StrategyKind, Weighted};
use cellring::{Collection, Subset};
use pyo3::prelude::*;

use crate::arguments::Arguments;
use crate::arrays::values_of;
use crate::error::{detached, refused, to_python};
use crate::select::{self, Refusal};

/// The arguments of `cellring.Loader` that choose a strategy, or are for one.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct StrategyArguments<'py> {
    strategy: Option<String>,
    weights: Option<Bound<'py, PyAny>>,
    replacement: bool,
    draws: Option<u64>,
    balance: Option<Bound<'py, PyAny>>,
    balance_global: bool,
    group: Option<Bound<'py, PyAny>>,
    n_per_group: Option<u32>,
    sets_per_minibatch: Option<u32>,
    controls: Option<Bound<'py, PyAny>>,
    match_by: Option<Vec<String>>,
    n_controls: Option<u32>,
    order: Option<Bound<'py, PyAny>>,
    shuffle_order: bool,
}

fn refusal(py: Python<'_>, refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::Library(error) => to_python(py, &error),
        Refusal::Argument(sentence) => refused(py, &sentence),
    }
}

/// The cells to sample from; None for all.
pub(crate) fn subset(
    py: Python<'_>,
    collection: &Collection,
    arguments: &Arguments<'_>,
    warnings: &mut Vec<String>,
) -> PyResult<Option<Subset>> {
    let mut subsets = Vec::new();
    if let Some(ids) = &arguments.subset {
        let ids = values_of::<i64>(ids)?;
        subsets.push(detached(py, || {
            Subset::from_ids(collection.n_obs(), ids.iter().map(|&id| id as u64))
        })?);
    }
    if let Some(filter) = &arguments.obs_filter {
        subsets.push(detached(py, || {
            select::filter(collection, "obs_filter", filter, warnings)
        })?);
    }
    if let (Some(split), Some(part)) = (&arguments.split, &arguments.part) {
        let (by, seed) = (arguments.split_by.as_deref(), arguments.split_seed);
        let found = py.detach(|| select::part(collection, split, part, by, seed));
        subsets.push(found.map_err(|error| refusal(py, error))?);
    }
    let mut subsets = subsets.into_iter();
    let Some(first) = subsets.next() else {
        return Ok(None);
    };
    let all = subsets.try_fold(first, |all, subset| all.intersect(&subset));
    let all = all.map_err(|error| to_python(py, &error))?;
    if all.is_empty() {
        return Err(refused(
            py,
            &format!(
                "subset, obs_filter and split together select none of the {} cells; select more",
                collection.n_obs()
            ),
        ));
    }
    Ok(Some(all))
}

/// Class codes: an array of the Python half, or columns to combine.
fn codes(
    py: Python<'_>,
    collection: &Collection,
    name: &str,
    given: &Bound<'_, PyAny>,
) -> PyResult<(Vec<u32>, usize)> {
    if let Ok(columns) = given.extract::<Vec<String>>() {
        let (codes, classes) = detached(py, || select::codes(collection, &columns))?;
        return Ok((codes, classes.len()));
    }
    let given = values_of::<i64>(given)?;
    if given.len() as u64 != collection.n_obs() {
        return Err(length(py, name, given.len(), collection));
    }
    let codes: Vec<u32> = given
        .into_iter()
        .map(|code| u32::try_from(code).unwrap_or(MISSING))
        .collect();
    let n_classes = codes.iter().filter(|code| **code != MISSING).max();
    let n_classes = n_classes.map_or(0, |code| *code as usize + 1);
    Ok((codes, n_classes))
}

fn length(py: Python<'_>, name: &str, found: usize, collection: &Collection) -> PyErr {
    let expected = collection.n_obs();
    refused(
        py,
        &format!("{name} has {found} values: expected one for each of the {expected} cells"),
    )
}

fn warn_of_missing(
    codes: &[u32],
    subset: Option<&Subset>,
    name: &str,
    what: &str,
    warnings: &mut Vec<String>,
) {
    let is_missing = |obs: u64| codes[obs as usize] == MISSING;
    let n = match subset {
        Some(subset) => subset.iter().filter(|&obs| is_missing(obs)).count(),
        None => codes.iter().filter(|code| **code == MISSING).count(),
    };
    if n > 0 {
        warnings.push(format!("{name}: {n} cells have no value there, so {what}"));
    }
}

pub(crate) fn strategy(
    py: Python<'_>,
    collection: &Collection,
    arguments: &StrategyArguments<'_>,
    subset: Option<&Subset>,
    warnings: &mut Vec<String>,
) -> PyResult<Strategy> {
    if let Some(weights) = &arguments.weights {
        let weights = match weights.extract::<String>() {
            Ok(column) => detached(py, || select::weights(collection, &column))?,
            Err(_) => values_of::<f32>(weights)?,
        };
        if weights.len() as u64 != collection.n_obs() {
            return Err(length(py, "weights", weights.len(), collection));
        }
        return Ok(Weighted::new(weights)
            .n_draws(arguments.draws)
            .replacement(arguments.replacement)
            .into());
    }
    if let Some(balance) = &arguments.balance {
        let (codes, _) = codes(py, collection, "balance", balance)?;
        warn_of_missing(&codes, subset, "balance", "they are never drawn", warnings);
        return Ok(Balanced::new(codes)
            .n_draws(arguments.draws)
            .global(arguments.balance_global)
            .into());
    }
    if let Some(group) = &arguments.group {
        return grouped(py, collection, arguments, group, subset, warnings);
    }
    if let Some(order) = &arguments.order {
        let ids = values_of::<i64>(order)?;
        let order = detached(py, || Custom::from_ids(ids.iter().map(|&id| id as u64)))?;
        return Ok(match arguments.shuffle_order {
            true => order.shuffled().into(),
            false => order.into(),
        });
    }
    let kind: StrategyKind = match &arguments.strategy {
        None => StrategyKind::default(),
        Some(name) => name
            .replace('_', "-")
            .parse::<StrategyKind>()
            .map_err(|error| refused(py, &error.to_string()))?,
    };
    // The Python half has checked that others come with their argument.
    kind.without_data()
        .ok_or_else(|| refused(py, &format!("strategy=\"{kind}\" needs an argument of its own")))
}

fn grouped(
    py: Python<'_>,
    collection: &Collection,
    arguments: &StrategyArguments<'_>,
    group: &Bound<'_, PyAny>,
    subset: Option<&Subset>,
    warnings: &mut Vec<String>,
) -> PyResult<Strategy> {
    const LEFT_OUT: &str = "they are in no minibatch";
    let (mut of_obs, n_classes) = codes(py, collection, "group", group)?;
    let Some(controls) = &arguments.controls else {
        warn_of_missing(&of_obs, subset, "group", LEFT_OUT, warnings);
        return Ok(Grouped::new(of_obs)
            .n_per_group(arguments.n_per_group)
            .sets_per_minibatch(arguments.sets_per_minibatch)
            .into());
    };
    let Some(n_per_set) = arguments.n_controls.or(arguments.n_per_group) else {
        return Err(refused(
            py,
            "controls= needs n_controls= or n_per_group=: how many follow each set",
        ));
    };
    let controls = match controls.extract::<String>() {
        Ok(filter) => detached(py, || select::filter(collection, "controls", &filter, warnings))?,
        Err(_) => {
            let ids = values_of::<i64>(controls)?;
            detached(py, || {
                Subset::from_ids(collection.n_obs(), ids.iter().map(|&id| id as u64))
            })?
        }
    };
    if controls.is_empty() {
        return Err(refused(
            py,
            "controls= takes no cell; give a filter or numbers of cells that do",
        ));
    }
    // Controls form a group of their own, whatever the columns say of them.
    let code = n_classes as u32;
    for run in controls.runs() {
        of_obs[run.start as usize..run.end as usize].fill(code);
    }
    warn_of_missing(&of_obs, subset, "group", LEFT_OUT, warnings);
    let mut controls = Controls::new(vec![code], n_per_set);
    if let Some(columns) = &arguments.match_by {
        let (codes, _) = detached(py, || select::codes(collection, columns))?;
        warn_of_missing(&codes, subset, "match", LEFT_OUT, warnings);
        controls = controls.match_codes(codes);
    }
    Ok(Grouped::new(of_obs)
        .n_per_group(arguments.n_per_group)
        .sets_per_minibatch(arguments.sets_per_minibatch)
        .controls(controls)
        .into())
}
