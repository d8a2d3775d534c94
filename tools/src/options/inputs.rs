//! Options that say what is read of an input.

use cellring_anndata::OpenOptions;

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
