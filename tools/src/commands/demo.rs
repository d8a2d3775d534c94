//! `cellring demo`: the way from an `.h5ad` to shuffled minibatches, on data that comes with the binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::convert::{ConvertOptions, convert};
use crate::paths::PathError;
use cellring::store::verify;
use cellring::writer::unfinished;
use cellring::{LoaderConfig, Store};
use serde::Serialize;

use crate::failure::Failure;
use crate::measure::{Limits, Measured, TimedLoader, fallback};
use crate::output::{self, Fields, Lines};
use crate::progress::{self, Epochs};

/// 10,000 cells x 1,000 genes of mouse brain; `tools/data/README.md` tells where it is from.
const DATA: &[u8] = include_bytes!("../../data/mousebrain10k.h5ad");
const NAME: &str = "mousebrain10k";

/// See it work: convert a small real data set, verify it, and run two epochs
///
/// The data comes with the binary, and everything is made in a temporary directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the .h5ad and the store in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
    h5ad_bytes: usize,
    store_bytes: u64,
    bytes_per_nnz: f64,
    convert_seconds: f64,
    verify_seconds: f64,
    epochs: Vec<EpochReport>,
    reason: String,
    /// `null` where nothing is kept.
    store: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct EpochReport {
    epoch: u64,
    cells: u64,
    minibatches: u64,
    nnz: u64,
    seconds: f64,
    cells_per_second: f64,
    digest: String,
}

/// Where the demo works.
enum Place {
    /// Goes with the value.
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(dir) = keep else {
            let making = unfinished::begin()?;
            let made = tempfile::Builder::new().prefix("cellring-demo-").tempdir()?;
            let path = made.path().to_path_buf();
            // Other threads may still write there.
            let is_filled = |error: std::io::Error| error.kind() == std::io::ErrorKind::DirectoryNotEmpty;
            making.until_end(move || while std::fs::remove_dir_all(&path).is_err_and(is_filled) {});
            return Ok(Self::Temporary(made));
        };
        std::fs::create_dir_all(&dir).map_err(PathError::io(&dir))?;
        for name in [h5ad(&dir), store(&dir)] {
            if name.symlink_metadata().is_ok() {
                return Err(Failure::because(format!(
                    "{}: exists already; remove it or give another directory",
                    name.display()
                )));
            }
        }
        Ok(Self::Kept(dir))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }
}

fn h5ad(dir: &Path) -> PathBuf {
    dir.join(format!("{NAME}.h5ad"))
}

fn store(dir: &Path) -> PathBuf {
    dir.join(format!("{NAME}.cellring"))
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let place = Place::new(args.keep)?;
    let mut tale = Tale::new(args.json)?;
    let (input, path) = (h5ad(place.path()), store(place.path()));
    std::fs::write(&input, DATA).map_err(PathError::io(&input))?;

    let bar = progress::bar("converting", 0, "steps");
    let converted = convert(
        std::slice::from_ref(&input),
        &path,
        &ConvertOptions::default(),
        &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    );
    bar.finish_and_clear();
    let converted = converted?;
    tale.converted(&converted)?;

    let since = Instant::now();
    let opened = Arc::new(Store::open(&path)?);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    verify(&opened, threads, &|_| ())?;
    let verify_seconds = since.elapsed().as_secs_f64();
    tale.verified(verify_seconds)?;

    let (mut epochs, mut reason) = (Vec::new(), String::new());
    for epoch in 0..2 {
        let loader = TimedLoader::start(&opened, LoaderConfig::default())?;
        reason.clone_from(&loader.choice().reason);
        if epoch == 0
            && let Some(warning) = fallback(loader.choice())
        {
            output::warning(&warning);
        }
        let limits = Limits {
            epoch,
            digest: true,
            ..Limits::default()
        };
        let report = EpochReport::new(epoch, loader.drive(&limits, &Epochs::hidden())?);
        tale.epoch(&report)?;
        epochs.push(report);
    }
    check(&epochs, &opened)?;
    let kept = matches!(place, Place::Kept(_)).then_some(path);
    let report = Report {
        n_obs: converted.n_obs,
        n_vars: converted.n_vars,
        nnz: converted.nnz,
        h5ad_bytes: DATA.len(),
        store_bytes: converted.bytes,
        bytes_per_nnz: converted.bytes_per_nnz,
        convert_seconds: converted.seconds,
        verify_seconds,
        epochs,
        reason,
        store: kept,
    };
    tale.end(&report)
}

impl EpochReport {
    fn new(epoch: u64, run: Measured) -> Self {
        Self {
            epoch,
            cells: run.cells,
            minibatches: run.minibatches,
            nnz: run.nnz,
            seconds: run.seconds,
            cells_per_second: run.per_second(run.cells),
            digest: run.digest.unwrap_or_default(),
        }
    }
}

/// Both epochs have every cell and every value, and another order.
fn check(epochs: &[EpochReport], store: &Store) -> Result<(), Failure> {
    let whole = |epoch: &EpochReport| (epoch.cells, epoch.nnz) == (store.n_obs(), store.manifest().nnz);
    let differ = epochs.windows(2).all(|pair| pair[0].digest != pair[1].digest);
    if epochs.iter().all(whole) && differ {
        return Ok(());
    }
    Err(Failure::because(
        "the epochs are not two different orders of all cells: this is a bug in cellring; please report it",
    ))
}

/// Tells what happens while it happens, unless the result is wanted as JSON.
struct Tale {
    lines: Lines,
    json: bool,
}

impl Tale {
    fn new(json: bool) -> Result<Self, Failure> {
        let mut tale = Self {
            lines: Lines::new(),
            json,
        };
        tale.say(
            "From an .h5ad to shuffled minibatches: 10,000 mouse brain cells (10x Genomics, CC BY 4.0)\n",
        )?;
        Ok(tale)
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.lines.text(text)?;
        self.lines.flush()
    }

    fn converted(&mut self, report: &crate::convert::ConvertReport) -> Result<(), Failure> {
        let text = Fields::new(format!("1. Converted in {}", output::seconds(report.seconds)))
            .add(
                "matrix",
                format!(
                    "{} cells x {} genes, {} counts",
                    output::count(report.n_obs),
                    output::count(report.n_vars),
                    output::count(report.nnz)
                ),
            )
            .add("h5ad", output::bytes(DATA.len() as u64))
            .add(
                "store",
                format!(
                    "{}, {:.2} bytes for each count",
                    output::bytes(report.bytes),
                    report.bytes_per_nnz
                ),
            );
        self.say(&text.text())
    }

    fn verified(&mut self, seconds: f64) -> Result<(), Failure> {
        self.say(&format!(
            "2. Verified every byte in {}\n",
            output::seconds(seconds)
        ))
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), Failure> {
        let text = Fields::new(format!(
            "{}. Ran epoch {} in {}",
            report.epoch + 3,
            report.epoch,
            output::seconds(report.seconds)
        ))
        .add(
            "delivered",
            format!(
                "{} cells in {} minibatches, {} cells/s",
                output::count(report.cells),
                output::count(report.minibatches),
                output::count(report.cells_per_second as u64)
            ),
        )
        .add("digest", &report.digest);
        self.say(&text.text())
    }

    fn end(mut self, report: &Report) -> Result<(), Failure> {
        if self.json {
            self.lines.json(report)?;
            return self.lines.finish();
        }
        self.say(&format!(
            "Every cell came once in each epoch, in another order.\nRead by {}.\n",
            report.reason
        ))?;
        self.say(&match &report.store {
            Some(store) => format!("Kept; go on with: cellring epoch {}", store.display()),
            None => "Now yours: cellring convert YOUR.h5ad -o YOUR.cellring".to_owned(),
        })?;
        self.lines.finish()
    }
}
