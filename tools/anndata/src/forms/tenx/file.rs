//! `.h5` files of CellRanger 2 and 3 and of what writes like it, with the columns that scanpy's `read_10x_h5` gives.

use std::collections::HashSet;
use std::sync::Arc;

use super::kept::{FEATURE_TYPES, GENE_IDS};
use crate::container::{Kind, SourceFile};
use crate::error::{ReadError, Result};
use crate::matrix::{Compressed, Csr, MatrixSource, shape_dataset};
use crate::open::GENOME_OPTION;
use crate::table::{self, Member, TableSource};

/// The group of CellRanger 3 and later; before, it was called as the genome.
const MATRIX: &str = "matrix";

/// Members of the group that hold the matrix and the names.
const ARRAYS: [&str; 8] = [
    "data",
    "indices",
    "indptr",
    "shape",
    "barcodes",
    "features",
    "genes",
    "gene_names",
];

/// Which of the barcodes of an unfiltered matrix are cells.
const FILTERED_BARCODES: &str = "filtered_barcodes";

/// The names of those members of `features` that describe the probes; they are no column.
const TAG_KEYS: &str = "_all_tag_keys";

/// An open file, or a group in one.
#[derive(Debug)]
pub(super) struct TenXFile {
    pub(super) file: Arc<SourceFile>,
    /// Where the matrix is.
    pub(super) group: String,
    /// Whether the genes are described by a group `features`, as from CellRanger 3 on.
    has_features: bool,
}

impl TenXFile {
    /// Takes a file if it is of this form. In one of CellRanger 2, `genome` names the group.
    pub(super) fn open(file: &Arc<SourceFile>, genome: Option<&str>) -> Result<Option<Self>> {
        if file.kind("obs")?.is_some() || file.kind("X")?.is_some() {
            return Ok(None);
        }
        let is = |path: String, kind| Ok::<_, ReadError>(file.kind(&path)? == Some(kind));
        if is(format!("{MATRIX}/barcodes"), Kind::Dataset)? && is(format!("{MATRIX}/features"), Kind::Group)?
        {
            return Ok(Some(Self {
                file: Arc::clone(file),
                group: MATRIX.to_owned(),
                has_features: true,
            }));
        }
        let mut genomes = Vec::new();
        for name in file.members("")? {
            if is(name.clone(), Kind::Group)? && is(format!("{name}/gene_names"), Kind::Dataset)? {
                genomes.push(name);
            }
        }
        genomes.sort();
        let group = match (genome, genomes.as_slice()) {
            (_, []) => return Ok(None),
            (None, [one]) => one.clone(),
            (Some(genome), all) if all.iter().any(|name| name == genome) => genome.to_owned(),
            (Some(genome), all) => {
                return Err(ReadError::Inapplicable {
                    file: file.path().to_owned(),
                    option: GENOME_OPTION,
                    detail: format!("it has no genome {genome}, but {}", all.join(", ")),
                });
            }
            (None, several) => {
                return Err(ReadError::Choice {
                    file: file.path().to_owned(),
                    found: format!("several genomes ({})", several.join(", ")),
                    remedy: format!(
                        "choose one with {GENOME_OPTION}, as {GENOME_OPTION} {}",
                        several[0]
                    ),
                });
            }
        };
        Ok(Some(Self {
            file: Arc::clone(file),
            group,
            has_features: false,
        }))
    }

    /// Whether the genome of the options has chosen the group, so that it does not choose features.
    pub(super) fn is_one_genome(&self) -> bool {
        !self.has_features
    }

    /// CSC of genes by cells is CSR of cells by genes.
    pub(super) fn matrix(&self) -> Result<MatrixSource> {
        let (n_vars, n_obs) = shape_dataset(&self.file, &self.group)?;
        let arrays = Compressed::open(&self.file, &self.group, n_obs, n_vars)?;
        Ok(MatrixSource::new(Csr::new(arrays, "10x csc_matrix")?))
    }

    pub(super) fn obs(&self) -> Result<TableSource> {
        let columns = self.obs_columns()?;
        table::of_members(&self.file, &self.group, columns.members, Vec::new())
    }

    pub(super) fn var(&self) -> Result<TableSource> {
        let columns = self.var_columns()?;
        table::of_members(&self.file, &self.group, columns.members, Vec::new())
    }

    /// Paths of what the file holds beside the matrix, and that is not a column of obs or var.
    pub(super) fn left_out(&self) -> Result<Vec<String>> {
        let mut left_out = self.obs_columns()?.left_out;
        // What has a value for each feature is a column of var.
        let n_features = self.length(&self.names());
        left_out.retain(|path| self.length(path).is_none() || self.length(path) != n_features);
        left_out.extend(self.var_columns()?.left_out);
        left_out.extend(self.beside()?);
        Ok(left_out)
    }

    fn obs_columns(&self) -> Result<Columns<'_>> {
        let mut columns = Columns::new(self, "_index", format!("{}/barcodes", self.group))?;
        columns.add_all(&self.group, &ARRAYS)?;
        Ok(columns)
    }

    fn var_columns(&self) -> Result<Columns<'_>> {
        let group = &self.group;
        let features = format!("{group}/features");
        let mut columns = Columns::new(self, "_index", self.names())?;
        if self.has_features {
            // The ids of a matrix of probes are those of the probes.
            let of_probes = self.file.kind(&format!("{features}/gene_id"))?.is_some();
            let known: &[_] = match of_probes {
                false => &[(GENE_IDS, "id"), (FEATURE_TYPES, "feature_type")],
                true => &[
                    (GENE_IDS, "gene_id"),
                    ("probe_ids", "id"),
                    (FEATURE_TYPES, "feature_type"),
                ],
            };
            for (name, member) in known {
                columns.add(name, format!("{features}/{member}"))?;
            }
            columns.add_all(&features, &["name", "id", "gene_id", "feature_type", TAG_KEYS])?;
        } else {
            columns.add(GENE_IDS, format!("{group}/genes"))?;
        }
        // CellBender describes features beside them, too. What has a value for each barcode is a column of obs.
        if self.length(&format!("{group}/barcodes")) != columns.n_rows {
            let in_features = columns.left_out.len();
            columns.add_all(group, &ARRAYS)?;
            columns.left_out.truncate(in_features);
        }
        Ok(columns)
    }

    /// Where the names of the features lie.
    fn names(&self) -> String {
        match self.has_features {
            true => format!("{}/features/name", self.group),
            false => format!("{}/gene_names", self.group),
        }
    }

    /// Elements of a dataset of one dimension; `None` for anything else.
    fn length(&self, path: &str) -> Option<u64> {
        // What cannot be described is not a column; it is named among what is left out.
        match (self.file.kind(path), self.file.describe(path)) {
            (Ok(Some(Kind::Dataset)), Ok(description)) => match description.shape.as_slice() {
                [length] => Some(*length),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is beside the group of the matrix, other than more genomes.
    fn beside(&self) -> Result<Vec<String>> {
        let mut names = self.file.members("")?;
        names.sort();
        let mut others = Vec::new();
        for name in names {
            if name != self.group && self.file.kind(&format!("{name}/gene_names"))?.is_none() {
                others.push(name);
            }
        }
        Ok(others)
    }
}

/// The columns of a table, gathered.
struct Columns<'a> {
    file: &'a TenXFile,
    n_rows: Option<u64>,
    members: Vec<Member>,
    names: HashSet<String>,
    /// What has not one value for each row.
    left_out: Vec<String>,
}

impl<'a> Columns<'a> {
    fn new(file: &'a TenXFile, index: &str, path: String) -> Result<Self> {
        if file.file.kind(&path)?.is_none() {
            return Err(ReadError::Missing {
                file: file.file.path().to_owned(),
                object: path,
                expected: "names there, as in every file of 10x Genomics",
            });
        }
        Ok(Self {
            n_rows: file.length(&path),
            names: HashSet::from([index.to_owned()]),
            members: vec![Member {
                name: index.to_owned(),
                path,
                is_flag: false,
            }],
            file,
            left_out: Vec::new(),
        })
    }

    /// Adds a dataset under another name, if it is there.
    fn add(&mut self, name: &str, path: String) -> Result<()> {
        if self.file.file.kind(&path)?.is_none() {
            return Ok(());
        }
        let fits = self.n_rows.is_some() && self.file.length(&path) == self.n_rows;
        if !fits || !self.names.insert(name.to_owned()) {
            self.left_out.push(path);
            return Ok(());
        }
        self.members.push(Member {
            name: name.to_owned(),
            is_flag: name == FILTERED_BARCODES,
            path,
        });
        Ok(())
    }

    /// Adds all members of a group but these, under their own names and in the order of those.
    fn add_all(&mut self, group: &str, but: &[&str]) -> Result<()> {
        let mut names = self.file.file.members(group)?;
        names.sort();
        for name in names.iter().filter(|name| !but.contains(&name.as_str())) {
            self.add(name, format!("{group}/{name}"))?;
        }
        Ok(())
    }
}
