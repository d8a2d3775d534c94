//! Finds a Matrix Market file and the tables of names beside it, as the programs write them that people have them from.
//!
//! | written by | matrix | barcodes | features |
//! |---|---|---|---|
//! | CellRanger, STARsolo | `matrix.mtx` | `barcodes.tsv` | `features.tsv`, `genes.tsv` |
//! | deposits at GEO | `SAMPLE_matrix.mtx` | `SAMPLE_barcodes.tsv` | `SAMPLE_features.tsv`, `SAMPLE_genes.tsv` |
//! | kallisto and bustools | `cells_x_genes.mtx` | `cells_x_genes.barcodes.txt` | `cells_x_genes.genes.txt` |
//! | alevin | `quants_mat.mtx` | `quants_mat_rows.txt` | `quants_mat_cols.txt` |
//!
//! Each may be gzipped.

use std::path::{Path, PathBuf};

use cellring_core::few;

use crate::error::{ReadError, Result};
use crate::open::GENOME_OPTION;

/// How names of matrices end, the newer form first.
const MATRIX_ENDS: [&str; 2] = [".mtx.gz", ".mtx"];

/// How names of tables end, the newer form first.
const TABLE_ENDS: [&str; 4] = [".tsv.gz", ".tsv", ".txt.gz", ".txt"];

/// What tables of cells are called, and tables of genes. `rows` and `cols` are those of a matrix of cells by genes.
const CELLS: [&str; 3] = ["barcodes", "cells", "rows"];
const GENES: [&str; 3] = ["features", "genes", "cols"];

/// The name that is taken where a directory holds other matrices too, such as counts of reads of several genes.
const MAIN: &str = "matrix";

/// Directories that programs put the directory of a matrix into, and how deep they lie in each other.
const FOLDERS: [&str; 22] = [
    "outs",
    "count",
    "filtered_feature_bc_matrix",
    "raw_feature_bc_matrix",
    "sample_filtered_feature_bc_matrix",
    "sample_raw_feature_bc_matrix",
    "filtered_gene_bc_matrices",
    "raw_gene_bc_matrices",
    "filtered_gene_bc_matrices_mex",
    "raw_gene_bc_matrices_mex",
    "matrix",
    "mtx",
    "filtered",
    "raw",
    "Solo.out",
    "Gene",
    "GeneFull",
    "umi_count",
    "read_count",
    "counts_filtered",
    "counts_unfiltered",
    "alevin",
];
const MAX_DEPTH: usize = 4;

/// Directories of these hold one directory for each genome.
const GENOME_FOLDERS: &str = "_gene_bc_matrices";

/// Matrices that a message shows, and that are looked for at all.
const SHOWN: usize = 6;
const MAX_FOUND: usize = 1000;

/// The files of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarketFiles {
    pub(super) matrix: PathBuf,
    pub(super) barcodes: PathBuf,
    pub(super) features: PathBuf,
    /// Names of the genes where `features` holds only their ids, as kallisto and bustools write them.
    pub(super) gene_names: Option<PathBuf>,
    /// Whether a matrix that is as wide as long has the cells as its rows.
    pub(super) has_cell_rows: bool,
    /// Whether the genome that was asked for chose the directory.
    pub(super) is_of_genome: bool,
}

/// Finds the matrix that a path means: a file of that form, or a directory that holds one, perhaps further down. `None` if there
/// is none.
pub(crate) fn find(path: &Path, genome: Option<&str>) -> Result<Option<MarketFiles>> {
    if path.is_file() {
        return match stem(path) {
            Some(_) => beside(path).map(Some),
            None => Ok(None),
        };
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let mut found = Vec::new();
    search(path, 0, &mut found)?;
    found.sort();
    let mut is_of_genome = false;
    let parent_is = |matrix: &PathBuf, genome: &str| {
        matrix
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|name| name == genome)
    };
    if let Some(genome) = genome
        && found.iter().any(|matrix| parent_is(matrix, genome))
    {
        found.retain(|matrix| parent_is(matrix, genome));
        is_of_genome = true;
    }
    let are_of_genomes = found.iter().all(|matrix| in_genome_folder(matrix));
    if let Some(genome) = genome.filter(|_| found.len() > 1 && are_of_genomes && !is_of_genome) {
        let of = |matrix: &PathBuf| {
            matrix
                .parent()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy().into_owned())
        };
        let mut genomes: Vec<String> = found.iter().filter_map(of).collect();
        genomes.sort();
        genomes.dedup();
        return Err(ReadError::Inapplicable {
            file: path.to_owned(),
            option: GENOME_OPTION,
            detail: format!("it has no genome {genome}, but {}", few(genomes, SHOWN)),
        });
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(MarketFiles {
            is_of_genome,
            ..beside(one)?
        })),
        several => Err(ReadError::Choice {
            file: path.to_owned(),
            found: format!("{} matrices ({})", several.len(), shown(path, several)),
            remedy: match are_of_genomes && genome.is_none() {
                true => format!("name the one to convert instead, or its genome with {GENOME_OPTION}"),
                false => "name the one to convert instead".to_owned(),
            },
        }),
    }
}

/// Everything that belongs to the matrix at a path, if it is the path of one.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    match path.is_file().then(|| find(path, None)) {
        Some(Ok(Some(files))) => [files.matrix, files.barcodes, files.features]
            .into_iter()
            .chain(files.gene_names)
            .collect(),
        _ => Vec::new(),
    }
}

/// Where matrices are looked for, for a message.
pub(crate) fn looked_for() -> String {
    format!(
        "matrix.mtx, plain or gzipped, here or in {}",
        FOLDERS[..4].join(", ")
    )
}

fn in_genome_folder(matrix: &Path) -> bool {
    let folder = matrix.ancestors().nth(2).and_then(Path::file_name);
    folder.is_some_and(|name| name.to_string_lossy().contains(GENOME_FOLDERS))
}

/// Names of matrices within a directory.
fn shown(directory: &Path, matrices: &[PathBuf]) -> String {
    let within = |path: &PathBuf| path.strip_prefix(directory).unwrap_or(path).display().to_string();
    few(matrices.iter().map(within), SHOWN)
}

/// The name of a matrix without its ending; `None` for other files.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = MATRIX_ENDS.iter().find_map(|end| name.strip_suffix(end))?;
    (!stem.starts_with('.')).then(|| stem.to_owned())
}

/// The matrices of a directory; where it holds none, those of the directories in it that programs make.
fn search(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let io_error = |source| ReadError::Io {
        file: directory.to_owned(),
        source,
    };
    let (mut stems, mut folders) = (Vec::new(), Vec::new());
    let has_genomes = |name: &Path| {
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        name.contains(GENOME_FOLDERS)
    };
    for entry in directory.read_dir().map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if let Some(stem) = stem(&path).filter(|_| path.is_file()) {
            if stems.len() < MAX_FOUND && !stems.contains(&stem) {
                stems.push(stem);
            }
        } else if depth < MAX_DEPTH
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
            && (FOLDERS.contains(&name) || has_genomes(directory))
            && path.is_dir()
        {
            folders.push(path);
        }
    }
    if stems.iter().any(|stem| stem == MAIN) {
        stems = vec![MAIN.to_owned()];
    }
    for stem in &stems {
        let names = MATRIX_ENDS
            .iter()
            .map(|end| directory.join(format!("{stem}{end}")));
        found.extend({ names }.find(|path| path.is_file()));
    }
    if stems.is_empty() {
        for folder in folders {
            if found.len() < MAX_FOUND {
                search(&folder, depth + 1, found)?;
            }
        }
    }
    Ok(())
}

/// The tables beside a matrix.
fn beside(matrix: &Path) -> Result<MarketFiles> {
    let stem = stem(matrix).unwrap_or_default();
    let directory = matrix.parent().unwrap_or(Path::new(""));
    // Longer names first: a file of this matrix rather than one that serves several.
    let mut prefixes: Vec<String> = ['.', '_', '-']
        .iter()
        .map(|separator| format!("{stem}{separator}"))
        .collect();
    let end_of_prefix = stem.rfind(['_', '.', '-']).map_or(0, |at| at + 1);
    prefixes.push(match stem.strip_suffix(MAIN) {
        Some(prefix) => prefix.to_owned(),
        None => stem[..end_of_prefix].to_owned(),
    });
    prefixes.push(String::new());
    let find = |words: &[&'static str]| {
        let names = prefixes.iter().flat_map(|prefix| {
            words.iter().flat_map(move |word| {
                TABLE_ENDS
                    .iter()
                    .map(move |end| (format!("{prefix}{word}{end}"), *word))
            })
        });
        { names }
            .map(|(name, word)| (directory.join(name), word))
            .find(|(path, _)| path.is_file())
    };
    let missing = |words: &[&str; 3]| ReadError::Missing {
        file: matrix.to_owned(),
        object: format!("{}{}.tsv", prefixes[3], words[0]),
        expected: "it next to the matrix, plain or gzipped, as 10x Genomics writes it",
    };
    let (barcodes, cells) = find(&CELLS).ok_or_else(|| missing(&CELLS))?;
    let (features, _) = find(&GENES).ok_or_else(|| missing(&GENES))?;
    let with_ids = format!("{stem}.genes.txt");
    let names = directory.join(format!("{stem}.genes.names.txt"));
    let is_of_bustools = features.file_name().is_some_and(|name| *name == *with_ids);
    Ok(MarketFiles {
        matrix: matrix.to_owned(),
        has_cell_rows: is_of_bustools || cells == "rows",
        gene_names: (is_of_bustools && names.is_file()).then_some(names),
        barcodes,
        features,
        is_of_genome: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genome_that_is_not_there_is_refused_with_those_that_are() {
        let directory = tempfile::tempdir().unwrap();
        for genome in ["hg19", "mm10"] {
            let of_genome = directory.path().join("filtered_gene_bc_matrices").join(genome);
            std::fs::create_dir_all(&of_genome).unwrap();
            for name in ["matrix.mtx", "barcodes.tsv", "genes.tsv"] {
                std::fs::write(of_genome.join(name), "").unwrap();
            }
        }
        let found = find(directory.path(), Some("mm10")).unwrap().unwrap();
        assert!(found.is_of_genome && found.matrix.ends_with("mm10/matrix.mtx"));
        let message = |genome| find(directory.path(), genome).unwrap_err().to_string();
        let expected = "it has no genome zz, but hg19, mm10";
        assert!(message(Some("zz")).contains(expected), "{}", message(Some("zz")));
        assert!(message(None).contains("2 matrices"), "{}", message(None));
    }
}
