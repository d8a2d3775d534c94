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
    /// Read an .h5ad or .h5 file even if a program has it open for writing, or had when it was killed; the last writes may be missing or wrong
    #[arg(long)]
    force_read: bool,
}

impl From<InputArgs> for OpenOptions {
    fn from(args: InputArgs) -> Self {
        Self::default()
            .group(args.group)
            .genome(args.genome)
            .feature_types(args.feature_types)
            .force_read(args.force_read)
    }
}

/// Which matrices are taken.
#[derive(Debug, clap::Args)]
pub(crate) struct MatrixArgs {
    /// Take X; the default, unless --layer or --raw is given
    #[arg(long)]
    x: bool,
    /// Take this layer; may be repeated
    ///
    /// If you take several, the first in the order --x, --layer, --raw becomes the matrix of the store. The others are stored next to it
    /// and can be read together with it, for the same cells.
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,
    /// Take raw/X and raw/var
    #[arg(long)]
    raw: bool,
}

impl MatrixArgs {
    /// Whether none was named, so that X is taken.
    pub(crate) fn is_default(&self) -> bool {
        !self.x && self.layer.is_empty() && !self.raw
    }

    /// The matrices that are asked for, the first one first; those of `obsm` last.
    pub(crate) fn selections(&self, obsm: &[String]) -> Result<Vec<Selection>, Failure> {
        let layers = self.layer.iter().cloned().map(Selection::Layer);
        let mut selections: Vec<Selection> = layers.chain(self.raw.then_some(Selection::Raw)).collect();
        if self.x || selections.is_empty() {
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
}
