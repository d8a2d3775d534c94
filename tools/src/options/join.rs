//! How several inputs become one.

use cellring_anndata::{JoinOptions, VarJoin};
use clap::ValueEnum;

/// How several inputs become one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Genes of several inputs: the same in all, those that all have (inner), or those that any has (outer)
    ///
    /// Genes that an input lacks are zero in its cells. Genes are identified by their names, or by --var-key.
    #[arg(long, value_enum, default_value_t = JoinName::Same)]
    join: JoinName,
    /// Identify the genes of several inputs by this column of var, such as gene_ids
    #[arg(long, value_name = "COLUMN")]
    var_key: Option<String>,
    /// Add a categorical column to obs: which input a cell comes from
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// One label for each input [default: its name without extension]
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',')]
    label_values: Option<Vec<String>>,
    /// Make the names of cells unique: append SEP and the label of their input
    #[arg(long, value_name = "SEP", allow_hyphen_values = true)]
    index_unique: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum JoinName {
    Same,
    Inner,
    Outer,
}

impl From<JoinArgs> for JoinOptions {
    fn from(args: JoinArgs) -> Self {
        let var = match args.join {
            JoinName::Same => VarJoin::Same,
            JoinName::Inner => VarJoin::Inner,
            JoinName::Outer => VarJoin::Outer,
        };
        Self::default()
            .var(var)
            .var_key(args.var_key)
            .label_column(args.label_column)
            .labels(args.label_values)
            .index_unique(args.index_unique)
    }
}
