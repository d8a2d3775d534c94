//! The parts that inputs hold, and that are not taken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::container::SourceFile;
use crate::matrix::Selection;

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
    /// The matrix that a part of this name is, if it is one.
    pub fn selection(self, name: &str) -> Option<Selection> {
        Some(match self {
            Self::X | Self::Var => Selection::X,
            Self::Raw => Selection::Raw,
            Self::Layer => Selection::Layer(name.to_owned()),
            Self::Obsm => Selection::Obsm(name.to_owned()),
            Self::Varm | Self::Obsp | Self::Varp | Self::Uns | Self::Other | Self::Outside => return None,
        })
    }
}

/// What is known of a part before the inputs are put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Whether a matrix can be read from it.
    pub(super) is_matrix: bool,
    pub(super) n: u64,
    pub(super) n_inputs: u64,
}

/// Parts of one or several inputs, sorted by kind and path.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    found: BTreeMap<(PartKind, String), Found>,
}

impl Parts {
    /// Adds a part of one input: what it is, its path, whether a matrix can be read from it, and how many members it stands for.
    pub(crate) fn add(&mut self, kind: PartKind, path: String, is_matrix: bool, n: u64) {
        let found = self.found.entry((kind, path)).or_insert(Found {
            is_matrix: true,
            n: 0,
            n_inputs: 0,
        });
        found.is_matrix &= is_matrix;
        found.n = found.n.max(n);
        found.n_inputs += 1;
    }

    /// Adds what a file holds outside the group that is read.
    pub(crate) fn add_outside(&mut self, file: &SourceFile) {
        for (path, n) in file.outside() {
            // Which rows of a modality those of the root of MuData are.
            if !matches!(path.as_str(), "/obsmap" | "/varmap") {
                self.add(PartKind::Outside, path, false, n);
            }
        }
    }

    pub(super) fn into_found(self) -> BTreeMap<(PartKind, String), Found> {
        self.found
    }
}
