//! AnnData: the form of what no other form takes.

use std::sync::Arc;

use arrow_array::StringArray;

use super::form::InputForm;
use crate::container::{Kind, SourceFile};
use crate::error::{ReadError, Result};
use crate::groups;
use crate::left_out::{PartKind, Parts};
use crate::matrix::{self, Looks, MatrixSource, Selection};
use crate::open::OpenOptions;
use crate::table::{self, TableSource};
use crate::workspace::Workspace;

/// The most dimensions of an array of `obsm`: each gets a name in memory, and a file must not choose how many that are.
const MAX_DIMENSIONS: u64 = 1 << 20;

/// Takes a file or the group of one, or says what it is instead.
pub(super) fn open(file: Arc<SourceFile>, options: &OpenOptions) -> Result<Arc<dyn InputForm>> {
    options.check_anndata(file.path())?;
    groups::check(&file)?;
    Ok(Arc::new(AnnData { file }))
}

/// An open AnnData.
#[derive(Debug)]
struct AnnData {
    file: Arc<SourceFile>,
}

impl InputForm for AnnData {
    fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        matrix::open(&self.file, selection, workspace)
    }

    fn obs(&self) -> Result<TableSource> {
        table::open(&self.file, "obs")
    }

    fn var(&self, selection: &Selection) -> Result<TableSource> {
        match selection {
            Selection::Obsm(_) => self.dimensions(selection),
            Selection::Raw => table::open(&self.file, "raw/var"),
            Selection::X | Selection::Layer(_) => table::open(&self.file, "var"),
        }
    }

    fn add_parts(&self, taken: &[&Selection], parts: &mut Parts) -> Result<()> {
        parts.add_outside(&self.file);
        add_members(&self.file, taken, parts);
        Ok(())
    }

    fn looks(&self, selection: &Selection) -> Result<Option<Looks>> {
        matrix::sample_of(&self.file, selection)
    }
}

impl AnnData {
    /// The names of the dimensions of a member of obsm, as a table.
    fn dimensions(&self, selection: &Selection) -> Result<TableSource> {
        let file = &self.file;
        let of_names = |names| {
            let columns = vec![("_index", names)];
            table::of_strings(file.path(), &selection.path(), columns, Vec::new())
        };
        if let Some(names) = matrix::frame_names(file, selection)? {
            return Ok(of_names(names.into()));
        }
        let n_dimensions = self.matrix(selection, &Workspace::default())?.n_vars();
        if n_dimensions > MAX_DIMENSIONS {
            return Err(ReadError::Dimensions {
                file: file.path().to_owned(),
                object: selection.path(),
                found: n_dimensions,
                limit: MAX_DIMENSIONS,
            });
        }
        let names = StringArray::from_iter_values((0..n_dimensions).map(|number| number.to_string()));
        Ok(of_names(names))
    }
}

/// The members of AnnData that are not taken.
fn add_members(file: &Arc<SourceFile>, taken: &[&Selection], parts: &mut Parts) {
    let is_taken = |path: &str| taken.iter().any(|selection| selection.path() == path);
    let takes_var = taken
        .iter()
        .any(|selection| matches!(selection, Selection::X | Selection::Layer(_)));
    // What cannot be looked into is not a matrix.
    let has_matrix = |path: &str| matrix::is_matrix(file, path).unwrap_or(false);
    let names = file.members("").unwrap_or_default();
    for name in names.into_iter().chain(file.links_elsewhere("")) {
        match name.as_str() {
            "obs" | "raw.var" => {}
            // anndata writes an AnnData without raw into another file so.
            _ if matrix::is_none(file, &name) => {}
            "X" => {
                let is_matrix = has_matrix("X");
                // A link to another file is not a matrix here.
                if !is_taken("X") && (is_matrix || file.kind("X").is_err()) {
                    parts.add(PartKind::X, name, is_matrix, 1);
                }
            }
            "var" => {
                if !takes_var {
                    parts.add(PartKind::Var, name, has_matrix("X"), 1);
                }
            }
            // As AnnData before 0.7 wrote it.
            "raw.X" => {
                if !is_taken("raw/X") {
                    let is_matrix = has_matrix(&name);
                    parts.add(PartKind::Raw, name, is_matrix, 1);
                }
            }
            "raw" => {
                for member in members(file, "raw") {
                    match member.as_str() {
                        "raw/X" => {
                            if !is_taken("raw/X") {
                                let is_matrix = has_matrix(&member);
                                parts.add(PartKind::Raw, member, is_matrix, 1);
                            }
                        }
                        "raw/var" => {}
                        "raw/varm" => members(file, "raw/varm")
                            .into_iter()
                            .for_each(|member| parts.add(PartKind::Varm, member, false, 1)),
                        _ => parts.add(PartKind::Other, member, false, 1),
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
                    parts.add(PartKind::Uns, name, false, n as u64);
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
                    parts.add(kind, name, false, 1);
                    continue;
                }
                for path in members(file, &name) {
                    if !is_taken(&path) {
                        let is_matrix = kind.selection("").is_some() && has_matrix(&path);
                        parts.add(kind, path, is_matrix, 1);
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
