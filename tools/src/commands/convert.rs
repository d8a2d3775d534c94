//! `cellring convert`: AnnData in, a store out.

use std::path::PathBuf;

use crate::convert::{ConvertOptions, ConvertReport, LeftOut, ObsOrder, Origin, Parts, convert};
use crate::paths::{check_input, check_store};
use crate::size::parse_size;
use cellring::format::constants::{DEFAULT_BLOCK_SIZE, MAX_BLOCK_SIZE};
use cellring::format::{Encoding, VarOrder};
use cellring::writer::check_directory;
use clap::{ValueEnum, value_parser};

use crate::commands::encoding::encoding_parser;
use crate::failure::Failure;
use crate::options::{InputArgs, JoinArgs, MatrixArgs};
use crate::output::{self, Show};
use crate::progress;

/// Convert AnnData to a store
///
/// Several inputs, in any of these forms, become one store with the cells of all, one input after the other.
///
/// The store appears under its name when it is complete, and not before. A matrix that is not stored by cells (CSC, Matrix
/// Market), or is to be stored in another order, passes through a temporary file next to the store, of a few bytes for each entry.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// AnnData (.h5ad, a zarr directory or .zarr.zip), a 10x Genomics .h5 file, or Matrix Market (its directory or the
    /// .mtx file); several become one store. Or one linked store: the matrices of its file that were linked
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    open: InputArgs,
    /// The store to make, a directory
    #[arg(short, long, value_name = "STORE")]
    output: PathBuf,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    matrices: MatrixArgs,
    /// Take this array of obsm as well; may be repeated
    #[arg(long, value_name = "NAME")]
    obsm: Vec<String>,
    /// The directory below which a linked store looks for its file [default: the one that the store is in]
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,
    /// packed: compressed, each cell by itself; raw: CSR as it is in memory, several times larger
    #[arg(long, default_value = Encoding::Packed.name(), value_parser = encoding_parser())]
    encoding: Encoding,
    /// Cells per stored block, at most 65,536; the block size of sampling is chosen when reading
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BLOCK_SIZE, value_parser = value_parser!(u32).range(1..=i64::from(MAX_BLOCK_SIZE)))]
    block_size: u32,
    /// Order of the genes in the store [default: detection for packed, source for raw]
    ///
    /// detection: by the number of cells that a gene is detected in, which makes packed stores a fifth smaller.
    #[arg(long, value_enum)]
    var_order: Option<VarOrderName>,
    /// Threads that decode, and as many that encode [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// The most memory to use, such as 500M or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Only the genes that FILE names, one per line, as in var; they stay in the source's order
    ///
    /// Names that the input does not have are left out with a warning, unless it has none of them. Lines that begin with # are
    /// comments.
    #[arg(long, value_name = "FILE")]
    genes: Option<PathBuf>,
    /// Only cells for which this is true, such as 'cell_type == "B cell" and n_genes >= 200'; `cellring help epoch` explains it
    ///
    /// It may use columns that --obs-columns does not keep.
    #[arg(long, value_name = "EXPR")]
    obs_filter: Option<String>,
    /// Only the first N cells (of those that --obs-filter takes)
    #[arg(long, value_name = "N")]
    max_obs: Option<u64>,
    /// Only these columns of obs
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    obs_columns: Option<Vec<String>>,
    /// Store the cells in random order, the same for the same seed; `export` restores the source's order
    #[arg(long, value_name = "SEED", conflicts_with = "sort_by")]
    shuffle: Option<u64>,
    /// Store the cells sorted by columns of obs, in runs of equal values; `export` restores the source's order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    sort_by: Option<Vec<String>>,
    /// Begin a new shard when one has reached this size, such as 4GiB [default: 32GiB, with --stripe 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shard_size: Option<u64>,
    /// Put the shards in these directories on several disks, round-robin, and links to them in the store
    #[arg(long, value_name = "DIR,...", value_delimiter = ',')]
    stripe: Vec<PathBuf>,
    /// Make only part I of N, as STORE.part-000I-of-000N; `cellring merge` makes the store of all of them
    ///
    /// Parts may be made anywhere and at the same time. A part that exists already, of the same input and with the same options, is
    /// left alone. Each part reads its own cells and a sample of the others; all of them with --encoding raw, --shuffle or
    /// --sort-by.
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<(u32, u32)>,
    /// Make, in one go, the same store, byte for byte, that N parts make
    #[arg(long, value_name = "N", conflicts_with = "part", value_parser = value_parser!(u32).range(1..=MAX_PARTS))]
    parts: Option<u32>,
    /// Replace an existing store or part
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// More parts than this have no names of equal length.
const MAX_PARTS: i64 = 9999;

/// Reads `I/N`.
fn parse_part(text: &str) -> Result<(u32, u32), String> {
    let part = text
        .split_once('/')
        .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match part {
        Some((number, of)) if (1..=of).contains(&number) && i64::from(of) <= MAX_PARTS => Ok((number, of)),
        _ => Err(format!(
            "expected I/N with I from 1 to N and N at most {MAX_PARTS}, as 3/8"
        )),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VarOrderName {
    Source,
    Detection,
}

impl Show for ConvertReport {
    fn text(&self) -> String {
        if let Some(part) = self.part.as_ref().filter(|part| part.was_there) {
            return format!(
                "{} exists already, made with these options: nothing to do",
                part.path.display()
            );
        }
        let mut lines = vec![format!(
            "{} cells x {} genes, {} values: {}, {:.3} bytes per value ({}, genes in {} order), in {} with {} of memory",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes),
            self.bytes_per_nnz,
            self.encoding.name(),
            self.var_order.name(),
            output::seconds(self.seconds),
            output::bytes(self.peak_rss_bytes),
        )];
        if let Some(part) = &self.part {
            lines.push(format!(
                "part {} of {}: {}",
                part.number,
                part.of,
                part.path.display()
            ));
        }
        let counts = [
            (self.rows_sorted, "rows had columns out of order and were sorted"),
            (
                self.duplicates_summed,
                "entries had the same row and column as another one and were added to it",
            ),
            (self.explicit_zeros_dropped, "stored zeros were dropped"),
        ];
        if !self.matrices.is_empty() {
            lines.push(format!(
                "matrices: {}; values and bytes per value are those of the first",
                self.matrices.join(", ")
            ));
        }
        lines.extend(
            counts
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{} {what}", output::count(*n))),
        );
        lines.extend(LeftOut::sentence(&self.left_out, self.n_inputs));
        lines.join("\n")
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let mut selections = args.matrices.selections(&args.obsm)?.into_iter();
    match args.part {
        // Whether a part that is there is another one shows when the input is open.
        Some(_) => check_directory(&args.output)?,
        None => check_store(&args.output, args.force)?,
    }
    args.inputs
        .iter()
        .chain(&args.genes)
        .try_for_each(|path| check_input(path))?;
    if let ([one], false) = (args.inputs.as_slice(), args.matrices.is_default())
        && let Some(origin) = Origin::read(one, args.source_root.as_deref())?
    {
        return Err(origin.fixed().into());
    }
    let selection = selections.next().unwrap_or_default();
    let options = ConvertOptions {
        open: args.open.into(),
        join: args.join.into(),
        selection,
        other_matrices: selections.collect(),
        source_root: args.source_root,
        encoding: args.encoding,
        block_size: args.block_size,
        var_order: args.var_order.map(|order| match order {
            VarOrderName::Source => VarOrder::Source,
            VarOrderName::Detection => VarOrder::Detection,
        }),
        threads: args.threads.map(|n| n as usize),
        memory_bytes: args.memory,
        force: args.force,
        genes: args.genes,
        max_obs: args.max_obs,
        obs_filter: args.obs_filter,
        obs_columns: args.obs_columns,
        obs_order: match (args.shuffle, args.sort_by) {
            (Some(seed), _) => Some(ObsOrder::Shuffled { seed }),
            (None, Some(columns)) => Some(ObsOrder::SortedBy(columns)),
            (None, None) => None,
        },
        shard_bytes: args.shard_size,
        stripe: args.stripe,
        parts: match (args.part, args.parts) {
            (Some((number, of)), _) => Some(Parts::One { number, of }),
            (None, Some(of)) => Some(Parts::All(of)),
            (None, None) => None,
        },
    };
    let bar = progress::percent("converting");
    let report = convert(&args.inputs, &args.output, &options, &|done, total| {
        progress::set(&bar, done, total)
    });
    bar.finish_and_clear();
    let report = report?;
    report.warnings.iter().for_each(output::say);
    output::print(args.json, &report)
}
