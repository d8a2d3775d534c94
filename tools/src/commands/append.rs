//! `cellring append`: more cells into a store that is there.

use std::path::PathBuf;

use crate::convert::{AppendOptions, AppendReport, LeftOut, append};
use crate::paths::check_input;
use crate::size::parse_size;
use cellring_anndata::Selection;
use clap::value_parser;

use crate::failure::Failure;
use crate::options::InputArgs;
use crate::output::{self, Show};
use crate::progress;

/// Append cells to a store without rewriting the cells that it holds
///
/// Genes are found by name; those that an input lacks are zero. The columns of obs are those of the store: others are left out
/// and missing ones are missing, both with a warning, and new categories are added after the existing ones. Readers that have
/// the store open still see its old contents; readers that open it afterwards see everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// What to append, of any form that `convert` reads
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    open: InputArgs,
    /// Take this layer [default: the matrix that the store was made from]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["raw", "x"])]
    layer: Option<String>,
    /// Take raw/X and raw/var
    #[arg(long, conflicts_with = "x")]
    raw: bool,
    /// Take X
    #[arg(long)]
    x: bool,
    /// Leave out genes that the store does not have, instead of refusing them
    #[arg(long)]
    ignore_new_genes: bool,
    /// Begin a new shard when one has reached this size, such as 4GiB [default: 32GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shard_size: Option<u64>,
    /// Threads that decode, and as many that encode [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// The most memory to use, such as 500M or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show for AppendReport {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} cells appended: {} cells, {} values, {} now, in {} with {} of memory",
            output::count(self.n_obs_appended),
            output::count(self.n_obs),
            output::count(self.nnz),
            output::bytes(self.bytes),
            output::seconds(self.seconds),
            output::bytes(self.peak_rss_bytes),
        )];
        if self.n_genes_ignored > 0 {
            lines.push(format!(
                "{} genes were left out",
                output::count(self.n_genes_ignored)
            ));
        }
        lines.extend(LeftOut::sentence(&self.left_out, self.n_inputs));
        lines.join("\n")
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    args.inputs.iter().try_for_each(|path| check_input(path))?;
    let options = AppendOptions {
        open: args.open.into(),
        selection: match (args.layer, args.raw, args.x) {
            (Some(name), ..) => Some(Selection::Layer(name)),
            (None, true, _) => Some(Selection::Raw),
            (None, false, true) => Some(Selection::X),
            (None, false, false) => None,
        },
        ignore_new_genes: args.ignore_new_genes,
        shard_bytes: args.shard_size,
        threads: args.threads.map(|n| n as usize),
        memory_bytes: args.memory,
    };
    let bar = progress::percent("appending");
    let report = append(&args.store, &args.inputs, &options, &|done, total| {
        progress::set(&bar, done, total)
    });
    bar.finish_and_clear();
    let report = report?;
    report.warnings.iter().for_each(output::say);
    output::print(args.json, &report)
}
