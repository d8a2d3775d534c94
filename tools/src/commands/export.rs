//! `cellring export`: a store in, AnnData out.

use std::ops::Range;
use std::path::PathBuf;

use crate::export::{ContainerChoice, ExportOptions, ExportReport, FormChoice, export};
use crate::paths::check_file;
use crate::size::parse_size;
use cellring::writer::check_directory;
use cellring_anndata::write::{Compression, Container, ZarrFormat};
use clap::value_parser;

use crate::failure::Failure;
use crate::output::{self, Show};
use crate::progress;

/// Export a store to AnnData, with the element types, the order of genes and the forms of the source
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store, a directory made by `cellring convert` or `cellring link`
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// What to write: a zarr directory if the name ends in .zarr, an HDF5 file if it ends in .h5ad, .h5, .hdf5 or .hdf
    #[arg(value_name = "OUT.h5ad|OUT.zarr")]
    out: PathBuf,
    /// The directory below which a linked store looks for its files [default: the one that the store is in]
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,
    /// Only the cells from A up to, but not including, B
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    obs_range: Option<Range<u64>>,
    /// What to write, whatever the name: h5ad or zarr
    #[arg(long, value_name = "KIND", value_parser = str::parse::<ContainerChoice>)]
    container: Option<ContainerChoice>,
    /// Form of X, layers and raw: source (each as it was), csr, csc or dense
    #[arg(long, value_name = "FORM", default_value = "source", value_parser = str::parse::<FormChoice>)]
    form: FormChoice,
    /// Compression of all arrays: none, gzip, lzf (only h5py reads it) or zstd (HDF5 needs hdf5plugin), gzip:9 or zstd:19 for a
    /// level [default: none in .h5ad, zstd in .zarr]
    #[arg(long, value_name = "NAME[:LEVEL]", value_parser = str::parse::<Compression>)]
    compression: Option<Compression>,
    /// Elements of a chunk of each array; of dense matrices a chunk is as many whole rows as hold that many [default: by the length of
    /// the array]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1 << 24))]
    chunk: Option<u32>,
    /// Version of the zarr format, 2 or 3; anndata before 0.12 reads only 2 [default: 3]
    #[arg(long, value_name = "VERSION", value_parser = ["2", "3"])]
    zarr_format: Option<String>,
    /// Memory limit for each piece of the temporary files that restore the source's order of cells or write a matrix by columns, such as
    /// 500M or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Replace an existing file or zarr directory
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
    let options = ExportOptions {
        obs_range: args.obs_range,
        source_root: args.source_root,
        force: args.force,
        memory_bytes: args.memory,
        container: args.container,
        form: args.form,
        compression: args.compression,
        chunk_len: args.chunk,
        zarr_format: match args.zarr_format.as_deref() {
            Some("2") => ZarrFormat::V2,
            _ => ZarrFormat::V3,
        },
    };
    let container = options
        .container_of(&args.out)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let is_zarr = matches!(container, Container::Zarr(_));
    if args.zarr_format.is_some() && !is_zarr {
        return Err(Failure::Usage(
            "--zarr-format is for zarr directories, whose names end in .zarr; leave it out".into(),
        ));
    }
    if is_zarr && args.compression == Some(Compression::Lzf) {
        return Err(Failure::Usage(
            "--compression lzf is for .h5ad; zarr takes none, gzip or zstd".into(),
        ));
    }
    // What a directory of zarr may replace the export itself says.
    match is_zarr {
        true => check_directory(&args.out)?,
        false => check_file(&args.out, args.force)?,
    }
    let bar = progress::bar("exporting", 0, "cells");
    let report = export(&args.store, &args.out, &options, &|done, total| {
        progress::set(&bar, done, total)
    });
    bar.finish_and_clear();
    let report = report?;
    for difference in &report.differences {
        output::warning(difference);
    }
    output::print(args.json, &report)
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
