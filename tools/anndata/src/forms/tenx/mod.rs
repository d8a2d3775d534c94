//! What 10x Genomics and programs like theirs write: `.h5` files and Matrix Market.
//!
//! As scanpy reads them: genes are named by their symbols, `var` has `gene_ids`, `feature_types` and whatever else is said of the
//! features.

mod file;
mod kept;
mod market;
mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, StringArray};

use super::form::{FormKind, InputForm};
use crate::container::SourceFile;
use crate::error::{ReadError, Result};
use crate::left_out::{PartKind, Parts};
use crate::matrix::market::{Market, shape};
use crate::matrix::{MatrixSource, RowSorted, Selection};
use crate::open::{GROUP_OPTION, OpenOptions};
use crate::table::{self, TableSource};
use crate::workspace::Workspace;
use file::TenXFile;
use kept::{FEATURE_TYPES, GENE_IDS};
use market::MarketFiles;

/// The column of names of genes that kallisto and bustools give beside their ids.
const GENE_NAME: &str = "gene_name";

/// `.h5` files.
pub(super) struct TenXHdf5;

impl FormKind for TenXHdf5 {
    fn open_file(&self, file: &Arc<SourceFile>, options: &OpenOptions) -> Result<Option<Arc<dyn InputForm>>> {
        let found = TenXFile::open(file, options.genome.as_deref())?;
        Ok(found.map(|file| TenX::input_form(Stored::Hdf5(file), options)))
    }
}

/// A Matrix Market file, or a directory that holds one.
pub(super) struct MatrixMarket;

impl FormKind for MatrixMarket {
    fn open_path(&self, path: &Path, options: &OpenOptions) -> Result<Option<Arc<dyn InputForm>>> {
        let found = market::find(path, options.genome.as_deref())?;
        if let (Some(_), Some(_)) = (&found, &options.group) {
            return Err(ReadError::Inapplicable {
                file: path.to_owned(),
                option: GROUP_OPTION,
                detail: "Matrix Market has no groups".to_owned(),
            });
        }
        Ok(found.map(|files| TenX::input_form(Stored::Market(files), options)))
    }

    fn files(&self, path: &Path) -> Vec<PathBuf> {
        market::files(path)
    }

    fn looked_for(&self) -> Option<String> {
        Some(market::looked_for())
    }
}

/// An open input of one of the two, and which of its features are kept.
#[derive(Debug)]
struct TenX {
    stored: Stored,
    options: OpenOptions,
}

#[derive(Debug)]
enum Stored {
    Hdf5(TenXFile),
    Market(MarketFiles),
}

impl InputForm for TenX {
    fn matrix(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        if *selection != Selection::X {
            return Err(ReadError::NoMatrix {
                file: self.path().to_owned(),
                wanted: selection.path(),
                available: match &self.stored {
                    Stored::Hdf5(_) => "a file of 10x Genomics has one matrix, X",
                    Stored::Market(_) => "Matrix Market has one matrix, X",
                }
                .to_owned(),
            });
        }
        let matrix = match &self.stored {
            Stored::Hdf5(tenx) => tenx.matrix()?,
            Stored::Market(files) => {
                let n_named = (self.obs()?.n_rows(), self.all_features()?.n_rows());
                let market = Market::open(&files.matrix, n_named, files.has_cell_rows)?;
                MatrixSource::new(RowSorted::new(market, workspace)?)
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

    fn obs(&self) -> Result<TableSource> {
        match &self.stored {
            Stored::Hdf5(tenx) => tenx.obs(),
            Stored::Market(files) => {
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

    fn var(&self, _selection: &Selection) -> Result<TableSource> {
        let var = self.all_features()?;
        match self.kept(&var)? {
            Some(kept) => var.with_rows(&kept),
            None => Ok(match kept::several_types(self.path(), &var)? {
                Some(sentence) => var.warn(sentence),
                None => var,
            }),
        }
    }

    fn add_parts(&self, _taken: &[&Selection], parts: &mut Parts) -> Result<()> {
        if let Stored::Hdf5(tenx) = &self.stored {
            parts.add_outside(&tenx.file);
            for path in tenx.left_out()? {
                parts.add(PartKind::Other, path, false, 1);
            }
        }
        Ok(())
    }
}

impl TenX {
    fn input_form(stored: Stored, options: &OpenOptions) -> Arc<dyn InputForm> {
        let options = options.clone();
        Arc::new(Self { stored, options })
    }

    fn path(&self) -> &Path {
        match &self.stored {
            Stored::Hdf5(tenx) => tenx.file.path(),
            Stored::Market(files) => &files.matrix,
        }
    }

    fn kept(&self, var: &TableSource) -> Result<Option<Vec<u32>>> {
        let genome = match &self.stored {
            Stored::Hdf5(tenx) if tenx.is_one_genome() => None,
            Stored::Market(files) if files.is_of_genome => None,
            _ => self.options.genome.as_deref(),
        };
        kept::rows(self.path(), var, &self.options, genome)
    }

    fn all_features(&self) -> Result<TableSource> {
        match &self.stored {
            Stored::Hdf5(tenx) => tenx.var(),
            Stored::Market(files) => features(files),
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
    let (n_rows, n_columns) = shape(&files.matrix)?;
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
