//! `cellring bench`: the loader beside what bounds it, and the device alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::value_parser;

use crate::bench::raw::{RawConfig, measure};
use crate::bench::{Request, gpu, page, sweep};
use crate::failure::Failure;
use crate::options::{OrderArgs, ReadArgs, StoreArg, parse_seconds};
use crate::output;
use crate::paths::{check_file, check_input, write_file};
use crate::size::parse_size;

/// Measure the loader and what bounds it, or a device alone
///
/// With a STORE, the loader runs with each block size and fetch factor; then the same engine reads the same extents without
/// decoding: the device's ceiling. The ceiling of the cores is what they decode from memory. Before each run the shards
/// are dropped from the page cache, and rates are from the first minibatch on. With --report, every backend also reads the
/// shards at random with several read sizes and depths, and all of it is drawn on a page that a browser shows.
///
/// For a linked store, the reads are those of its file, and there is no ceiling of the cores, since its chunks are decoded only as they are
/// read. Its first cells are converted to a temporary store beside it, and both are measured, to show what converting would gain.
///
/// With --gpu, cells go on to a GPU as CSR: rates from pinned and from pageable memory, cells per second, and how far reading, decoding
/// and copying overlap.
///
/// With --raw FILE, random reads of one size from all over a file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store, a directory made by `cellring convert` or `cellring link`; or an .h5ad or zarr, which is linked automatically
    #[arg(value_name = "STORE", required_unless_present = "raw", conflicts_with = "raw")]
    store: Option<PathBuf>,
    /// The directory below which a linked store looks for its files [default: the one that the store is in]
    #[arg(long, value_name = "DIR", conflicts_with = "raw")]
    source_root: Option<PathBuf>,
    /// Read this file at random instead of a store
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Bytes of each read of --raw, such as 4KiB; past the page cache a multiple of the device's sector
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_size)]
    read_size: u64,
    /// Length of each run in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    seconds: Duration,
    /// Block sizes to measure
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16,64,256,1024", value_parser = value_parser!(u64).range(1..))]
    block_size: Vec<u64>,
    /// Fetch factors to measure [default: --fetch-factor alone, and with --report also 16 and 64]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = value_parser!(u32).range(1..))]
    fetch_factors: Vec<u32>,
    /// Obs column whose mixture within minibatches is measured [default: 64 equal stretches of the store]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Write all results as a page with plots
    #[arg(long, value_name = "FILE.html", conflicts_with = "raw")]
    report: Option<PathBuf>,
    /// Replace a page that exists
    #[arg(long, requires = "report")]
    force: bool,
    /// Measure copies to a GPU, and cells from the store to CSR there: each step alone, and how the steps overlap
    #[arg(long, conflicts_with_all = ["raw", "report", "column", "fetch_factors"])]
    gpu: bool,
    /// Number of the GPU
    #[arg(long, value_name = "N", default_value_t = 0, requires = "gpu")]
    gpu_device: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if let Some(file) = &args.raw {
        return raw(&args, file);
    }
    if let Some(path) = &args.report {
        check_file(path, args.force)?;
    }
    let request = Request {
        // The parser wants one of the two.
        store: StoreArg::new(args.store.unwrap_or_default(), args.source_root),
        block_sizes: args.block_size,
        fetch_factors: args.fetch_factors,
        column: args.column,
        every_backend: args.report.is_some(),
        seconds: args.seconds,
        order: args.order,
        read: args.read,
    };
    if args.gpu {
        return output::print(args.json, &gpu::run(&request, args.gpu_device)?);
    }
    let report = sweep::run(&request)?;
    if let Some(path) = &args.report {
        let page = page::page(&report)?;
        write_file(path, page.as_bytes(), args.force)?;
    }
    if let Some(warning) = &report.too_small {
        output::warning(warning);
    }
    output::print(args.json, &report)
}

fn raw(args: &Args, file: &Path) -> Result<(), Failure> {
    check_input(file)?;
    if args.read_size == 0 {
        return Err(Failure::Usage("--read-size must be at least one byte".into()));
    }
    let config = RawConfig {
        backend: args.read.backend(),
        direct: args.read.direct(),
        read_bytes: args.read_size,
        depth: args.read.depth(),
        time: args.seconds,
        seed: args.order.seed(),
        once: false,
    };
    output::print(args.json, &measure(&[file.to_owned()], &config)?)
}
