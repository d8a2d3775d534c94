//! `cellring synth`: makes a realistic `.h5ad` or store of any size.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::paths::{check_file, check_store};
use crate::synth::{StoreOptions, Synth};
use cellring::Store;
use cellring::format::Encoding;
use cellring::format::constants::{DEFAULT_BLOCK_SIZE, MAX_BLOCK_SIZE};
use clap::value_parser;
use serde::Serialize;

use crate::commands::encoding::encoding_parser;
use crate::failure::Failure;
use crate::output::{self, Show};
use crate::progress;

/// Make an .h5ad or a store of synthetic counts with the statistics of real atlases
///
/// The same numbers and seed give the same data set on every machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to make: a file if the name ends in .h5ad, else a store, whose name should end in .cellring
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Number of cells
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..1 << 48))]
    n_obs: u64,
    /// Number of genes
    #[arg(long, value_name = "G", value_parser = value_parser!(u32).range(1..=MAX_GENES))]
    n_vars: u32,
    /// Seed of all randomness
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Encoding of a store: packed or raw [default: packed]
    #[arg(long, value_name = "NAME", value_parser = encoding_parser())]
    encoding: Option<Encoding>,
    /// Cells in a block of a store [default: 256]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(MAX_BLOCK_SIZE)))]
    block_size: Option<u32>,
    /// Replace what exists
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Genes are held in memory, some 100 bytes each.
const MAX_GENES: i64 = 1 << 24;

#[derive(Debug, Serialize)]
struct SynthReport {
    path: PathBuf,
    n_obs: u64,
    n_vars: u32,
    nnz: u64,
    seed: u64,
    bytes: u64,
    seconds: f64,
}

impl Show for SynthReport {
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
    let path = args.out.clone();
    let since = Instant::now();
    let (nnz, bytes) = match path.extension() {
        Some(ending) if ending.eq_ignore_ascii_case("h5ad") => make_file(&path, &args)?,
        Some(ending) if is_of_file(ending) => {
            return Err(Failure::Usage(format!(
                "{}: the name ends in .{}, but synth makes .h5ad files, and stores, whose names should end in .cellring",
                path.display(),
                ending.display()
            )));
        }
        _ => make_store(&path, &args)?,
    };
    let made = SynthReport {
        nnz,
        n_obs: args.n_obs,
        n_vars: args.n_vars,
        seed: args.seed,
        bytes,
        seconds: since.elapsed().as_secs_f64(),
        path,
    };
    output::print(args.json, &made)
}

/// Whether a name with this ending is meant for a file, or for zarr: a directory that is a store should not be called so.
fn is_of_file(ending: &OsStr) -> bool {
    let ending = ending.to_string_lossy().to_ascii_lowercase();
    let starts = ["h5", "hdf", "hda", "zarr", "loom", "mtx", "zip", "gz"];
    starts.iter().any(|start| ending.starts_with(start))
}

/// Returns the number of values and of bytes.
fn make_file(path: &Path, args: &Args) -> Result<(u64, u64), Failure> {
    if args.encoding.is_some() || args.block_size.is_some() {
        return Err(Failure::Usage(
            "--encoding and --block-size are for stores, whose names do not end in .h5ad".into(),
        ));
    }
    check_file(path, args.force)?;
    let bar = progress::bar("making", args.n_obs, "cells");
    let synth = Synth::new(args.n_obs, args.n_vars, args.seed);
    let nnz = synth.write_h5ad(path, |rows| bar.set_position(rows));
    bar.finish_and_clear();
    Ok((nnz?, std::fs::metadata(path)?.len()))
}

/// As [`make_file`].
fn make_store(path: &Path, args: &Args) -> Result<(u64, u64), Failure> {
    check_store(path, args.force)?;
    let options = StoreOptions {
        encoding: args.encoding.unwrap_or(Encoding::Packed),
        block_size: args.block_size.unwrap_or(DEFAULT_BLOCK_SIZE),
        replace: args.force,
        ..StoreOptions::default()
    };
    let bar = progress::bar("making", args.n_obs, "cells");
    let synth = Synth::new(args.n_obs, args.n_vars, args.seed);
    let made = synth.write_store(path, &options, |done, work| {
        bar.set_length(work);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok((made?.nnz, Store::open(path)?.total_bytes()))
}
