//! Synthetic single-cell counts with the statistics that matter to a loader, from nothing but a seed.
//!
//! The model: gene popularity is log-normal (sigma 2), 30 % of a cell's transcripts are drawn from the programme of its
//! cell line instead, the number of detected genes is log-normal (median about 1,400 at 62,710 genes), and each hit of a
//! gene brings a burst of counts, so that 57-59 % of the stored counts are 1. obs is sorted by plate and, inside a
//! plate, by cell line: both labels lie in long runs, as they do in real files, which is what makes reading in
//! sequence useless for training.
//!
//! A data set is a pure function of (seed, n_obs, n_vars). Every cell has its own random stream, so that any rows can be
//! made alone and in parallel; transcendental functions come from `libm`, so that the result does not depend on
//! the platform's mathematics library either.

mod alias;
mod burst;
mod depth;
mod obs;
mod ordered;
mod random;
mod rows;
mod store;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{Schema, SchemaRef};
use cellring::format::{CsrRows, ValueType};
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec, WriteError};

pub use store::StoreOptions;

use rows::Model;

/// Rows of obs or var made at a time for a file.
const TABLE_ROWS: u64 = 1 << 16;
/// Rows of the matrix made by one task for a file.
const BLOCK_ROWS: u64 = 256;

/// A synthetic data set.
///
/// Memory: the sampling tables, about 400 bytes for each variable, and nothing that grows with `n_obs`.
pub struct Synth {
    n_obs: u64,
    n_vars: u32,
    seed: u64,
    labels: obs::LabelRuns,
    model: Model,
}

impl Synth {
    /// The data set of this size and seed. Builds the sampling tables, which takes a fraction of a second.
    pub fn new(n_obs: u64, n_vars: u32, seed: u64) -> Self {
        let labels = obs::LabelRuns::new(n_obs, seed);
        Self {
            n_obs,
            n_vars,
            seed,
            model: Model::new(n_vars, seed),
            labels,
        }
    }

    /// Number of cells.
    pub fn n_obs(&self) -> u64 {
        self.n_obs
    }

    /// Number of genes.
    pub fn n_vars(&self) -> u32 {
        self.n_vars
    }

    /// Element type of the matrix: float32, as AnnData usually stores counts.
    pub fn value_type(&self) -> ValueType {
        ValueType::F32
    }

    /// Rows of the matrix, made by the calling thread alone.
    ///
    /// # Panics
    /// If the range is not within the data set.
    pub fn rows(&self, range: Range<u64>) -> CsrRows {
        self.check(&range);
        self.model.rows(range, &self.labels)
    }

    /// Makes the rows of `range` with so many threads and hands them to `consume` on the calling thread, in order, in
    /// blocks of `block_rows`. The blocks do not depend on the number of threads.
    ///
    /// At most four blocks for each thread are in memory.
    ///
    /// # Errors
    /// The first error of `consume`, after which no more rows are made.
    ///
    /// # Panics
    /// If the range is not within the data set or `block_rows` is 0.
    pub fn for_each_block<E>(
        &self,
        range: Range<u64>,
        block_rows: u64,
        threads: NonZeroUsize,
        consume: impl FnMut(CsrRows) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(&range);
        ordered::in_order(range, block_rows, threads, |rows| self.rows(rows), consume)
    }

    /// Columns of obs: the index `barcode`, the categories `plate`, `cell_line` and `drug`, and `pct_mito`.
    pub fn obs_schema(&self) -> SchemaRef {
        obs::schema()
    }

    /// Rows of obs. Every batch has the same dictionaries.
    ///
    /// # Panics
    /// If the range is not within the data set, or so long that the names exceed the 2 GiB of an Arrow string array
    /// (100 million rows do not).
    pub fn obs(&self, range: Range<u64>) -> RecordBatch {
        self.check(&range);
        self.labels.batch(range)
    }

    /// The var table: nothing but the index, `gene_id`.
    pub fn var(&self) -> RecordBatch {
        let names: StringArray = (0..self.n_vars)
            .map(|gene| Some(format!("ENSG{gene:011}")))
            .collect();
        let schema = Schema::new(vec![obs::index_field("gene_id")]);
        #[expect(clippy::expect_used, reason = "one column of the type in the schema")]
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names)]).expect("a table of one column")
    }

    /// Writes the data set as an `.h5ad`, in memory that does not grow with `n_obs`.
    ///
    /// `progress` is told the number of rows written so far. Returns the number of stored values.
    ///
    /// # Errors
    /// When the file cannot be written; then there is none.
    pub fn write_h5ad(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, WriteError> {
        let spec = MatrixSpec::new(self.n_obs, u64::from(self.n_vars), self.value_type());
        let mut writer = AnnDataWriter::create(path, spec)?;
        let (mut n_rows, mut nnz) = (0, 0);
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.for_each_block(0..self.n_obs, BLOCK_ROWS, threads, |rows| {
            n_rows += rows.n_rows() as u64;
            nnz += rows.nnz() as u64;
            writer.push_rows(&rows)?;
            progress(n_rows);
            Ok(())
        })?;
        // One batch at least, even if it is empty, brings the categories.
        let batches = (0..self.n_obs.max(1)).step_by(TABLE_ROWS as usize);
        let batches = batches.map(|start| self.obs(start..self.n_obs.min(start + TABLE_ROWS)));
        writer.write_table(Axis::Obs, &self.obs_schema(), batches)?;
        let var = self.var();
        writer.write_table(Axis::Var, &var.schema(), [var])?;
        writer.finish()?;
        Ok(nnz)
    }

    fn check(&self, range: &Range<u64>) {
        assert!(
            range.start <= range.end && range.end <= self.n_obs,
            "rows {range:?} of a data set of {} cells",
            self.n_obs
        );
    }
}
