//! What 10x Genomics and programs like theirs write: `.h5` files and Matrix Market.
//!
//! As scanpy reads them: genes are named by their symbols, `var` has `gene_ids`, `feature_types` and whatever else is said of the
//! features.

mod file;
mod kept;
pub(super) mod market;
mod names;

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, StringArray};

use super::OpenOptions;
use super::container::SourceFile;
use super::error::{ReadError, Result};
use super::matrix::{self, MatrixSource, Selection};
use super::table::{self, TableSource};
use super::workspace::Workspace;
use file::TenXFile;
use kept::{FEATURE_TYPES, GENE_IDS};
use market::MarketFiles;

/// The column of names of genes that kallisto and bustools give beside their ids.
const GENE_NAME: &str = "gene_name";

/// An open input of such a form, and which of its features are kept.
#[derive(Debug)]
pub(super) struct TenX {
    form: Form,
    options: OpenOptions,
}

#[derive(Debug)]
enum Form {
    File(TenXFile),
    Market(MarketFiles),
}

impl TenX {
    /// Takes a path if it is that of a Matrix Market file or of a directory that holds one.
    pub(super) fn open_market(path: &Path, options: &OpenOptions) -> Result<Option<Self>> {
        let found = market::find(path, options.genome.as_deref())?;
        if let (Some(_), Some(_)) = (&found, &options.group) {
            return Err(ReadError::Inapplicable {
                file: path.to_owned(),
                option: super::open::GROUP_OPTION,
                detail: "Matrix Market has no groups".to_owned(),
            });
        }
        Ok(found.map(|files| Self {
            form: Form::Market(files),
            options: options.clone(),
        }))
    }

    /// Takes a file if it is one of 10x Genomics.
    pub(super) fn open_file(file: &Arc<SourceFile>, options: &OpenOptions) -> Result<Option<Self>> {
        Ok(TenXFile::open(file, options.genome.as_deref())?.map(|file| Self {
            form: Form::File(file),
            options: options.clone(),
        }))
    }

    fn path(&self) -> &Path {
        match &self.form {
            Form::File(tenx) => tenx.file.path(),
            Form::Market(files) => &files.matrix,
        }
    }

    pub(super) fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        if *selection != Selection::X {
            return Err(ReadError::NoMatrix {
                file: self.path().to_owned(),
                wanted: selection.path(),
                available: "a file of 10x Genomics has one matrix, X".to_owned(),
            });
        }
        let matrix = match &self.form {
            Form::File(tenx) => matrix::open_tenx(&tenx.file, &tenx.group)?,
            Form::Market(files) => {
                let n_named = (self.obs()?.n_rows(), self.all_features()?.n_rows());
                matrix::open_market(&files.matrix, n_named, files.has_cell_rows, workspace)?
            }
        };
        if self.options == OpenOptions::default() {
            return Ok(matrix);
        }
        let var = self.all_features()?;
        Ok(match self.kept(&var)? {
            // Of other lengths they do not belong together, which whoever compares them says.
            Some(kept) if matrix.n_vars() == var.n_rows() => matrix.select(u64::MAX, Some(&kept)),
            _ => matrix,
        })
    }

    pub(super) fn obs(&self) -> Result<TableSource> {
        match &self.form {
            Form::File(tenx) => tenx.obs(),
            Form::Market(files) => {
                let names = read_names(files, &files.barcodes)?;
                let mut columns = names.columns.into_iter();
                let index = columns.next().unwrap_or_else(no_names);
                let obs = table::of_strings(
                    &files.barcodes,
                    "barcodes",
                    vec![("_index", index)],
                    not_kept(&files.barcodes, names.n_columns, 1),
                );
                Ok(obs)
            }
        }
    }

    pub(super) fn var(&self) -> Result<TableSource> {
        let var = self.all_features()?;
        match self.kept(&var)? {
            Some(kept) => var.with_rows(&kept),
            None => Ok(match kept::several_types(self.path(), &var)? {
                Some(sentence) => var.warn(sentence),
                None => var,
            }),
        }
    }

    /// The file, where it is one with groups.
    pub(super) fn file(&self) -> Option<&SourceFile> {
        match &self.form {
            Form::File(tenx) => Some(&tenx.file),
            Form::Market(_) => None,
        }
    }

    /// Paths of what the input holds besides the matrix, and that is not a column of obs or var.
    pub(super) fn left_out(&self) -> Result<Vec<String>> {
        match &self.form {
            Form::File(tenx) => tenx.left_out(),
            Form::Market(_) => Ok(Vec::new()),
        }
    }

    fn kept(&self, var: &TableSource) -> Result<Option<Vec<u32>>> {
        let genome = match &self.form {
            Form::File(tenx) if tenx.is_one_genome() => None,
            Form::Market(files) if files.is_of_genome => None,
            _ => self.options.genome.as_deref(),
        };
        kept::rows(self.path(), var, &self.options, genome)
    }

    fn all_features(&self) -> Result<TableSource> {
        match &self.form {
            Form::File(tenx) => tenx.var(),
            Form::Market(files) => features(files),
        }
    }
}

/// The table of features of a Matrix Market file: names alone, ids and names, or ids, names and types.
fn features(files: &MarketFiles) -> Result<TableSource> {
    let path = &files.features;
    let names = read_names(files, path)?;
    let mut warnings = not_kept(path, names.n_columns, names.columns.len());
    let mut columns = names.columns.into_iter();
    let first = columns.next().unwrap_or_else(no_names);
    let found = match (columns.next(), columns.next()) {
        (None, _) => match &files.gene_names {
            None => vec![("_index", first)],
            Some(path) => {
                let found = read_names(files, path)?
                    .columns
                    .into_iter()
                    .next()
                    .unwrap_or_else(no_names);
                if found.len() != first.len() {
                    return Err(ReadError::Foreign {
                        file: path.clone(),
                        form: format!("a table of {} names for {} genes", found.len(), first.len()),
                        remedy: "remove it, or download it again".to_owned(),
                    });
                }
                vec![("_index", first), (GENE_NAME, found)]
            }
        },
        (Some(symbols), kinds) => {
            let n_unnamed = symbols.iter().flatten().filter(|name| name.is_empty()).count();
            let symbols = match n_unnamed {
                0 => symbols,
                n => {
                    warnings.push(format!(
                        "{} has no name for {n} features; their ids are used instead",
                        path.display()
                    ));
                    let pairs = symbols.iter().flatten().zip(first.iter().flatten());
                    StringArray::from_iter_values(
                        pairs.map(|(name, id)| if name.is_empty() { id } else { name }),
                    )
                }
            };
            let mut found = vec![("_index", symbols), (GENE_IDS, first)];
            found.extend(kinds.map(|kinds| (FEATURE_TYPES, kinds)));
            found
        }
    };
    Ok(table::of_strings(path, "features", found, warnings))
}

fn read_names(files: &MarketFiles, path: &Path) -> Result<names::Names> {
    let (n_rows, n_columns) = matrix::market::shape(&files.matrix)?;
    names::read(path, n_rows.max(n_columns))
}

fn no_names() -> StringArray {
    StringArray::new_null(0)
}

/// A sentence on columns of a table of names that are not kept.
fn not_kept(path: &Path, n_columns: usize, n_kept: usize) -> Vec<String> {
    match n_columns > n_kept {
        false => Vec::new(),
        true => vec![format!(
            "{} has {n_columns} columns, of which the first {n_kept} are stored",
            path.display()
        )],
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray as _;

    use super::*;

    #[test]
    fn empty_names_give_way_to_ids() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write(
            "matrix.mtx",
            "%%MatrixMarket matrix coordinate integer general\n3 1 0\n",
        );
        write("barcodes.tsv", "c\n");
        write("features.tsv", "id1\tA\nid2\t\nid3\tC\n");
        let files = market::find(directory.path(), None).unwrap().unwrap();
        let var = features(&files).unwrap();
        let batch = var.read(0..3).unwrap();
        let names: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["A", "id2", "C"]);
        assert!(
            var.warnings()[0].contains("no name for 1 features"),
            "{:?}",
            var.warnings()
        );
    }
}
