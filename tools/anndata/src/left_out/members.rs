//! The parts that an input holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::container::{Kind, SourceFile};
use crate::error::Result;
use crate::matrix::{self, Selection};
use crate::single::SingleInput;

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
    pub(super) fn option(self, name: &str) -> Option<String> {
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
pub(super) struct Found {
    /// Whether a matrix can be read from it.
    pub(super) is_matrix: bool,
    pub(super) n: u64,
    pub(super) n_inputs: u64,
}

pub(super) type Parts = BTreeMap<(PartKind, String), Found>;

impl SingleInput {
    /// Adds the parts of this input that are not taken.
    pub(super) fn add_parts(&self, taken: &[&Selection], parts: &mut Parts) -> Result<()> {
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
        let file = match self {
            Self::AnnData(file) => Some(&**file),
            Self::TenX(tenx) => tenx.file(),
        };
        for (path, n) in file.map(SourceFile::outside).unwrap_or_default() {
            // Which rows of a modality those of the root of MuData are.
            if !matches!(path.as_str(), "/obsmap" | "/varmap") {
                add(PartKind::Outside, path, false, n);
            }
        }
        match self {
            Self::AnnData(file) => add_members(file, taken, &mut add),
            Self::TenX(tenx) => {
                for path in tenx.left_out()? {
                    add(PartKind::Other, path, false, 1);
                }
            }
        }
        Ok(())
    }
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
    let names = file.members("").unwrap_or_default();
    for name in names.into_iter().chain(file.links_elsewhere("")) {
        match name.as_str() {
            "obs" | "raw.var" => {}
            // anndata writes an AnnData without raw into another file so.
            _ if matrix::is_none(file, &name) => {}
            "X" => {
                let is_matrix = has_matrix("X");
                // A link to another file is no matrix here.
                if !is_taken("X") && (is_matrix || file.kind("X").is_err()) {
                    add(PartKind::X, name, is_matrix, 1);
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
        Ok(names) => names
            .into_iter()
            .chain(file.links_elsewhere(group))
            .map(|name| format!("{group}/{name}"))
            .collect(),
        Err(_) => vec![group.to_owned()],
    }
}
