//! Converts an input to a store, in two passes over the matrix and with bounded memory.
//!
//! The first pass counts in how many obs each column occurs (and, for the raw encoding, finds the narrowest type that
//! holds every value); the second decodes rows ahead, encodes blocks on all threads, and appends them in order. Equal input
//! and equal options give equal stores, byte for byte, whatever the number of threads and the memory.

mod blocks;
mod error;
mod memory;
mod order;
mod select;
mod survey;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::Store;
use cellring::format::constants::DEFAULT_BLOCK_SIZE;
use cellring::format::{Encoding, VarOrder};
use cellring::writer::{BlockEncoder, StoreWriter, WriteError, WriterOptions};
use serde::Serialize;

pub use error::ConvertError;

use crate::anndata::{AnnData, Canonicalised, MatrixSource, Selection, TableSource, Workspace};
use blocks::BlockCutter;
use memory::Needs;
use survey::{ColumnOrder, Survey};

/// What is converted, and into what.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// Which matrix.
    pub selection: Selection,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Obs per block.
    pub block_size: u32,
    /// Order of the columns. `None`: by detection for packed, which is much denser so, as in the source for raw.
    pub var_order: Option<VarOrder>,
    /// Threads that decode, and as many that encode; at least 1. `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// The most memory that the process may use, in bytes.
    pub memory_bytes: u64,
    /// Whether an existing store is replaced.
    pub force: bool,
    /// A text file of gene names, one a line: only those columns are converted, in the source's order.
    pub genes: Option<PathBuf>,
    /// Only the first so many obs.
    pub max_obs: Option<u64>,
    /// Only these columns of obs, besides the index.
    pub obs_columns: Option<Vec<String>>,
    /// Order of the obs in the store. `None`: as in the source.
    pub obs_order: Option<ObsOrder>,
}

/// An order of obs other than the source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObsOrder {
    /// A random permutation, the same for the same seed and number of obs.
    Shuffled {
        /// The seed.
        seed: u64,
    },
    /// By these columns of obs, the first one first; equal obs stay in the source's order, missing values come last.
    SortedBy(Vec<String>),
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            selection: Selection::X,
            encoding: Encoding::Packed,
            block_size: DEFAULT_BLOCK_SIZE,
            var_order: None,
            threads: None,
            memory_bytes: 1 << 30,
            force: false,
            genes: None,
            max_obs: None,
            obs_columns: None,
            obs_order: None,
        }
    }
}

/// What a conversion did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConvertReport {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Number of values in the store.
    pub nnz: u64,
    /// Encoding of the blocks.
    pub encoding: Encoding,
    /// Order of the columns.
    pub var_order: VarOrder,
    /// Bytes of all files of the store.
    pub bytes: u64,
    /// Bytes of shards, index and manifest for each value; 0 where there is none.
    pub bytes_per_nnz: f64,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// Rows whose columns did not ascend.
    pub rows_sorted: u64,
    /// Entries that were added to another one of the same row and column.
    pub duplicates_summed: u64,
    /// Entries that were exactly zero.
    pub explicit_zeros_dropped: u64,
    /// One sentence for each column of obs or var that was skipped.
    pub warnings: Vec<String>,
}

/// Converts `input` to a store at `output`, which exists when this returns without an error, and not before.
///
/// `progress` is called now and then with what is done and what there is to do, in units of no meaning; the latter may
/// grow.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then (an existing store that was to be replaced is left as it was).
pub fn convert(
    input: &Path,
    output: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<ConvertReport, ConvertError> {
    let started = Instant::now();
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("cellring-encode-{number}"))
        .build()
        .map_err(|error| ConvertError::Threads {
            threads,
            error: error.to_string(),
        })?;
    pool.install(|| {
        let job = Job::open(input, output, options, threads, progress)?;
        let mut report = job.run()?;
        report.seconds = started.elapsed().as_secs_f64();
        report.peak_rss_bytes = peak_rss_bytes();
        Ok(report)
    })
}

/// An input that has been looked at and found fit.
struct Job<'a> {
    input: &'a Path,
    output: &'a Path,
    options: &'a ConvertOptions,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    var_order: VarOrder,
    matrix: MatrixSource,
    obs: TableSource,
    var: TableSource,
    /// For each obs of the store its place in the source, where that is another.
    order: Option<Vec<u32>>,
    window_nnz: usize,
}

impl<'a> Job<'a> {
    fn open(
        input: &'a Path,
        output: &'a Path,
        options: &'a ConvertOptions,
        threads: usize,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, ConvertError> {
        if !options.force && output.symlink_metadata().is_ok() {
            // The writer says so too, but only after the input was looked at.
            return Err(ConvertError::Write(WriteError::Exists {
                path: output.to_path_buf(),
            }));
        }
        let file = AnnData::open(input)?;
        let workspace = Workspace {
            directory: match output.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
                _ => PathBuf::from("."),
            },
            memory_bytes: options.memory_bytes,
        };
        let matrix = file.matrix_in(&options.selection, &workspace)?;
        let (obs, var) = (file.obs()?, file.var(&options.selection)?);
        let sides = [
            ("rows", matrix.n_obs(), "obs", &obs),
            ("columns", matrix.n_vars(), "var", &var),
        ];
        for (axis, expected, table, source) in sides {
            if expected != source.n_rows() {
                return Err(ConvertError::Shape {
                    file: input.to_path_buf(),
                    matrix: options.selection.path(),
                    axis,
                    expected,
                    table,
                    found: source.n_rows(),
                });
            }
        }
        let (mut matrix, mut obs, var) = select::apply(input, options, matrix, obs, var)?;
        let order = match &options.obs_order {
            None => None,
            Some(order) => Some(order::of(order, input, &obs)?),
        };
        let mut ordered_bytes = 0;
        if let Some(order) = &order {
            ordered_bytes = memory::table_bytes(&obs, obs.n_rows()) + 8 * obs.n_rows();
            matrix = matrix.reordered(order, &workspace)?;
            obs = select::columns(input, options, obs.with_rows(order)?)?;
        } else {
            obs = select::columns(input, options, obs)?;
        }
        let needs = Needs::of(&matrix, &obs, &var, options.block_size, threads).and(ordered_bytes);
        let window_nnz = needs
            .window_nnz(options.memory_bytes)
            .map_err(|(needed_bytes, reason)| ConvertError::Memory {
                file: input.to_path_buf(),
                limit_bytes: options.memory_bytes,
                needed_bytes,
                reason,
            })?;
        let var_order = options.var_order.unwrap_or(match options.encoding {
            Encoding::Packed => VarOrder::Detection,
            Encoding::Raw => VarOrder::Source,
        });
        Ok(Self {
            input,
            output,
            options,
            progress,
            var_order,
            matrix,
            obs,
            var,
            order,
            window_nnz,
        })
    }

    fn run(&self) -> Result<ConvertReport, ConvertError> {
        let first = match (self.options.encoding, self.var_order) {
            (Encoding::Raw, _) => Some(Survey::Exact),
            (Encoding::Packed, VarOrder::Detection) => Some(Survey::StoredCounts),
            (Encoding::Packed, VarOrder::Source) => None,
        };
        if let Some(report) = self.attempt(first)? {
            return Ok(report);
        }
        // The file has explicit zeros or duplicates, as few have: now count what remains of it.
        let report = self.attempt(Some(Survey::Exact))?;
        Ok(report.unwrap_or_else(|| unreachable!("exact counts are exact")))
    }

    /// Writes the store. `None`, with nothing written, where the counts that the order rests on prove not to be exact.
    fn attempt(&self, survey: Option<Survey>) -> Result<Option<ConvertReport>, ConvertError> {
        let n_obs = self.matrix.n_obs();
        let value_type = self.matrix.value_type();
        let work = n_obs * (1 + u64::from(survey.is_some()));
        let mut writer = StoreWriter::create(self.output, self.writer_options())?;
        tables::write_obs(&mut writer, &self.obs, self.order.as_deref())?;

        let found = survey
            .map(|survey| {
                survey::run(&self.matrix, survey, self.window_nnz, &|done| {
                    (self.progress)(done, work)
                })
            })
            .transpose()?;
        let raw_value_type = found.as_ref().and_then(|f| f.narrowest).unwrap_or(value_type);
        let order = found
            .filter(|_| self.var_order == VarOrder::Detection)
            .map(|found| ColumnOrder::by_detection(&found.counts));
        writer.set_raw_value_type(raw_value_type);
        tables::write_var(&mut writer, &self.var, order.as_ref())?;
        let encoder = BlockEncoder {
            encoding: self.options.encoding,
            n_vars: self.matrix.n_vars(),
            raw_value_type,
            column_of_source: order.map(|order| order.column_of_source),
        };

        let mut cutter = BlockCutter::new(self.options.block_size, value_type);
        let mut rows = self.matrix.rows(0..n_obs, self.window_nnz)?;
        let mut done = work - n_obs;
        while let Some(window) = rows.next() {
            let mut window = window?;
            let dropped = rows.report().duplicates_summed + rows.report().explicit_zeros_dropped;
            if dropped > 0 && survey == Some(Survey::StoredCounts) {
                return Ok(None);
            }
            for block in cutter.encode(&mut window, &encoder)? {
                writer.append(&block)?;
            }
            done += window.n_rows() as u64;
            rows.recycle(window);
            (self.progress)(done, work);
        }
        if let Some(block) = cutter.finish(&encoder)? {
            writer.append(&block)?;
        }
        let mut canonicalised = rows.report();
        canonicalised += self.matrix.changed_before();
        drop(rows);
        writer.set_source(self.provenance(canonicalised));
        writer.finish()?;
        self.report(canonicalised).map(Some)
    }

    fn writer_options(&self) -> WriterOptions {
        WriterOptions {
            encoding: self.options.encoding,
            var_order: self.var_order,
            block_size: self.options.block_size,
            replace: self.options.force,
            ..WriterOptions::new(self.matrix.n_vars(), self.matrix.value_type())
        }
    }

    /// What the manifest says of the source: nothing that differs between two conversions of one file.
    fn provenance(&self, canonicalised: Canonicalised) -> serde_json::Value {
        let file = self.input.file_name().unwrap_or_default().to_string_lossy();
        serde_json::json!({
            "file": file,
            "matrix": self.options.selection.path(),
            "encoding_type": self.matrix.form(),
            "indices_type": self.matrix.indices_type(),
            "obs_order": match &self.options.obs_order {
                None => "source".to_owned(),
                Some(ObsOrder::Shuffled { seed }) => format!("shuffled with seed {seed}"),
                Some(ObsOrder::SortedBy(columns)) => format!("sorted by {}", columns.join(", ")),
            },
            "rows_sorted": canonicalised.rows_sorted,
            "duplicates_summed": canonicalised.duplicates_summed,
            "explicit_zeros_dropped": canonicalised.explicit_zeros_dropped,
            "cellring": env!("CARGO_PKG_VERSION"),
        })
    }

    fn report(&self, canonicalised: Canonicalised) -> Result<ConvertReport, ConvertError> {
        let store = Store::open(self.output)?;
        let manifest = store.manifest();
        let warnings = self.obs.warnings().iter().chain(self.var.warnings());
        Ok(ConvertReport {
            n_obs: manifest.n_obs,
            n_vars: manifest.n_vars,
            nnz: manifest.nnz,
            encoding: manifest.encoding,
            var_order: manifest.var_order,
            bytes: store.total_bytes(),
            bytes_per_nnz: match manifest.nnz {
                0 => 0.0,
                nnz => store.matrix_bytes() as f64 / nnz as f64,
            },
            seconds: 0.0,
            peak_rss_bytes: 0,
            rows_sorted: canonicalised.rows_sorted,
            duplicates_summed: canonicalised.duplicates_summed,
            explicit_zeros_dropped: canonicalised.explicit_zeros_dropped,
            warnings: warnings.cloned().collect(),
        })
    }
}

/// The most memory this process has had resident, or 0 where the system does not say.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) << 10
}
