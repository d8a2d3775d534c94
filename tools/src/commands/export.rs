//! `cellring export`: a store in, AnnData out.

use std::ops::Range;
use std::path::PathBuf;

use cellring_tools::export::{ExportOptions, ExportReport, export};
use cellring_tools::paths::check_file;
use cellring_tools::size::parse_size;

use crate::failure::Failure;
use crate::output::{self, Show};
use crate::progress;

/// Export a store to AnnData, with the element type and the order of genes of the source
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store, a directory made by `cellring convert`
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// The file to make
    #[arg(value_name = "OUT.h5ad")]
    out: PathBuf,
    /// Only the cells from A up to, not including, B
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    obs_range: Option<Range<u64>>,
    /// Memory by which temporary files are cut where cells are brought back into the source's order, as 500M or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    text.split_once("..")
        .and_then(|(start, end)| Some(number(start)?..number(end)?))
        .filter(|range| range.start <= range.end)
        .ok_or_else(|| "expected two numbers, the first not above the second, as 0..500".into())
}

impl Show for ExportReport {
    fn text(&self) -> String {
        format!(
            "{} cells x {} genes, {} values: {}, in {}",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes),
            output::seconds(self.seconds)
        )
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    check_file(&args.out, args.force)?;
    let options = ExportOptions {
        obs_range: args.obs_range,
        force: args.force,
        memory_bytes: args.memory,
    };
    let bar = progress::bar("exporting", 0, "cells");
    let report = export(&args.store, &args.out, &options, &|done, total| {
        progress::set(&bar, done, total)
    });
    bar.finish_and_clear();
    output::print(args.json, &report?)
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("0..500"), Ok(0..500));
        assert_eq!(parse_range("1_000..1_000"), Ok(1000..1000));
        for wrong in ["", "5", "5..", "..5", "6..5", "a..b", "-1..5"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }
}
