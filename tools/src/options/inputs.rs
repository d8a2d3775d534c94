//! Options that say what is read of an input.

use std::collections::HashSet;

use cellring_anndata::{OpenOptions, Selection};

use crate::failure::Failure;

/// Which part of each input is read.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// Read the AnnData in this group of each input, such as mod/rna of MuData (.h5mu) or tables/table of SpatialData
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// Take only features of this genome (10x Genomics, Matrix Market)
    #[arg(long, value_name = "NAME")]
    genome: Option<String>,
    /// Take only features of these types, such as "Gene Expression" (10x Genomics, Matrix Market) [default: all]
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    feature_types: Vec<String>,
    /// Read an .h5ad or .h5 file even if it says that it is open for writing; the last writes may be missing or wrong
    #[arg(long)]
    force_read: bool,
}

impl From<InputArgs> for OpenOptions {
    fn from(args: InputArgs) -> Self {
        Self {
            group: args.group,
            genome: args.genome,
            feature_types: args.feature_types,
            force_read: args.force_read,
        }
    }
}

/// The matrices that are asked for, the first one first.
pub(crate) fn selections(
    x: bool,
    layers: &[String],
    raw: bool,
    obsm: &[String],
) -> Result<Vec<Selection>, Failure> {
    let layers = layers.iter().cloned().map(Selection::Layer);
    let mut selections: Vec<Selection> = layers.chain(raw.then_some(Selection::Raw)).collect();
    if x || selections.is_empty() {
        selections.insert(0, Selection::X);
    }
    selections.extend(obsm.iter().cloned().map(Selection::Obsm));
    let mut seen = HashSet::new();
    match selections.iter().find(|selection| !seen.insert(*selection)) {
        None => Ok(selections),
        Some(twice) => Err(Failure::Usage(format!(
            "{} is given twice; give it once",
            twice.path()
        ))),
    }
}
