//! The genes of several inputs as one list.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array};

use super::columns::{self, Found};
use super::error::JoinError;
use super::options::VarJoin;
use super::shared::Lists;
use super::unify::{CastError, Key, keys};
use crate::error::Result;
use crate::forms;
use crate::matrix::Selection;
use crate::open::OpenOptions;
use crate::table::{self, JoinedColumn, TableSource, blame};

/// A column of an input that is not a column of the result.
pub(crate) const NOT_KEPT: u32 = u32::MAX;

/// Names that a message shows.
const SHOWN: usize = 5;

/// Of each input, the place of each of its genes.
type Maps = Vec<Arc<[u32]>>;

/// One list of genes, and where those of each input are in it.
#[derive(Clone, Debug)]
pub(super) struct JoinedVar {
    /// Of each input, the place of each of its genes, or [`NOT_KEPT`]; equal ones are shared. `None` where all inputs have the
    /// same genes in the same order.
    pub(super) maps: Option<Maps>,
    pub(super) n_vars: usize,
    pub(super) table: TableSource,
}

/// Matches the genes of the inputs and joins what their tables say of them.
pub(super) fn join(
    inputs: &[PathBuf],
    open: &OpenOptions,
    selection: &Selection,
    how: VarJoin,
    key: Option<&str>,
) -> Result<JoinedVar> {
    let mut genes = Genes::default();
    let mut found = Vec::with_capacity(inputs.len());
    let mut warnings = Vec::new();
    for path in inputs {
        let var = forms::open(path, open)?.var(selection)?;
        genes.add(path, &var, key)?;
        found.push(Found::new(path, &var)?);
        let of_file = |warning: &String| format!("{}: {warning}", path.display());
        warnings.extend(var.warnings().iter().map(of_file));
    }
    let (maps, n_vars) = genes.match_all((inputs, open), selection, (how, key), &mut warnings)?;
    let joined = columns::join("var", &found, None, &mut warnings)?;
    let path = inputs.first().map_or(Path::new(""), PathBuf::as_path);
    let mut merged = Vec::with_capacity(joined.len());
    for column in joined {
        let field = column.field.clone();
        let column = Merged::new(column, n_vars);
        merged.push(column.map_err(|error| blame(error, path, "var", 0, &field))?);
    }
    for (part, path) in inputs.iter().enumerate() {
        let var = forms::open(path, open)?.var(selection)?;
        let map = maps.as_ref().map(|maps| &*maps[part]);
        if map.map_or(n_vars, <[u32]>::len) as u64 != var.n_rows() {
            let (file, object) = (path.clone(), "var".to_owned());
            return Err(JoinError::Changed { file, object }.into());
        }
        let batch = var.read(0..var.n_rows())?;
        for (number, column) in merged.iter_mut().enumerate() {
            column
                .add(part, batch.columns(), map, number == 0)
                .map_err(|error| blame(error, path, "var", 0, &column.column.field))?;
        }
    }
    let differing: Vec<&str> = merged
        .iter()
        .filter(|column| !column.agrees)
        .map(|column| column.column.field.name().as_str())
        .collect();
    if !differing.is_empty() {
        warnings.push(format!(
            "the inputs do not agree on the values of the var columns {} for the same genes, so these are left out",
            differing.join(", ")
        ));
    }
    let kept = merged.into_iter().filter(|column| column.agrees);
    let kept = kept.map(|column| (column.column.field, column.values)).collect();
    Ok(JoinedVar {
        maps,
        n_vars,
        table: table::held(path, "var", n_vars as u64, kept, warnings),
    })
}

/// The genes of all inputs, by number in the order in which they are met.
#[derive(Default)]
struct Genes {
    numbers: HashMap<String, u32>,
    lists: Vec<Arc<[u32]>>,
}

impl Genes {
    /// Numbers the genes of an input.
    fn add(&mut self, path: &Path, var: &TableSource, key: Option<&str>) -> Result<()> {
        let fields = var.schema().fields();
        let field = match key {
            None => 0,
            Some(key) => {
                let is_key = |&field: &usize| fields[field].name() == key;
                (1..fields.len()).find(is_key).ok_or_else(|| JoinError::NoKey {
                    file: path.to_owned(),
                    column: key.to_owned(),
                    available: var.column_names(),
                })?
            }
        };
        let column = key.unwrap_or("index");
        let batch = var.project(&[field]).read(0..var.n_rows())?;
        let names = keys(batch.column(0)).map_err(|error| blame(error, path, "var", 0, &fields[field]))?;
        let mut list = Vec::with_capacity(names.len());
        for (row, name) in names.into_iter().enumerate() {
            let name = match name {
                Some(Key::Text(name)) => name.to_owned(),
                Some(Key::Int(name)) => name.to_string(),
                None => {
                    let (file, column) = (path.to_owned(), column.to_owned());
                    return Err(JoinError::MissingKey { file, column, row }.into());
                }
                Some(Key::Bool(_) | Key::Float(_)) => {
                    return Err(JoinError::KeyType {
                        file: path.to_owned(),
                        column: column.to_owned(),
                        found: fields[field].data_type().to_string(),
                    }
                    .into());
                }
            };
            let next = self.numbers.len();
            list.push(*self.numbers.entry(name).or_insert(next as u32));
        }
        // Most inputs of many have the same genes.
        let same = self.lists.iter().rev().find(|known| ***known == *list);
        let list = same.map_or_else(|| Arc::from(list.as_slice()), Arc::clone);
        self.lists.push(list);
        Ok(())
    }

    /// The place of each gene of each input, and how many places there are.
    fn match_all(
        self,
        (inputs, open): (&[PathBuf], &OpenOptions),
        selection: &Selection,
        (how, key): (VarJoin, Option<&str>),
        warnings: &mut Vec<String>,
    ) -> Result<(Option<Maps>, usize)> {
        let first = self.lists.first().cloned().unwrap_or_default();
        if self.lists.iter().all(|list| *list == first) {
            return Ok((None, first.len()));
        }
        if let Selection::Obsm(_) = selection {
            let differs = self.lists.iter().position(|list| *list != first);
            let other = differs.unwrap_or_default();
            return Err(JoinError::Dimensions {
                object: selection.path(),
                first: inputs[0].clone(),
                n_first: first.len(),
                other: inputs[other].clone(),
                n_other: self.lists[other].len(),
            }
            .into());
        }
        let lists = Lists {
            inputs,
            open,
            lists: &self.lists,
            numbers: &self.numbers,
            selection,
            key,
        };
        let n_genes = self.numbers.len();
        // In how many inputs each gene is: as often as the inputs before all had it.
        let mut n_having = vec![0; n_genes];
        let mut emptied = 0;
        for (number, list) in self.lists.iter().enumerate() {
            let mut left = 0;
            for &gene in list.iter() {
                let n = &mut n_having[gene as usize];
                if *n == number {
                    *n += 1;
                    left += 1;
                }
            }
            if left == 0 && emptied == 0 {
                emptied = number;
            }
        }
        if how != VarJoin::Same {
            lists.check(warnings)?;
        }
        let in_all = |gene: usize| n_having[gene] == self.lists.len();
        let (is_taken, n_taken): (Vec<bool>, _) = match how {
            VarJoin::Outer => (vec![true; n_genes], n_genes),
            VarJoin::Inner => {
                let taken: Vec<bool> = (0..n_genes).map(in_all).collect();
                let n_taken = taken.iter().filter(|taken| **taken).count();
                (taken, n_taken)
            }
            VarJoin::Same => {
                self.check_same(inputs, &lists)?;
                (vec![true; n_genes], n_genes)
            }
        };
        if n_taken == 0 && n_genes > 0 {
            return Err(JoinError::NothingInCommon {
                n_inputs: inputs.len(),
                file: inputs[emptied].clone(),
            }
            .into());
        }
        if n_taken >= 1 << 31 {
            return Err(JoinError::TooManyVars { n_vars: n_taken }.into());
        }
        // Numbers are in the order of appearance, and so are places.
        let mut place_of = vec![NOT_KEPT; n_genes];
        let taken = (0..n_genes).filter(|&gene| is_taken[gene]);
        (0..).zip(taken).for_each(|(place, gene)| place_of[gene] = place);
        self.check_repeats(inputs, &is_taken)?;
        let mut maps: Vec<Arc<[u32]>> = Vec::with_capacity(self.lists.len());
        for (number, list) in self.lists.iter().enumerate() {
            let known = self.lists[..number]
                .iter()
                .position(|known| Arc::ptr_eq(known, list));
            maps.push(match known {
                Some(known) => Arc::clone(&maps[known]),
                None => list.iter().map(|&gene| place_of[gene as usize]).collect(),
            });
        }
        Ok((Some(maps), n_taken))
    }

    /// All inputs must have the genes of the first.
    fn check_same(&self, inputs: &[PathBuf], lists: &Lists<'_>) -> Result<()> {
        let genes_of = |list: &[u32]| list.iter().copied().collect::<HashSet<u32>>();
        let first = genes_of(&self.lists[0]);
        for (number, (path, list)) in inputs.iter().zip(&self.lists).enumerate().skip(1) {
            let other = genes_of(list);
            // Joining others would not help.
            if first.is_disjoint(&other) && !first.is_empty() && !other.is_empty() {
                return Err(lists.nothing_shared(0, number));
            }
            if first != other {
                return Err(JoinError::DifferentVar {
                    first: inputs[0].clone(),
                    other: path.clone(),
                    only_first: first.difference(&other).count(),
                    only_other: other.difference(&first).count(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// A gene that is taken is in each input once.
    fn check_repeats(&self, inputs: &[PathBuf], is_taken: &[bool]) -> Result<()> {
        let mut last_of = vec![u32::MAX; is_taken.len()];
        for (number, (path, list)) in (0u32..).zip(inputs.iter().zip(&self.lists)) {
            let mut repeated = Vec::new();
            for &gene in list.iter().filter(|&&gene| is_taken[gene as usize]) {
                if std::mem::replace(&mut last_of[gene as usize], number) == number {
                    repeated.push(gene);
                }
            }
            if !repeated.is_empty() {
                let n_repeated = repeated.len();
                repeated.sort_unstable();
                repeated.dedup();
                repeated.truncate(SHOWN);
                let mut names: Vec<&str> = self
                    .numbers
                    .iter()
                    .filter(|(_, number)| repeated.binary_search(number).is_ok())
                    .map(|(name, _)| name.as_str())
                    .collect();
                names.sort_unstable();
                return Err(JoinError::RepeatedVar {
                    file: path.clone(),
                    n_repeated,
                    examples: names.join(", "),
                }
                .into());
            }
        }
        Ok(())
    }
}

/// A column of var while it is put together from the inputs: each gene has the value of the first input that knows one.
struct Merged {
    column: JoinedColumn,
    values: ArrayRef,
    /// Whether the inputs so far agree on it.
    agrees: bool,
}

impl Merged {
    fn new(column: JoinedColumn, n_vars: usize) -> std::result::Result<Self, CastError> {
        let values = column.missing(n_vars)?;
        Ok(Self {
            column,
            values,
            agrees: true,
        })
    }

    /// Adds what input `part` says. Names may differ (if genes are identified by another column), other values not.
    fn add(
        &mut self,
        part: usize,
        columns: &[ArrayRef],
        map: Option<&[u32]>,
        may_differ: bool,
    ) -> std::result::Result<(), CastError> {
        let Some(place) = self.column.places[part].filter(|_| self.agrees) else {
            return Ok(());
        };
        let n_genes = columns[0].len();
        let found = self.column.bring(part, columns.get(place), n_genes)?;
        let n_vars = self.values.len();
        let mut source: Vec<u32> = (0..n_vars as u32).collect();
        {
            let (known, new) = (keys(&self.values)?, keys(&found)?);
            for (gene, value) in new.iter().enumerate() {
                let place = map.map_or(gene as u32, |map| map[gene]);
                if place == NOT_KEPT || value.is_none() {
                    continue;
                }
                match known[place as usize] {
                    None => source[place as usize] = (n_vars + gene) as u32,
                    Some(before) if Some(before) != *value && !may_differ => {
                        self.agrees = false;
                        return Ok(());
                    }
                    Some(_) => {}
                }
            }
        }
        // Both have the same categories, which joining them leaves as they are.
        let both = arrow_select::concat::concat(&[self.values.as_ref(), found.as_ref()])?;
        self.values = arrow_select::take::take(&both, &UInt32Array::from(source), None)?;
        Ok(())
    }
}
