//! Whether inputs name genes alike: those that share nothing are refused, with what would make them share something.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring_core::few;

use super::JoinError;
use super::unify::{Key, keys};
use crate::error::Result;
use crate::forms;
use crate::matrix::Selection;
use crate::open::OpenOptions;
use crate::table::TableSource;

/// Less than one gene in so many is few.
const FEW: usize = 10;

/// Names that a message shows.
const SHOWN: usize = 3;

/// The genes of all inputs, by number, and what they are called.
pub(super) struct Lists<'a> {
    pub(super) inputs: &'a [PathBuf],
    pub(super) open: &'a OpenOptions,
    pub(super) lists: &'a [Arc<[u32]>],
    pub(super) numbers: &'a HashMap<String, u32>,
    pub(super) selection: &'a Selection,
    pub(super) key: Option<&'a str>,
}

impl Lists<'_> {
    /// Refuses an input that has no gene of another one; of one that has few it warns.
    ///
    /// # Errors
    /// [`JoinError::NothingShared`]
    pub(super) fn check(&self, warnings: &mut Vec<String>) -> Result<()> {
        let n_genes = self.numbers.len();
        let (mut n_having, mut last) = (vec![0u32; n_genes], vec![u32::MAX; n_genes]);
        for (number, list) in (0u32..).zip(self.lists) {
            for &gene in list.iter() {
                if std::mem::replace(&mut last[gene as usize], number) != number {
                    n_having[gene as usize] += 1;
                }
            }
        }
        let mut warned: Vec<&Arc<[u32]>> = Vec::new();
        for (number, list) in self.lists.iter().enumerate() {
            let others = (0..self.lists.len()).filter(|&other| other != number);
            let Some(other) = others.max_by_key(|&other| self.lists[other].len()) else {
                continue;
            };
            let smaller = list.len().min(self.lists[other].len());
            let n_shared = list.iter().filter(|&&gene| n_having[gene as usize] > 1).count();
            if n_shared == 0 && smaller > 0 {
                return Err(self.nothing_shared(number, other));
            }
            // Of equal lists one is enough, and of two inputs the first tells of both.
            let is_known = warned.iter().any(|known| Arc::ptr_eq(known, list));
            if n_shared * FEW < smaller && !is_known && (self.lists.len() > 2 || number == 0) {
                warned.push(list);
                warnings.push(format!(
                    "of the {} genes of {} only {n_shared} are in another input ({} has {}, such as {}); {}",
                    list.len(),
                    self.inputs[number].display(),
                    self.inputs[other].display(),
                    self.lists[other].len(),
                    self.names(other),
                    self.advice(number, other)
                ));
            }
        }
        Ok(())
    }

    /// The error of two inputs that have no gene in common.
    pub(super) fn nothing_shared(&self, number: usize, other: usize) -> crate::ReadError {
        JoinError::NothingShared {
            file: self.inputs[number].clone(),
            names: self.names(number),
            other: self.inputs[other].clone(),
            others: self.names(other),
            advice: self.advice(number, other),
        }
        .into()
    }

    /// The first names of an input's genes.
    fn names(&self, number: usize) -> String {
        let list = &self.lists[number];
        // One more than is shown: then it is known that there are others.
        let first = &list[..list.len().min(SHOWN + 1)];
        let mut names = vec![""; first.len()];
        for (name, gene) in self.numbers {
            for (place, wanted) in first.iter().enumerate() {
                if gene == wanted {
                    names[place] = name;
                }
            }
        }
        few(names, SHOWN)
    }

    /// What would make two inputs share genes, found in their var tables.
    fn advice(&self, number: usize, other: usize) -> String {
        let open = |number: usize| Names::read(&self.inputs[number], self.open, self.selection);
        // Who cannot read them has no better advice.
        let found = open(number).and_then(|first| Ok((first, open(other)?)));
        let better = found.ok().and_then(|(first, second)| {
            by_column(&first, &second, self.key)
                .or_else(|| by_names(&first, &self.inputs[number], &second, &self.inputs[other]))
                .or_else(|| by_names(&second, &self.inputs[other], &first, &self.inputs[number]))
                .or_else(|| without_versions(&first, &second))
        });
        better.unwrap_or_else(|| {
            "give `var_key`, a column of var that names genes the same way in all inputs, or name them the same way".to_owned()
        })
    }
}

/// The columns of a var table that tell genes apart, the names first.
struct Names {
    columns: Vec<(String, HashSet<String>)>,
}

impl Names {
    fn read(path: &Path, open: &OpenOptions, selection: &Selection) -> Result<Self> {
        let var: TableSource = forms::open(path, open)?.var(selection)?;
        let batch = var.read(0..var.n_rows())?;
        let mut columns = Vec::new();
        for (field, array) in var.schema().fields().iter().zip(batch.columns()) {
            let Ok(keys) = keys(array) else { continue };
            let names: Option<HashSet<String>> = keys
                .into_iter()
                .map(|key| match key {
                    Some(Key::Text(text)) => Some(text.to_owned()),
                    // Numbers are ranks or counts, which say nothing where they are equal.
                    _ => None,
                })
                .collect();
            // The names of genes may repeat, a column that is to tell them may not.
            let is_index = columns.is_empty();
            let names = match names {
                Some(names) if is_index || names.len() as u64 == var.n_rows() => names,
                _ if is_index => HashSet::new(),
                _ => continue,
            };
            columns.push((field.name().clone(), names));
        }
        Ok(Self { columns })
    }

    fn index(&self) -> &HashSet<String> {
        static NONE: std::sync::OnceLock<HashSet<String>> = std::sync::OnceLock::new();
        self.columns
            .first()
            .map_or_else(|| NONE.get_or_init(HashSet::new), |(_, names)| names)
    }
}

/// How many both have, if that is half of the smaller one or more.
fn n_shared(a: &HashSet<String>, b: &HashSet<String>) -> Option<usize> {
    let n = a.intersection(b).count();
    (n > 0 && 2 * n >= a.len().min(b.len())).then_some(n)
}

/// A column of both that names genes alike.
fn by_column(first: &Names, second: &Names, key: Option<&str>) -> Option<String> {
    if key.is_some()
        && let Some(n) = n_shared(first.index(), second.index())
    {
        return Some(format!(
            "without `var_key`, by their names, they have {n} in common"
        ));
    }
    let columns = first.columns.iter().skip(1).filter_map(|(name, names)| {
        let (_, others) = second.columns.iter().skip(1).find(|(other, _)| other == name)?;
        Some((n_shared(names, others)?, name))
    });
    let (n, name) = columns.max_by_key(|(n, _)| *n)?;
    Some(format!("`var_key` {name} finds {n} in common"))
}

/// A column of the second that has the names of the first.
fn by_names(first: &Names, path: &Path, second: &Names, other: &Path) -> Option<String> {
    let columns = second.columns.iter().skip(1);
    let columns = columns.filter_map(|(name, names)| Some((n_shared(first.index(), names)?, name)));
    let (n, name) = columns.max_by_key(|(n, _)| *n)?;
    Some(format!(
        "{n} names of {} are in the var column {name} of {}: make that column its names (adata.var_names = adata.var[{name:?}])",
        path.display(),
        other.display()
    ))
}

/// Identifiers of Ensembl that differ in the number after the dot.
fn without_versions(first: &Names, second: &Names) -> Option<String> {
    let stripped = |names: &HashSet<String>| -> HashSet<String> {
        let strip = |name: &String| {
            let version = name.rsplit_once('.');
            let version =
                version.filter(|(_, n)| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
            version.map_or_else(|| name.clone(), |(stem, _)| stem.to_owned())
        };
        names.iter().map(strip).collect()
    };
    let n = n_shared(&stripped(first.index()), &stripped(second.index()))?;
    Some(format!(
        "{n} names differ only in their version (the number after the dot): remove it from the names in the inputs"
    ))
}
