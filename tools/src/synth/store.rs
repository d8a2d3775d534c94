//! A synthetic data set straight into a store, without the detour of an `.h5ad`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take_record_batch;
use cellring::format::constants::{
    DEFAULT_BLOCK_SIZE, ROLE_KEY, ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD, TABLE_BATCH_ROWS,
};
use cellring::format::{CsrRows, Encoding, Manifest, ValueBuffer, ValueType, VarOrder};
use cellring::writer::{BlockEncoder, EncodeError, EncodedBlock, StoreWriter, TableKind, WriterOptions};

use super::Synth;
use super::ordered::in_order;

/// Cells that the detection order of a larger data set is estimated from, spread evenly over it. Genes that these many
/// cells do not show hardly ever occur, so their order does not matter.
const SAMPLE_CELLS: u64 = 16_384;
/// Consecutive cells of the sample: each run costs the clearing of an array of all genes.
const RUN_CELLS: u64 = 64;
/// Runs that one task looks at.
const RUNS_PER_TASK: u64 = 16;
/// Cells that one task makes at least; a whole number of blocks.
const TASK_CELLS: u64 = 256;

/// What a synthetic store is like.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Encoding of the blocks. As `convert` does, packed stores order their columns by detection, raw ones do not.
    pub encoding: Encoding,
    /// Obs per block.
    pub block_size: u32,
    /// Whether an existing store is replaced.
    pub replace: bool,
    /// Threads that make and encode cells. The store does not depend on it.
    pub threads: NonZeroUsize,
}

impl Default for StoreOptions {
    /// Packed, blocks of the default size, nothing replaced, a thread for each core.
    fn default() -> Self {
        Self {
            encoding: Encoding::Packed,
            block_size: DEFAULT_BLOCK_SIZE,
            replace: false,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl Synth {
    /// Writes the data set as a store, in memory that does not grow with `n_obs` but for 16 bytes per block.
    ///
    /// Raw stores are made in two passes, of which the first finds the narrowest type that holds every count; packed
    /// ones look at 16,384 cells before. Up to so many cells, shards, index and tables are byte for byte those that
    /// `convert` makes of the `.h5ad` of the same data set.
    ///
    /// `progress` is told how many cells are done, and how many there are to do in all passes.
    ///
    /// # Errors
    /// When the store cannot be written; then there is none.
    pub fn write_store(
        &self,
        path: impl AsRef<Path>,
        options: &StoreOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Manifest, cellring::Error> {
        let value_type = self.value_type();
        let (narrows, var_order) = (
            options.encoding.has_raw_value_type(),
            options.encoding.preferred_var_order(),
        );
        let writer_options = WriterOptions::new(self.n_vars.into(), value_type)
            .encoding(options.encoding)
            .var_order(var_order)
            .block_size(options.block_size)
            .replace(options.replace)
            .source(self.provenance());
        let mut writer = StoreWriter::create(path.as_ref(), writer_options)?;

        let surveyed = if narrows {
            self.n_obs
        } else {
            self.n_obs.min(SAMPLE_CELLS)
        };
        let work = surveyed + self.n_obs;
        let survey = self.survey(surveyed, options.threads, |done| progress(done, work));
        let order = (var_order == VarOrder::Detection).then(|| by_detection(&survey.counts));
        let encoder = BlockEncoder {
            encoding: options.encoding,
            n_vars: self.n_vars.into(),
            raw_value_type: if narrows {
                narrowest(survey.largest)
            } else {
                value_type
            },
            column_of_source: order.as_deref().map(inverse),
        };
        writer.set_raw_value_type(encoder.raw_value_type);

        let block_size = u64::from(options.block_size);
        let step = TASK_CELLS.next_multiple_of(block_size);
        let make = |cells: Range<u64>| self.encode(cells, block_size as usize, &encoder);
        let mut done = surveyed;
        in_order(0..self.n_obs, step, options.threads, make, |blocks| {
            for block in blocks? {
                writer.append(&block)?;
                done += block.ends.len() as u64;
            }
            progress(done, work);
            Ok::<(), cellring::Error>(())
        })?;
        self.write_tables(&mut writer, order)?;
        writer.finish()
    }

    /// The cells as blocks, the first of which they begin.
    fn encode(
        &self,
        cells: Range<u64>,
        block_size: usize,
        encoder: &BlockEncoder,
    ) -> Result<Vec<EncodedBlock>, EncodeError> {
        let first = cells.start;
        let rows = self.rows(cells);
        (0..rows.n_rows())
            .step_by(block_size)
            .map(|row| {
                encoder.encode(
                    first + row as u64,
                    &rows,
                    row..rows.n_rows().min(row + block_size),
                )
            })
            .collect()
    }

    fn write_tables(&self, writer: &mut StoreWriter, order: Option<Vec<u32>>) -> Result<(), cellring::Error> {
        let batches = (0..self.n_obs).step_by(TABLE_BATCH_ROWS).map(|start| {
            let end = self.n_obs.min(start + TABLE_BATCH_ROWS as u64);
            Ok::<_, cellring::Error>(self.obs(start..end))
        });
        writer.write_table(TableKind::Obs, &self.obs_schema(), batches)?;

        let positions = UInt32Array::from(order.unwrap_or_else(|| (0..self.n_vars).collect()));
        #[expect(
            clippy::expect_used,
            reason = "positions are below the number of genes, columns equally long"
        )]
        let var = with_positions(&self.var(), positions).expect("a column more");
        let batches = (0..var.num_rows()).step_by(TABLE_BATCH_ROWS).map(|start| {
            let len = TABLE_BATCH_ROWS.min(var.num_rows() - start);
            Ok::<_, cellring::Error>(var.slice(start, len))
        });
        writer.write_table(TableKind::Var, &var.schema(), batches)
    }

    /// Looks at `n_cells` cells: all of them, or short runs of consecutive ones, evenly spread.
    fn survey(&self, n_cells: u64, threads: NonZeroUsize, mut progress: impl FnMut(u64)) -> Survey {
        let n_runs = n_cells.div_ceil(RUN_CELLS);
        let make = |runs: Range<u64>| {
            let mut survey = Survey::new(self.n_vars);
            for run in runs {
                let first = match n_cells == self.n_obs {
                    true => run * RUN_CELLS,
                    false => (u128::from(run) * u128::from(self.n_obs) / u128::from(n_runs)) as u64,
                };
                survey.add(&self.rows(first..self.n_obs.min(first + RUN_CELLS)));
            }
            survey
        };
        let mut sum = Survey::new(self.n_vars);
        let consume = |survey: Survey| {
            sum.merge(&survey);
            progress(sum.n_cells);
            Ok::<(), Infallible>(())
        };
        match in_order(0..n_runs, RUNS_PER_TASK, threads, make, consume) {
            Ok(()) => sum,
        }
    }

    fn provenance(&self) -> serde_json::Value {
        serde_json::json!({
            "synthetic": { "seed": self.seed, "n_obs": self.n_obs, "n_vars": self.n_vars },
            "cellring": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// What is to be known of the cells before they are encoded.
struct Survey {
    n_cells: u64,
    /// In how many cells each gene occurs.
    counts: Vec<u64>,
    largest: f32,
}

impl Survey {
    fn new(n_vars: u32) -> Self {
        Self {
            n_cells: 0,
            counts: vec![0; n_vars as usize],
            largest: 0.0,
        }
    }

    fn add(&mut self, rows: &CsrRows) {
        self.n_cells += rows.n_rows() as u64;
        rows.indices
            .iter()
            .for_each(|&gene| self.counts[gene as usize] += 1);
        if let ValueBuffer::F32(values) = &rows.values {
            self.largest = values.iter().copied().fold(self.largest, f32::max);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n_cells += other.n_cells;
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(count, n)| *count += n);
        self.largest = self.largest.max(other.largest);
    }
}

/// The type that raw blocks store counts in.
fn narrowest(largest: f32) -> ValueType {
    ValueType::narrowest_for_counts(largest as u32)
}

/// The genes by the number of cells that show them, most first, equal ones as in the data set.
fn by_detection(counts: &[u64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..counts.len() as u32).collect();
    order.sort_by_key(|&gene| Reverse(counts[gene as usize]));
    order
}

fn inverse(order: &[u32]) -> Arc<[u32]> {
    let mut inverse = vec![0; order.len()];
    for (column, &gene) in order.iter().enumerate() {
        inverse[gene as usize] = column as u32;
    }
    inverse.into()
}

/// The rows of `var` at these positions, and the positions as a column of their own.
fn with_positions(var: &RecordBatch, positions: UInt32Array) -> Result<RecordBatch, ArrowError> {
    let about = HashMap::from([(ROLE_KEY.to_owned(), ROLE_SOURCE_POSITION.to_owned())]);
    let field = Field::new(SOURCE_POSITION_FIELD, DataType::UInt32, false).with_metadata(about);
    let ordered = take_record_batch(var, &positions)?;
    let fields: Vec<_> = var
        .schema()
        .fields()
        .iter()
        .cloned()
        .chain([Arc::new(field)])
        .collect();
    let columns: Vec<ArrayRef> = ordered
        .columns()
        .iter()
        .cloned()
        .chain([Arc::new(positions) as ArrayRef])
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_genes_come_first_and_the_inverse_is_one() {
        // A cycle of three, whose inverse is another permutation.
        let order = by_detection(&[2, 1, 3, 2]);
        assert_eq!(order, [2, 0, 3, 1]);
        assert_eq!(*inverse(&order), [1, 3, 0, 2]);
    }

    #[test]
    fn the_narrowest_type_holds_the_largest_count() {
        assert_eq!(narrowest(255.0), ValueType::U8);
        assert_eq!(narrowest(256.0), ValueType::U16);
        assert_eq!(narrowest(65_535.0), ValueType::U16);
        assert_eq!(narrowest(65_536.0), ValueType::U32);
    }
}
