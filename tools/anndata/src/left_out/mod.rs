//! Lists the parts of an input that a conversion does not store, and which of them are matrices.

mod parts;

use std::collections::BTreeSet;

pub use parts::PartKind;

pub(crate) use parts::Parts;

use crate::error::Result;
use crate::input::{Input, InputKind};
use crate::matrix::Selection;
use parts::Found;

/// Parts of one kind that are listed one by one; of more only their number is.
const LISTED: usize = 16;

/// A part of the input that is not stored, or several of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its path in the input; where it stands for many, that of their group.
    pub path: String,
    /// What it is in AnnData.
    pub kind: PartKind,
    /// Whether it is a matrix that can be taken: one that all inputs have.
    pub is_matrix: bool,
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
        LeftOut {
            kind,
            // All inputs must have what is asked for.
            is_matrix: found.is_matrix && found.n_inputs == n_inputs as u64,
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
    Some(LeftOut {
        // What has no group in common lies at several places below the root.
        path: group.unwrap_or_else(|| "/".to_owned()),
        kind,
        is_matrix: listed.iter().any(|part| part.is_matrix),
        n: listed.iter().map(|part| part.n).sum(),
        n_inputs: listed.iter().map(|part| part.n_inputs).max().unwrap_or(1),
    })
}

impl LeftOut {
    /// What is not stored of inputs of each of which this matrix is: all others are left out.
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
        all.iter_mut().for_each(|part| part.is_matrix = false);
        Ok(all)
    }
}
