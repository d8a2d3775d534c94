//! What of the inputs is not stored, each part with the option that would store it.

use std::collections::BTreeMap;

use cellring_anndata::PartKind;
use cellring_core::few_and_more;
use serde::Serialize;

use crate::advice::option_of;

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

impl From<cellring_anndata::LeftOut> for LeftOut {
    fn from(part: cellring_anndata::LeftOut) -> Self {
        // A group stands for several.
        let name = part.path.split_once('/').map_or(ANY, |(_, name)| name);
        Self {
            option: option(part.kind, name).filter(|_| part.is_matrix),
            path: part.path,
            kind: part.kind,
            n: part.n,
            n_inputs: part.n_inputs,
        }
    }
}

/// For the name of one of several.
const ANY: &str = "NAME";

fn option(kind: PartKind, name: &str) -> Option<String> {
    kind.selection(name).as_ref().map(option_of)
}

impl LeftOut {
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
                _ => option(kind, ANY),
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
