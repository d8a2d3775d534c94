//! `cellring synth`: makes a realistic `.h5ad` of any size.

use std::path::PathBuf;
use std::time::Instant;

use cellring_tools::synth::Synth;
use clap::value_parser;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Show};
use crate::progress;

/// Make an .h5ad of synthetic counts with the statistics of real atlases
///
/// The same numbers and seed give the same data set on every machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to make
    #[arg(value_name = "OUT.h5ad")]
    out: PathBuf,
    /// Number of cells
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..1 << 48))]
    n_obs: u64,
    /// Number of genes
    #[arg(long, value_name = "G", value_parser = value_parser!(u32).range(1..1 << 31))]
    n_vars: u32,
    /// Seed of all randomness
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Made {
    path: PathBuf,
    n_obs: u64,
    n_vars: u32,
    nnz: u64,
    seed: u64,
    bytes: u64,
    seconds: f64,
}

impl Show for Made {
    fn text(&self) -> String {
        format!(
            "{}: {} cells x {} genes, {} values, {}, made in {}",
            self.path.display(),
            output::count(self.n_obs),
            output::count(self.n_vars.into()),
            output::count(self.nnz),
            output::bytes(self.bytes),
            output::seconds(self.seconds)
        )
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let path = args.out;
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => {
            return Err(Failure::because(format!(
                "{}: is a directory; give the name of a file",
                path.display()
            )));
        }
        Ok(_) if !args.force => {
            return Err(Failure::because(format!(
                "{}: exists already; give --force to replace it, or another name",
                path.display()
            )));
        }
        _ => (),
    }
    let since = Instant::now();
    let synth = Synth::new(args.n_obs, args.n_vars, args.seed);
    let bar = progress::bar("making", args.n_obs, "cells");
    let nnz = synth.write_h5ad(&path, |rows| bar.set_position(rows));
    bar.finish_and_clear();
    let made = Made {
        nnz: nnz?,
        n_obs: args.n_obs,
        n_vars: args.n_vars,
        seed: args.seed,
        bytes: std::fs::metadata(&path)?.len(),
        seconds: since.elapsed().as_secs_f64(),
        path,
    };
    output::print(args.json, &made)
}
