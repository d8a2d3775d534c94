//! `cellring link`: a store whose values stay in the .h5ad.

use std::path::PathBuf;

use cellring_anndata::LeftOut;

use crate::failure::Failure;
use crate::link::{LinkOptions, LinkReport, link};
use crate::options::{InputArgs, selections};
use crate::output::{self, Show};
use crate::paths::{check_input, check_store};

/// Link an .h5ad as a store, without converting it
///
/// It takes seconds. The values stay where they are, and are read there by everything that reads stores; the index has about two bytes
/// per cell, and obs and var are copied. It is right for trying things out, for files that change, and where there is no room for a copy;
/// for months of training convert, which is several times as fast to read.
///
/// Sparse matrices that are stored by cells can be linked, with any of the usual compressions: CSR in .h5ad, and the .h5 files of 10x
/// Genomics. When the file changes, the store says so, and does not read it: link it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// AnnData (.h5ad), or a 10x Genomics .h5 file
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    #[command(flatten)]
    open: InputArgs,
    /// The store to make, a directory
    #[arg(short, long, value_name = "STORE")]
    output: PathBuf,
    /// Take X; the default, unless --layer or --raw is given
    #[arg(long)]
    x: bool,
    /// Take this layer; may be repeated
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,
    /// Take raw/X and raw/var
    #[arg(long)]
    raw: bool,
    /// A directory that the input is below [default: the one that the store is in]
    ///
    /// A store leads only to files below it: whoever reads the store has to name it, too.
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,
    /// Replace an existing store, as when the input has changed
    #[arg(long, alias = "refresh")]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show for LinkReport {
    fn text(&self) -> String {
        let chunks = match self.chunk_values {
            None => "not compressed".to_owned(),
            Some(values) => format!("in chunks of {} values", output::count(values)),
        };
        let mut lines = vec![format!(
            "{} cells x {} genes, {} stored values, {chunks}: {} ({:.2} bytes per cell for the index) lead to {} ({}), in {}",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes),
            self.index_bytes_per_obs,
            self.source.display(),
            output::bytes(self.source_bytes),
            output::seconds(self.seconds),
        )];
        if !self.matrices.is_empty() {
            lines.push(format!(
                "matrices: {}; values are those of the first",
                self.matrices.join(", ")
            ));
        }
        lines.extend(LeftOut::sentence(&self.left_out, 1));
        lines.join("\n")
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    check_store(&args.output, args.force)?;
    check_input(&args.input)?;
    let mut selections = selections(args.x, &args.layer, args.raw, &[])?.into_iter();
    let options = LinkOptions {
        open: args.open.into(),
        selection: selections.next().unwrap_or_default(),
        other_matrices: selections.collect(),
        source_root: args.source_root,
        force: args.force,
    };
    let report = link(&args.input, &args.output, &options)?;
    report.warnings.iter().for_each(output::say);
    output::print(args.json, &report)
}
