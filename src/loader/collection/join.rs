//! Stores with different genes, mapped to one list.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::CollectionError;
use super::error::listed;
use crate::Result;
use crate::Store;
use crate::format::table::Column;
use crate::minibatch::{GeneSelection, texts};

/// As many names as a message gives.
const EXAMPLES: usize = 3;

/// Less than one gene in so many is few.
const FEW: usize = 10;

/// Which genes a [`Collection`](super::Collection) has, where its stores have different ones.
///
/// Where all stores have the same names in the same order, nothing is joined, whatever the choice, but for
/// [`Join::Names`]. Otherwise genes are identified by their names, which must be unique in each store as far as they are
/// taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Join {
    /// All stores must have the same genes, in any order: that of the first store is taken.
    #[default]
    Same,
    /// The genes that all stores have, in the order of the first.
    Inner,
    /// The genes that any store has: those of the first in its order, then those that the second adds, and so on. A
    /// gene that a store lacks is zero in its rows.
    Outer,
    /// These genes, in this order. A gene that a store lacks is zero in its rows.
    Names(Vec<String>),
}

/// One list of genes for all stores.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) n_vars: usize,
    /// `None` for the columns of the first store, as they are.
    pub(super) names: Option<Vec<String>>,
    /// From the columns of a store to those of the list; `None` where they are the same.
    pub(super) maps: Vec<Option<GeneSelection>>,
    /// Which of the maps is that of each store.
    pub(super) map_of: Vec<usize>,
}

/// Names of genes, and the first store that has them in this order.
struct Names<'a> {
    store: &'a Store,
    names: Vec<&'a str>,
}

/// The column of the var table that tells genes.
pub(super) fn var_column(store: &Store, column: Option<&str>) -> Result<Column> {
    Ok(match column {
        None => store.var().names()?,
        Some(column) => store.var().column(column)?,
    })
}

/// The names in it.
pub(super) fn names_in<'a>(store: &Store, column: &'a Column) -> Result<Vec<&'a str>> {
    let name = |(column, text): (usize, Option<&'a str>)| {
        let store = || store.path().to_path_buf();
        text.ok_or_else(|| {
            let store = store();
            CollectionError::NoName { store, column }.into()
        })
    };
    texts(column)?.enumerate().map(name).collect()
}

pub(super) fn join(stores: &[Arc<Store>], join: &Join, column: Option<&str>) -> Result<Joined> {
    let is_list = matches!(join, Join::Names(_));
    let one = |map_of| Joined {
        n_vars: stores[0].n_vars() as usize,
        names: None,
        maps: vec![None],
        map_of,
    };
    if stores.len() == 1 && !is_list {
        return Ok(one(vec![0]));
    }
    let columns = stores.iter().map(|store| var_column(store, column));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    // Most stores of many have the same genes: what differs is kept.
    let mut lists: Vec<Names<'_>> = Vec::new();
    let mut map_of = Vec::with_capacity(stores.len());
    for (store, column) in stores.iter().zip(&columns) {
        let names = names_in(store, column)?;
        let known = lists.iter().position(|list| list.names == names);
        map_of.push(known.unwrap_or(lists.len()));
        if known.is_none() {
            lists.push(Names { store, names });
        }
    }
    if lists.len() == 1 && !is_list {
        return Ok(one(map_of));
    }
    if matches!(join, Join::Inner | Join::Outer) {
        check_shared(&lists, stores.len())?;
    }
    let genes = genes_of(join, &lists);
    if genes.is_empty() && *join == Join::Inner && lists.len() > 1 {
        let remedy = "join them by the genes that any has, or leave out a store";
        return Err(nothing_in_common(stores.len(), &lists[0], &lists[1], remedy).into());
    }
    if i32::try_from(genes.len()).is_err() {
        return Err(CollectionError::TooManyGenes(genes.len()).into());
    }
    let mut maps = Vec::with_capacity(lists.len());
    let mut finds_any = false;
    for list in &lists {
        let (map, report) = GeneSelection::find(&list.names, &genes)?;
        if !report.ambiguous.is_empty() {
            return Err(CollectionError::RepeatedNames {
                store: list.store.path().to_path_buf(),
                n: report.ambiguous.len(),
                names: examples(report.ambiguous.iter()),
            }
            .into());
        }
        if *join == Join::Same && (!report.missing.is_empty() || list.names.len() != genes.len()) {
            return Err(other_genes(&lists[0], list, &report.missing).into());
        }
        finds_any |= report.missing.len() < genes.len();
        maps.push((!map.is_identity()).then_some(map));
    }
    if is_list && !finds_any {
        // The error of a list of which no store has any.
        GeneSelection::among(&lists[0].names, &genes)?;
    }
    Ok(Joined {
        n_vars: genes.len(),
        names: Some(genes.into_iter().map(str::to_string).collect()),
        maps,
        map_of,
    })
}

/// Refuses a store without any gene that another one has, and tells where there are few: genes are named in another way then,
/// and all but its own are zero.
fn check_shared(lists: &[Names<'_>], n_stores: usize) -> Result<()> {
    let distinct: Vec<HashSet<&str>> = lists
        .iter()
        .map(|list| list.names.iter().copied().collect())
        .collect();
    let mut n_having: HashMap<&str, u32> = HashMap::new();
    for name in distinct.iter().flatten().copied() {
        *n_having.entry(name).or_default() += 1;
    }
    for (place, names) in distinct.iter().enumerate() {
        let others = || (0..lists.len()).filter(|&other| other != place);
        let Some(other) = others().max_by_key(|&other| distinct[other].len()) else {
            continue;
        };
        let smaller = names.len().min(distinct[other].len());
        let n_shared = names.iter().filter(|name| n_having.get(*name) > Some(&1)).count();
        if n_shared == 0 && smaller > 0 {
            let remedy = "join them by a var column that names genes the same way";
            return Err(nothing_in_common(n_stores, &lists[place], &lists[other], remedy).into());
        }
        if n_shared * FEW < smaller {
            tracing::warn!(
                "{}: of its {} genes {n_shared} are in another store too ({} has{}); all others are zero or left out in the \
                 obs of one or the other",
                lists[place].store.path().display(),
                names.len(),
                lists[other].store.path().display(),
                listed(&examples(lists[other].names.iter())),
            );
        }
    }
    Ok(())
}

fn nothing_in_common(
    n_stores: usize,
    store: &Names<'_>,
    other: &Names<'_>,
    remedy: &'static str,
) -> CollectionError {
    CollectionError::NothingInCommon {
        n_stores,
        store: store.store.path().to_path_buf(),
        names: examples(store.names.iter()),
        other: other.store.path().to_path_buf(),
        others: examples(other.names.iter()),
        remedy,
    }
}

/// The genes of the output.
fn genes_of<'a>(join: &'a Join, lists: &[Names<'a>]) -> Vec<&'a str> {
    let first = || lists[0].names.iter().copied();
    let mut seen = HashSet::new();
    match join {
        Join::Names(names) => names.iter().map(String::as_str).collect(),
        Join::Same => first().filter(|&name| seen.insert(name)).collect(),
        Join::Outer => {
            let all = lists.iter().flat_map(|list| list.names.iter().copied());
            all.filter(|&name| seen.insert(name)).collect()
        }
        Join::Inner => {
            let mut genes: Vec<&str> = first().filter(|&name| seen.insert(name)).collect();
            for list in &lists[1..] {
                let there: HashSet<&str> = list.names.iter().copied().collect();
                genes.retain(|name| there.contains(name));
            }
            genes
        }
    }
}

fn other_genes(first: &Names<'_>, list: &Names<'_>, missing: &[String]) -> CollectionError {
    let known: HashSet<&str> = first.names.iter().copied().collect();
    let extra: Vec<&str> = list
        .names
        .iter()
        .copied()
        .filter(|name| !known.contains(name))
        .collect();
    CollectionError::OtherGenes {
        store: list.store.path().to_path_buf(),
        first: first.store.path().to_path_buf(),
        n_missing: missing.len(),
        missing: examples(missing.iter()),
        n_extra: extra.len(),
        extra: examples(extra.iter()),
    }
}

fn examples<S: ToString>(names: impl Iterator<Item = S>) -> Vec<String> {
    names.take(EXAMPLES).map(|name| name.to_string()).collect()
}
