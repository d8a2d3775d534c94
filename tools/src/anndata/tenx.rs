//! What 10x Genomics writes: `.h5` files of CellRanger 2 and 3, and Matrix Market directories.
//!
//! As scanpy reads them: genes are named by their symbols, `var` has `gene_ids`, `feature_types` and `genome` where there
//! are such.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::container::{Kind, SourceFile};
use super::error::{Result, SourceError};
use super::matrix::market::Lines;
use super::matrix::{self, MatrixSource, Selection, Workspace};
use super::table::{self, TableSource};

/// The most names that are read from a text file.
const MAX_NAMES: usize = 1 << 31;

/// Files that may hold a part of a Matrix Market directory, the newer name first.
const MATRIX: [&str; 2] = ["matrix.mtx.gz", "matrix.mtx"];
const BARCODES: [&str; 2] = ["barcodes.tsv.gz", "barcodes.tsv"];
const FEATURES: [&str; 4] = ["features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv"];

/// An open input of such a form.
#[derive(Debug)]
pub(super) enum TenX {
    /// A group of an HDF5 file.
    File {
        file: Arc<SourceFile>,
        group: String,
        /// Whether the genes are described by a group `features`, as from CellRanger 3 on.
        has_features: bool,
    },
    /// A directory.
    Market {
        matrix: PathBuf,
        barcodes: PathBuf,
        features: PathBuf,
    },
}

impl TenX {
    /// Opens a directory if it holds a Matrix Market file.
    pub(super) fn open_market(directory: &Path) -> Result<Option<Self>> {
        let find = |names: &[&str]| {
            let paths = names.iter().map(|name| directory.join(name));
            paths.into_iter().find(|path| path.is_file())
        };
        let Some(matrix) = find(&MATRIX) else {
            return Ok(None);
        };
        let missing = |object: &str| SourceError::Missing {
            file: directory.to_owned(),
            object: object.to_owned(),
            expected: "it beside matrix.mtx, plain or gzipped, as 10x Genomics writes it",
        };
        Ok(Some(Self::Market {
            matrix,
            barcodes: find(&BARCODES).ok_or_else(|| missing("barcodes.tsv"))?,
            features: find(&FEATURES).ok_or_else(|| missing("features.tsv"))?,
        }))
    }

    /// Takes a file if it is one of 10x Genomics.
    pub(super) fn open_file(file: &Arc<SourceFile>) -> Result<Option<Self>> {
        if file.kind("obs")?.is_some() || file.kind("X")?.is_some() {
            return Ok(None);
        }
        if file.kind("matrix/barcodes")? == Some(Kind::Dataset) {
            return Ok(Some(Self::File {
                file: Arc::clone(file),
                group: "matrix".to_owned(),
                has_features: true,
            }));
        }
        let mut genomes = Vec::new();
        for name in file.members("")? {
            let is_group = file.kind(&name)? == Some(Kind::Group);
            if is_group && file.kind(&format!("{name}/gene_names"))? == Some(Kind::Dataset) {
                genomes.push(name);
            }
        }
        match (genomes.pop(), genomes.is_empty()) {
            (None, _) => Ok(None),
            (Some(group), true) => Ok(Some(Self::File {
                file: Arc::clone(file),
                group,
                has_features: false,
            })),
            (Some(last), false) => Err(file.damaged(
                "",
                format!(
                    "it holds several genomes ({}, {last}), expected one",
                    genomes.join(", ")
                ),
            )),
        }
    }

    pub(super) fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        if *selection != Selection::X {
            return Err(SourceError::NoMatrix {
                file: self.path().to_owned(),
                wanted: selection.path(),
                available: "a file of 10x Genomics has one matrix, X".to_owned(),
            });
        }
        match self {
            Self::File { file, group, .. } => matrix::open_tenx(file, group),
            Self::Market { matrix, .. } => {
                let (n_obs, n_vars) = (self.obs()?.n_rows(), self.var()?.n_rows());
                matrix::open_market(matrix, n_obs, n_vars, workspace)
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File { file, .. } => file.path(),
            Self::Market { matrix, .. } => matrix,
        }
    }

    pub(super) fn obs(&self) -> Result<TableSource> {
        match self {
            Self::File { file, group, .. } => {
                table::of_members(file, group, &[("index", format!("{group}/barcodes"))])
            }
            Self::Market { barcodes, .. } => {
                let [names] = columns(barcodes)?;
                table::of_strings(barcodes, "barcodes", vec![("index", names)])
            }
        }
    }

    pub(super) fn var(&self) -> Result<TableSource> {
        match self {
            Self::File {
                file,
                group,
                has_features: false,
            } => {
                let members = [
                    ("index", format!("{group}/gene_names")),
                    ("gene_ids", format!("{group}/genes")),
                ];
                table::of_members(file, group, &members)
            }
            Self::File { file, group, .. } => {
                let mut members = vec![
                    ("index", format!("{group}/features/name")),
                    ("gene_ids", format!("{group}/features/id")),
                ];
                for (name, member) in [("feature_types", "feature_type"), ("genome", "genome")] {
                    let path = format!("{group}/features/{member}");
                    if file.kind(&path)? == Some(Kind::Dataset) {
                        members.push((name, path));
                    }
                }
                table::of_members(file, group, &members)
            }
            Self::Market { features, .. } => {
                let [ids, symbols, kinds] = columns(features)?;
                let mut found = vec![("index", symbols), ("gene_ids", ids)];
                if kinds.iter().any(|kind| !kind.is_empty()) {
                    found.push(("feature_types", kinds));
                }
                table::of_strings(features, "features", found)
            }
        }
    }
}

/// The first columns of a file of tab-separated values; what a line lacks is empty.
fn columns<const N: usize>(path: &Path) -> Result<[Vec<String>; N]> {
    let mut lines = Lines::open(path)?;
    let mut columns = [const { Vec::new() }; N];
    let mut n_names = 0;
    while let Some(line) = lines.next()? {
        let mut words = line.split('\t');
        for column in &mut columns {
            column.push(words.next().unwrap_or_default().to_owned());
        }
        n_names += 1;
        if n_names >= MAX_NAMES {
            return Err(lines.damaged(format!("there are more than {MAX_NAMES} lines")));
        }
    }
    Ok(columns)
}
