//! Lists the parts of an input that a conversion does not store, each with the option that would store it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::container::{Kind, SourceFile};
use super::error::Result;
use super::matrix::{self, Selection};
use super::{Input, InputKind};

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

/// What a part of an input is in AnnData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PartKind {
    /// `X`.
    X,
    /// `var`, the table of the columns of `X`.
    Var,
    /// A member of `layers`.
    Layer,
    /// `raw`.
    Raw,
    /// A member of `obsm`.
    Obsm,
    /// A member of `varm`, or of that of `raw`.
    Varm,
    /// A member of `obsp`.
    Obsp,
    /// A member of `varp`.
    Varp,
    /// `uns`.
    Uns,
    /// Another member of what is read, as a dataset of a 10x Genomics file.
    Other,
    /// What a file holds outside the group that is read: of MuData the other modalities, and `obs`, `obsm` and the like of all of
    /// them together. Its path begins with a slash.
    Outside,
}

impl PartKind {
    /// The option that stores a part of this name.
    fn option(self, name: &str) -> Option<String> {
        let selection = match self {
            Self::X | Self::Var => Selection::X,
            Self::Raw => Selection::Raw,
            Self::Layer => Selection::Layer(name.to_owned()),
            Self::Obsm => Selection::Obsm(name.to_owned()),
            Self::Varm | Self::Obsp | Self::Varp | Self::Uns | Self::Other | Self::Outside => return None,
        };
        Some(selection.option())
    }
}

/// What is known of a part before the inputs are put together.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Whether a matrix can be read from it.
    is_matrix: bool,
    n: u64,
    n_inputs: u64,
}

type Parts = BTreeMap<(PartKind, String), Found>;

impl Input {
    /// What is not stored of the inputs where these matrices are, with `obs` and their `var`. Sorted by kind and path. A part that
    /// cannot be looked into is one.
    ///
    /// # Errors
    /// Where an input cannot be opened.
    pub fn left_out(&self, taken: &[&Selection]) -> Result<Vec<LeftOut>> {
        Ok(bounded(&self.parts(taken)?))
    }

    /// All parts that are not taken, each by itself.
    fn parts(&self, taken: &[&Selection]) -> Result<Vec<LeftOut>> {
        let mut parts = Parts::new();
        let n_inputs = match &self.kind {
            InputKind::Joined(joined) => {
                for input in joined.each() {
                    input?.add_parts(taken, &mut parts)?;
                }
                joined.n_inputs()
            }
            _ => {
                self.add_parts(taken, &mut parts)?;
                1
            }
        };
        Ok(listed_one_by_one(parts, n_inputs))
    }

    fn add_parts(&self, taken: &[&Selection], parts: &mut Parts) -> Result<()> {
        let mut add = |kind, path: String, is_matrix, n| {
            let found = parts.entry((kind, path)).or_insert(Found {
                is_matrix: true,
                n: 0,
                n_inputs: 0,
            });
            found.is_matrix &= is_matrix;
            found.n = found.n.max(n);
            found.n_inputs += 1;
        };
        let file = match &self.kind {
            InputKind::AnnData(file) => Some(&**file),
            InputKind::TenX(tenx) => tenx.file(),
            InputKind::Joined(_) => None,
        };
        for (path, n) in file.map(SourceFile::outside).unwrap_or_default() {
            // Which rows of a modality those of the root of MuData are.
            if !matches!(path.as_str(), "/obsmap" | "/varmap") {
                add(PartKind::Outside, path, false, n);
            }
        }
        match &self.kind {
            InputKind::AnnData(file) => add_members(file, taken, &mut add),
            InputKind::TenX(tenx) => {
                for path in tenx.left_out()? {
                    add(PartKind::Other, path, false, 1);
                }
            }
            // Inputs are opened one by one.
            InputKind::Joined(_) => {}
        }
        Ok(())
    }

    /// Which of the matrices that are not taken hold counts, as far as their names and a sample of their values tell: the one that
    /// most likely is meant. One that cannot be read is none.
    #[doc(hidden)]
    pub fn counts_beside(&self, taken: &[&Selection]) -> Option<Selection> {
        let first = match &self.kind {
            InputKind::Joined(joined) => joined.each().next()?.ok()?,
            _ => self.clone(),
        };
        let InputKind::AnnData(file) = &first.kind else {
            return None;
        };
        let parts = self.parts(taken).ok()?;
        let offered = parts.iter().filter(|part| part.option.is_some());
        let mut candidates: Vec<(u32, Selection)> = offered
            .filter_map(|part| match part.kind {
                PartKind::Raw => Some((rank("raw")?, Selection::Raw)),
                PartKind::Layer => {
                    let name = part.path.strip_prefix("layers/")?;
                    Some((rank(name)?, Selection::Layer(name.to_owned())))
                }
                _ => None,
            })
            .collect();
        candidates.sort_by_key(|(rank, _)| *rank);
        let are_counts = |selection: &Selection| {
            let looks = matrix::looks_of(file, selection);
            matches!(looks, Ok(Some(looks)) if looks.are_counts())
        };
        let mut selections = candidates.into_iter().map(|(_, selection)| selection);
        selections.find(are_counts)
    }
}

/// Inputs that are joined although some hold counts and others what was made of counts.
pub struct MixedCounts {
    /// The first that holds counts.
    pub counts: PathBuf,
    /// The first that does not.
    pub other: PathBuf,
    /// What that holds.
    pub found: &'static str,
}

impl Input {
    /// Whether this joins counts with other values, as far as the first values of each input tell.
    #[doc(hidden)]
    pub fn mixed_counts(&self, selection: &Selection) -> Option<MixedCounts> {
        let InputKind::Joined(joined) = &self.kind else {
            return None;
        };
        let (mut counts, mut other) = (None, None);
        for (path, input) in joined.paths().iter().zip(joined.each()) {
            match &input.ok()?.kind {
                InputKind::AnnData(file) => {
                    let looks = matrix::looks_of(file, selection).ok().flatten()?;
                    match looks.no_counts() {
                        Some(found) => other = other.or(Some((path, found))),
                        None if looks.are_counts() => counts = counts.or(Some(path)),
                        None => {}
                    }
                }
                // Pipelines write counts in these forms.
                _ => counts = counts.or(Some(path)),
            }
            if let (Some(counts), Some((other, found))) = (counts, other) {
                let (counts, other) = (counts.clone(), other.clone());
                return Some(MixedCounts { counts, other, found });
            }
        }
        None
    }
}

/// How likely a layer of this name holds the counts that X was made of: the lower the likelier.
fn rank(name: &str) -> Option<u32> {
    let name = name.to_lowercase();
    let is_any = |names: &[&str]| names.contains(&name.as_str());
    Some(match () {
        () if name == "counts" => 0,
        () if is_any(&["raw_counts", "count", "counts_raw"]) => 1,
        () if name.contains("count") || name.contains("umi") => 2,
        () if name.contains("raw") => 3,
        () if is_any(&["spliced", "matrix"]) => 4,
        () if name == "unspliced" => 5,
        () => return None,
    })
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
    parts.into_iter().map(of_part).collect()
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

/// The members of AnnData that are not taken.
fn add_members(
    file: &Arc<SourceFile>,
    taken: &[&Selection],
    add: &mut impl FnMut(PartKind, String, bool, u64),
) {
    let is_taken = |path: &str| taken.iter().any(|selection| selection.path() == path);
    let takes_var = taken
        .iter()
        .any(|selection| matches!(selection, Selection::X | Selection::Layer(_)));
    // What cannot be looked into is no matrix.
    let has_matrix = |path: &str| matrix::is_matrix(file, path).unwrap_or(false);
    for name in file.members("").unwrap_or_default() {
        match name.as_str() {
            "obs" | "raw.var" => {}
            // anndata writes an AnnData without raw into another file so.
            _ if matrix::is_none(file, &name) => {}
            "X" => {
                if !is_taken("X") && has_matrix("X") {
                    add(PartKind::X, name, true, 1);
                }
            }
            "var" => {
                if !takes_var {
                    add(PartKind::Var, name, has_matrix("X"), 1);
                }
            }
            // As AnnData before 0.7 wrote it.
            "raw.X" => {
                if !is_taken("raw/X") {
                    let is_matrix = has_matrix(&name);
                    add(PartKind::Raw, name, is_matrix, 1);
                }
            }
            "raw" => {
                for member in members(file, "raw") {
                    match member.as_str() {
                        "raw/X" => {
                            if !is_taken("raw/X") {
                                let is_matrix = has_matrix(&member);
                                add(PartKind::Raw, member, is_matrix, 1);
                            }
                        }
                        "raw/var" => {}
                        "raw/varm" => members(file, "raw/varm")
                            .into_iter()
                            .for_each(|member| add(PartKind::Varm, member, false, 1)),
                        _ => add(PartKind::Other, member, false, 1),
                    }
                }
            }
            "uns" => {
                // Labels of columns of old files, which are read.
                let is_labels = |name: &String| name.ends_with("_categories");
                let n = members(file, "uns")
                    .iter()
                    .filter(|name| !is_labels(name))
                    .count();
                if n > 0 {
                    add(PartKind::Uns, name, false, n as u64);
                }
            }
            _ => {
                let kind = match name.as_str() {
                    "layers" => PartKind::Layer,
                    "obsm" => PartKind::Obsm,
                    "varm" => PartKind::Varm,
                    "obsp" => PartKind::Obsp,
                    "varp" => PartKind::Varp,
                    _ => PartKind::Other,
                };
                let is_group = matches!(file.kind(&name), Ok(Some(Kind::Group)));
                if kind == PartKind::Other || !is_group {
                    add(kind, name, false, 1);
                    continue;
                }
                for path in members(file, &name) {
                    if !is_taken(&path) {
                        let is_matrix = kind.option("").is_some() && has_matrix(&path);
                        add(kind, path, is_matrix, 1);
                    }
                }
            }
        }
    }
}

/// Paths of the members of a group; its own where it cannot be listed.
fn members(file: &SourceFile, group: &str) -> Vec<String> {
    match file.members(group) {
        Ok(names) => names.into_iter().map(|name| format!("{group}/{name}")).collect(),
        Err(_) => vec![group.to_owned()],
    }
}

impl LeftOut {
    /// What is not stored of inputs of each of which this matrix is; no option stores it.
    #[doc(hidden)]
    pub fn of_inputs<'a>(inputs: impl Iterator<Item = (&'a Input, &'a Selection)>) -> Result<Vec<Self>> {
        let (mut parts, mut n_inputs) = (Parts::new(), 0);
        for (input, selection) in inputs {
            input.add_parts(&[selection], &mut parts)?;
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
    let shown: Vec<String> = parts
        .iter()
        .take(SHOWN)
        .map(|part| {
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
        })
        .collect();
    let shown = shown.join(", ");
    match parts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
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

    #[test]
    fn names_that_suggest_counts_are_ranked() {
        let mut names = ["spliced", "raw", "UMI_counts", "counts", "raw_counts"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["counts", "raw_counts", "UMI_counts", "raw", "spliced"]);
        for other in ["log1p", "scaled", "Ms", "velocity"] {
            assert_eq!(rank(other), None, "{other}");
        }
    }
}
