//! Writes one matrix and the table of its columns.

use std::path::Path;

use cellring::format::{Encoding, VarOrder};
use cellring::writer::{BlockEncoder, StoreWriter, WriterOptions};

use super::blocks::BlockCutter;
use super::inputs::Element;
use super::memory::Needs;
use super::survey::{self, ColumnOrder, Survey};
use super::{ConvertError, ConvertOptions, tables};
use crate::anndata::{Canonicalised, TableSource};

/// How one matrix is written.
pub(super) struct MatrixJob<'a> {
    options: &'a ConvertOptions,
    element: &'a Element,
    var_order: VarOrder,
    window_nnz: usize,
}

impl<'a> MatrixJob<'a> {
    /// Finds out how much of the matrix may be in memory at a time, beside `held_bytes` that always are.
    pub(super) fn plan(
        input: &Path,
        options: &'a ConvertOptions,
        element: &'a Element,
        obs: &TableSource,
        held_bytes: u64,
    ) -> Result<Self, ConvertError> {
        let (matrix, threads) = (&element.matrix, rayon::current_num_threads());
        let needs = Needs::of(matrix, obs, &element.var, options.block_size, threads).and(held_bytes);
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
            options,
            element,
            var_order,
            window_nnz,
        })
    }

    /// The pass over the matrix before it is written. Most files have neither explicit zeros nor duplicates, so what is stored
    /// is counted first; where that turns out to be wrong, [`Survey::Exact`] follows.
    pub(super) fn first_survey(&self) -> Option<Survey> {
        match (self.options.encoding, self.var_order) {
            (Encoding::Raw, _) => Some(Survey::Exact),
            (Encoding::Packed, VarOrder::Detection) => Some(Survey::StoredCounts),
            (Encoding::Packed, VarOrder::Source) => None,
        }
    }

    pub(super) fn writer_options(&self) -> WriterOptions {
        let matrix = &self.element.matrix;
        WriterOptions {
            encoding: self.options.encoding,
            var_order: self.var_order,
            block_size: self.options.block_size,
            replace: self.options.force,
            ..WriterOptions::new(matrix.n_vars(), matrix.value_type())
        }
    }

    /// Units of progress of a run.
    pub(super) fn work(&self, survey: Option<Survey>) -> u64 {
        self.element.matrix.n_obs() * (1 + u64::from(survey.is_some()))
    }

    /// Writes var and all blocks, and tells what was changed in the matrix. `None` where the counts that the order of columns
    /// rests on prove not to be exact: then what was written is no good.
    pub(super) fn write(
        &self,
        writer: &mut StoreWriter,
        survey: Option<Survey>,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Canonicalised>, ConvertError> {
        let (matrix, var) = (&self.element.matrix, &self.element.var);
        let (n_obs, value_type) = (matrix.n_obs(), matrix.value_type());
        let found = survey
            .map(|survey| survey::run(matrix, survey, self.window_nnz, progress))
            .transpose()?;
        let raw_value_type = found.as_ref().and_then(|f| f.narrowest).unwrap_or(value_type);
        let order = found
            .filter(|_| self.var_order == VarOrder::Detection)
            .map(|found| ColumnOrder::by_detection(&found.counts));
        writer.set_raw_value_type(raw_value_type);
        tables::write_var(writer, var, order.as_ref())?;
        let encoder = BlockEncoder {
            encoding: self.options.encoding,
            n_vars: matrix.n_vars(),
            raw_value_type,
            column_of_source: order.map(|order| order.column_of_source),
        };

        let mut cutter = BlockCutter::new(self.options.block_size, value_type);
        let mut rows = matrix.rows(0..n_obs, self.window_nnz)?;
        let mut done = self.work(survey) - n_obs;
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
            progress(done);
        }
        if let Some(block) = cutter.finish(&encoder)? {
            writer.append(&block)?;
        }
        let mut canonicalised = rows.report();
        canonicalised += matrix.changed_before();
        Ok(Some(canonicalised))
    }
}
