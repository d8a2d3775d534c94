//! Where counts are, as far as names and a sample of the values tell.

use std::path::PathBuf;

use crate::input::{Input, InputKind};
use crate::left_out::PartKind;
use crate::matrix::Selection;

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
    /// Which of the matrices that are not taken hold counts, as far as their names and a sample of their values tell: the one that
    /// most likely is meant. One that cannot be read is none.
    #[doc(hidden)]
    pub fn counts_beside(&self, taken: &[&Selection]) -> Option<Selection> {
        let first = match &self.kind {
            InputKind::Joined(joined) => joined.each().next()?.ok()?,
            InputKind::Single(input) => input.clone(),
        };
        let parts = self.parts(taken).ok()?;
        let offered = parts.iter().filter(|part| part.is_matrix);
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
        let are_counts =
            |selection: &Selection| matches!(first.looks(selection), Ok(Some(looks)) if looks.are_counts());
        let mut selections = candidates.into_iter().map(|(_, selection)| selection);
        selections.find(are_counts)
    }

    /// Whether this joins counts with other values, as far as the first values of each input tell.
    #[doc(hidden)]
    pub fn mixed_counts(&self, selection: &Selection) -> Option<MixedCounts> {
        let InputKind::Joined(joined) = &self.kind else {
            return None;
        };
        let (mut counts, mut other) = (None, None);
        for (path, input) in joined.paths().iter().zip(joined.each()) {
            let looks = input.ok()?.looks(selection).ok().flatten()?;
            match looks.no_counts() {
                Some(found) => other = other.or(Some((path, found))),
                None if looks.are_counts() => counts = counts.or(Some(path)),
                None => {}
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

#[cfg(test)]
mod tests {
    use super::*;

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
