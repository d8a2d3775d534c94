//! Lists the parts of an input that a conversion does not store, each with the option that would store it.

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use cellring_core::few_and_more;
use serde::Serialize;

pub use parts::PartKind;

pub(crate) use parts::Parts;

use crate::error::Result;
use crate::input::{Input, InputKind};
use crate::matrix::Selection;
use parts::Found;

/// Parts of one kind that are listed one by one; of more only their number is.
const LISTED: usize = 16;

/// Names of parts of one kind that a sentence shows.
const SHOWN: usize = 5;

/// A part of the input that is not stored, or several of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its path in the input; where it stands for many, that of their group.
    pub path: String,
    /// What it is in AnnData.
    pub kind: PartKind,
    /// The option of `convert` that stores it, such as `--layer counts`; `None` where there is none.
    pub option: Option<String>,
    /// How many parts this stands for: members of `uns`, or of a group with many.
    pub n: u64,
    /// Of several inputs, how many have it.
    pub n_inputs: u64,
}

impl Input {
    /// What is not stored of the inputs where these matrices are, with `obs` and their `var`. Sorted by kind and path. A part that
    /// cannot be looked into is one.
    ///
    /// # Errors
    /// If an input cannot be opened.
    pub fn left_out(&self, taken: &[&Selection]) -> Result<Vec<LeftOut>> {
        Ok(bounded(&self.parts(taken)?))
    }

    /// All parts that are not taken, each by itself.
    pub(crate) fn parts(&self, taken: &[&Selection]) -> Result<Vec<LeftOut>> {
        let mut parts = Parts::default();
        let n_inputs = match &self.kind {
            InputKind::Joined(joined) => {
                for input in joined.each() {
                    input?.add_parts(taken, &mut parts)?;
                }
                joined.n_inputs()
            }
            InputKind::Single(input) => {
                input.add_parts(taken, &mut parts)?;
                1
            }
        };
        Ok(listed_one_by_one(parts, n_inputs))
    }
}

fn listed_one_by_one(parts: Parts, n_inputs: usize) -> Vec<LeftOut> {
    let of_part = |((kind, path), found): ((PartKind, String), Found)| {
        let name = path.split_once('/').map_or(path.as_str(), |(_, name)| name);
        // All inputs must have what is asked for.
        let is_offered = found.is_matrix && found.n_inputs == n_inputs as u64;
        LeftOut {
            kind,
            option: kind.option(name).filter(|_| is_offered),
            path,
            n: found.n,
            n_inputs: found.n_inputs,
        }
    };
    parts.into_found().into_iter().map(of_part).collect()
}

/// The same in a number of entries that no input chooses.
fn bounded(parts: &[LeftOut]) -> Vec<LeftOut> {
    let kinds: BTreeSet<PartKind> = parts.iter().map(|part| part.kind).collect();
    let mut all = Vec::new();
    for kind in kinds {
        let of_kind: Vec<LeftOut> = parts.iter().filter(|part| part.kind == kind).cloned().collect();
        match of_kind.len() > LISTED {
            false => all.extend(of_kind),
            true => all.extend(summed(kind, &of_kind)),
        }
    }
    all
}

/// One entry for many parts of a kind.
fn summed(kind: PartKind, listed: &[LeftOut]) -> Option<LeftOut> {
    let first = listed.first()?;
    let group_of = |part: &LeftOut| part.path.split_once('/').map(|(group, _)| group.to_owned());
    let group = group_of(first).filter(|group| {
        !group.is_empty() && listed.iter().all(|part| group_of(part).as_ref() == Some(group))
    });
    let is_offered = listed.iter().any(|part| part.option.is_some());
    Some(LeftOut {
        // What has no group in common lies at several places below the root.
        path: group.unwrap_or_else(|| "/".to_owned()),
        kind,
        option: kind.option("NAME").filter(|_| is_offered),
        n: listed.iter().map(|part| part.n).sum(),
        n_inputs: listed.iter().map(|part| part.n_inputs).max().unwrap_or(1),
    })
}

impl LeftOut {
    /// What is not stored of inputs of each of which this matrix is, for which there is no option.
    #[doc(hidden)]
    pub fn of_inputs<'a>(inputs: impl Iterator<Item = (&'a Input, &'a Selection)>) -> Result<Vec<Self>> {
        let (mut parts, mut n_inputs) = (Parts::default(), 0);
        for (input, selection) in inputs {
            if let InputKind::Single(input) = &input.kind {
                input.add_parts(&[selection], &mut parts)?;
            }
            n_inputs += 1;
        }
        let mut all = bounded(&listed_one_by_one(parts, n_inputs));
        all.iter_mut().for_each(|part| part.option = None);
        Ok(all)
    }

    /// One line on all of these, as `not stored: layers/counts (--layer NAME); no option stores uns (3)`; `None` where there is
    /// nothing.
    pub fn sentence(all: &[Self], n_inputs: usize) -> Option<String> {
        let kinds = |is_offered: bool| {
            let inside = all.iter().filter(|part| part.kind != PartKind::Outside);
            let of_choice = inside.filter(move |part| part.option.is_some() == is_offered);
            let mut by_kind: BTreeMap<PartKind, Vec<&Self>> = BTreeMap::new();
            of_choice.for_each(|part| by_kind.entry(part.kind).or_default().push(part));
            by_kind.into_iter()
        };
        let offered = kinds(true).map(|(kind, parts)| {
            let option = match parts.as_slice() {
                [only] => only.option.clone(),
                _ => kind.option("NAME"),
            };
            format!("{} ({})", listed(&parts, n_inputs), option.unwrap_or_default())
        });
        let others = kinds(false).map(|(_, parts)| listed(&parts, n_inputs));
        let (offered, others) = (
            offered.collect::<Vec<_>>().join(", "),
            others.collect::<Vec<_>>().join(", "),
        );
        let outside: Vec<&Self> = all.iter().filter(|part| part.kind == PartKind::Outside).collect();
        let mut clauses = Vec::new();
        match (offered.is_empty(), others.is_empty()) {
            (true, true) => {}
            (false, true) => clauses.push(offered),
            (true, false) => clauses.push(others),
            (false, false) => clauses.extend([offered, format!("no option stores {others}")]),
        }
        if !outside.is_empty() {
            clauses.push(format!("outside the group {}", listed(&outside, n_inputs)));
        }
        (!clauses.is_empty()).then(|| format!("not stored: {}", clauses.join("; ")))
    }
}

/// The first few parts of a kind.
fn listed(parts: &[&LeftOut], n_inputs: usize) -> String {
    let named = parts.iter().map(|part| {
        let mut notes = Vec::new();
        if part.n > 1 {
            notes.push(format!("{} members", part.n));
        }
        if n_inputs > 1 && part.n_inputs < n_inputs as u64 {
            notes.push(format!("of {} of {n_inputs} inputs", part.n_inputs));
        }
        match notes.is_empty() {
            true => part.path.clone(),
            false => format!("{} ({})", part.path, notes.join(" ")),
        }
    });
    few_and_more(named, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: PartKind, path: &str, option: Option<&str>) -> LeftOut {
        LeftOut {
            path: path.to_owned(),
            kind,
            option: option.map(str::to_owned),
            n: 1,
            n_inputs: 1,
        }
    }

    #[test]
    fn one_sentence_names_parts_and_options() {
        assert_eq!(LeftOut::sentence(&[], 1), None);
        let layers = [
            part(PartKind::Layer, "layers/a", Some("--layer a")),
            part(PartKind::Layer, "layers/b", Some("--layer b")),
            part(PartKind::Raw, "raw/X", Some("--raw")),
        ];
        assert_eq!(
            LeftOut::sentence(&layers, 1).unwrap(),
            "not stored: layers/a, layers/b (--layer NAME), raw/X (--raw)"
        );
        let mut all = layers.to_vec();
        all.push(LeftOut {
            n: 7,
            ..part(PartKind::Uns, "uns", None)
        });
        all.push(LeftOut {
            n_inputs: 2,
            ..part(PartKind::Obsm, "obsm/X_pca", None)
        });
        assert_eq!(
            LeftOut::sentence(&all[2..], 3).unwrap(),
            "not stored: raw/X (of 1 of 3 inputs) (--raw); no option stores obsm/X_pca (of 2 of 3 inputs), uns (7 members of 1 of 3 inputs)"
        );
        assert_eq!(
            LeftOut::sentence(&all[3..4], 1).unwrap(),
            "not stored: uns (7 members)"
        );
        let outside = ["/mod/prot", "/obs"].map(|path| part(PartKind::Outside, path, None));
        assert_eq!(
            LeftOut::sentence(&[&layers[2..], &outside].concat(), 1).unwrap(),
            "not stored: raw/X (--raw); outside the group /mod/prot, /obs"
        );
        assert_eq!(
            LeftOut::sentence(&outside, 1).unwrap(),
            "not stored: outside the group /mod/prot, /obs"
        );
        let many: Vec<LeftOut> = (0..9)
            .map(|n| part(PartKind::Obsp, &format!("obsp/{n}"), None))
            .collect();
        assert!(
            LeftOut::sentence(&many, 1)
                .unwrap()
                .ends_with("obsp/4 and 4 more")
        );
    }
}
