//! `cellring merge`: the parts of a store in, the store out.

use std::path::PathBuf;
use std::time::Instant;

use cellring::Store;
use cellring::writer::{merge, parts_of};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Show};
use crate::progress;

/// Make a store from its parts, which `convert --part` made
///
/// The blocks are not copied: the parts' shards become those of the store, so the store must be on the same filesystem. Every cell is
/// verified before the store gets its name. The parts are removed only then; a merge that was interrupted is
/// simply run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The parts, in any order [default: all STORE.part-*-of-*]
    #[arg(value_name = "PART")]
    parts: Vec<PathBuf>,
    /// The store to make, a directory
    #[arg(short, long, value_name = "STORE")]
    output: PathBuf,
    /// Replace an existing store
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    parts: u32,
    /// Whether an earlier run had made the store, and only parts were left to be removed.
    was_done: bool,
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
    bytes: u64,
    seconds: f64,
}

impl Show for Report {
    fn text(&self) -> String {
        let what = match self.was_done {
            true => "was made before of",
            false => "made of",
        };
        format!(
            "{what} {} parts: {} cells x {} genes, {} values, {}, in {}",
            self.parts,
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes),
            output::seconds(self.seconds)
        )
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let since = Instant::now();
    let parts = match args.parts.is_empty() {
        true => parts_of(&args.output)?,
        false => args.parts,
    };
    let bar = progress::bar("verifying", 0, "blocks");
    let merged = merge(&parts, &args.output, args.force, &|done, total| {
        progress::set(&bar, done, total);
    });
    bar.finish_and_clear();
    let merged = merged?;
    let store = Store::open(&args.output)?;
    let report = Report {
        parts: merged.parts,
        was_done: merged.was_done,
        n_obs: store.n_obs(),
        n_vars: store.n_vars(),
        nnz: merged.manifest.nnz,
        bytes: store.total_bytes(),
        seconds: since.elapsed().as_secs_f64(),
    };
    output::print(args.json, &report)
}
