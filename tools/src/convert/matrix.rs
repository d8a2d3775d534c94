//! Writes one matrix and the table of its columns.

use cellring::format::VarOrder;
use cellring::writer::{BlockEncoder, EncodedBlock, StoreWriter, WriterOptions};
use cellring_anndata::__internal::Looks;
use cellring_anndata::{Canonicalised, Selection};

use super::blocks::BlockCutter;
use super::error::ConvertError;
use super::options::{ConvertOptions, Parts};
use super::selected::SelectedMatrix;
use super::survey::{self, ColumnOrder, Survey};
use super::{parts, tables};

/// Windows of which some values are looked at.
const SAMPLE_WINDOWS: u32 = 16;

/// How one matrix is written.
pub(super) struct MatrixJob<'a> {
    options: &'a ConvertOptions,
    selected: &'a SelectedMatrix,
    var_order: VarOrder,
    window_nnz: usize,
}

/// A matrix whose blocks and var are written.
pub(super) struct Written {
    pub(super) writer: StoreWriter,
    /// What was changed in the matrix.
    pub(super) changed: Canonicalised,
    /// What some of the values look like.
    pub(super) looks: Looks,
    /// Order of the columns, where it is not the source's.
    pub(super) order: Option<ColumnOrder>,
}

impl<'a> MatrixJob<'a> {
    /// `window_nnz`: how many entries of the matrix may be in a window.
    pub(super) fn new(options: &'a ConvertOptions, selected: &'a SelectedMatrix, window_nnz: usize) -> Self {
        let var_order = match (&selected.selection, options.var_order, options.encoding) {
            // Dimensions, which are in all obs alike.
            (Selection::Obsm(_), ..) => VarOrder::Source,
            (_, Some(order), _) => order,
            (_, None, encoding) => encoding.preferred_var_order(),
        };
        Self {
            options,
            selected,
            var_order,
            window_nnz,
        }
    }

    pub(super) fn writer_options(&self) -> WriterOptions {
        let matrix = &self.selected.matrix;
        WriterOptions::new(matrix.n_vars(), matrix.value_type())
            .encoding(self.options.encoding)
            .var_order(self.var_order)
            .block_size(self.options.block_size)
            .replace(self.options.force)
            .shard_bytes(parts::shard_bytes(self.options))
            .stripe(parts::stripe(self.options))
    }

    /// Writes var and all blocks, or those of a part, with a writer that `begin` makes. The columns come in the order `given`, if
    /// there is one.
    pub(super) fn write(
        &self,
        given: Option<&ColumnOrder>,
        begin: impl Fn() -> Result<StoreWriter, ConvertError>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Written, ConvertError> {
        let first = match self.var_order {
            // Of all values, the narrowest type that holds them.
            _ if self.options.encoding.has_raw_value_type() => Some(Survey::Exact),
            VarOrder::Detection if given.is_none() => match self.options.parts {
                Some(_) => Some(Survey::Sample),
                None => Some(Survey::StoredCounts),
            },
            _ => None,
        };
        // Few files have explicit zeros or duplicates: only then is counted what remains of them.
        for survey in [first, Some(Survey::Exact)] {
            if let Some(written) = self.attempt(given, begin()?, survey, progress)? {
                return Ok(written);
            }
        }
        unreachable!("exact counts are exact")
    }

    /// `None` where the counts that the order of columns rests on prove not to be exact: then what was written is of no use.
    fn attempt(
        &self,
        given: Option<&ColumnOrder>,
        mut writer: StoreWriter,
        survey: Option<Survey>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Option<Written>, ConvertError> {
        let (matrix, var) = (&self.selected.matrix, &self.selected.var);
        let (n_obs, value_type) = (matrix.n_obs(), matrix.value_type());
        let (stretch, begin_shards) = (
            parts::obs(self.options, n_obs),
            parts::first_blocks(self.options, n_obs),
        );
        let n_rows = stretch.end - stretch.start;
        let work = n_rows + survey.map_or(0, |survey| survey.n_rows(n_obs));
        let found = survey
            .map(|survey| survey::run(matrix, survey, self.window_nnz, &|done| progress(done, work)))
            .transpose()?;
        let raw_value_type = found.as_ref().and_then(|f| f.narrowest).unwrap_or(value_type);
        let order = match (self.var_order, given) {
            (VarOrder::Source, _) => None,
            (VarOrder::Detection, Some(given)) => Some(given.clone()),
            (VarOrder::Detection, None) => found.map(|found| ColumnOrder::by_detection(&found.counts)),
        };
        writer.set_raw_value_type(raw_value_type);
        tables::write_var(&mut writer, var, order.as_ref())?;
        let encoder = BlockEncoder {
            encoding: self.options.encoding,
            n_vars: matrix.n_vars(),
            raw_value_type,
            column_of_source: order.as_ref().map(|order| order.column_of_source.clone()),
        };

        let mut next_block = stretch.start / u64::from(self.options.block_size);
        let mut append = |writer: &mut StoreWriter, block: &EncodedBlock| {
            if begin_shards.binary_search(&next_block).is_ok() {
                writer.begin_shard();
            }
            next_block += 1;
            writer.append(block)
        };
        let mut cutter = BlockCutter::new(self.options.block_size, value_type, stretch.start);
        let mut rows = matrix.rows(stretch, self.window_nnz)?;
        let mut done = work - n_rows;
        let (mut looks, mut n_windows) = (Looks::default(), 0);
        while let Some(window) = rows.next() {
            let mut window = window?;
            if n_windows < SAMPLE_WINDOWS {
                looks.add(&window.values);
                n_windows += 1;
            }
            let mut changed = rows.report();
            changed += matrix.changed_before();
            let dropped = changed.duplicates_summed + changed.explicit_zeros_dropped;
            if dropped > 0 && survey == Some(Survey::StoredCounts) {
                return Ok(None);
            }
            for block in cutter.encode(&mut window, &encoder)? {
                append(&mut writer, &block)?;
            }
            done += window.n_rows() as u64;
            rows.recycle(window);
            progress(done, work);
        }
        if let Some(block) = cutter.finish(&encoder)? {
            append(&mut writer, &block)?;
        }
        let mut changed = rows.report();
        if !matches!(self.options.parts, Some(Parts::One { .. })) {
            // In a part this is not counted, since it is about all rows.
            changed += matrix.changed_before();
        }
        Ok(Some(Written {
            writer,
            changed,
            looks,
            order,
        }))
    }
}
