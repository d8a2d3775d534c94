//! `cellring verify`: whether a store is whole.

use std::time::Instant;

use cellring::store::verify;
use clap::value_parser;
use serde::Serialize;

use crate::failure::Failure;
use crate::options::StoreArg;
use crate::output::{self, Show};
use crate::progress;

/// Check every byte and every rule of the format; exit 0 only if the store is whole
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Threads that check [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Verified {
    whole: bool,
    n_obs: u64,
    nnz: u64,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    /// Of a linked store: whether each cell was compared with a checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_checksums: Option<bool>,
}

impl Show for Verified {
    fn text(&self) -> String {
        let vouched = match self.row_checksums {
            None => "",
            Some(true) => "; each cell has the checksum that it had when it was linked",
            Some(false) => {
                "; the files have the lengths, times and samples of bytes that they had when they were linked, and every value can be read; whether \
                 one was changed in place shows only in a store that was linked with --checksum"
            }
        };
        format!(
            "whole: {} cells, {} values and {} checked in {} ({}){vouched}",
            output::count(self.n_obs),
            output::count(self.nnz),
            output::bytes(self.bytes),
            output::seconds(self.seconds),
            output::rate(self.bytes_per_second)
        )
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let since = Instant::now();
    let store = args.store.open()?;
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = args.threads.map_or_else(cores, usize::from);
    let others = store.matrices().iter().map(|matrix| matrix.n_blocks());
    let n_blocks = store.n_blocks() + others.sum::<u64>();
    let bar = progress::bar("verifying", n_blocks, "blocks");
    let report = verify(&store, threads, &|done| bar.set_position(done));
    bar.finish_and_clear();
    let report = report?;
    let seconds = since.elapsed().as_secs_f64();
    let verified = Verified {
        whole: true,
        n_obs: report.n_obs,
        nnz: report.nnz,
        bytes: report.bytes,
        seconds,
        bytes_per_second: report.bytes as f64 / seconds.max(f64::MIN_POSITIVE),
        row_checksums: store.is_linked().then(|| store.manifest().has_row_checksums()),
    };
    output::print(args.json, &verified)
}
