//! Writes a store whose cells are sorted by class, as atlases are that were put together plate by plate.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cellring::Store;
use cellring::format::constants::TABLE_BATCH_ROWS;
use cellring::format::table::Column;
use cellring::format::{CsrRows, Element, ValueBuffer};
use cellring::writer::{BlockEncoder, StoreWriter, TableKind, WriterOptions};

use crate::linear::Result;

/// Writes the cells of `store` in this order to a new store at `path`, and opens it.
///
/// All cells are held in memory meanwhile: this is for data sets of the size of examples.
pub(crate) fn write_in_order(store: &Store, order: &[u64], path: &Path) -> Result<Arc<Store>> {
    let manifest = store.manifest();
    let rows = gather(&store.rows(0..store.n_obs())?, order);
    let mut options = WriterOptions::new(manifest.n_vars, manifest.value_type);
    options.var_order = manifest.var_order;
    let encoder = BlockEncoder {
        encoding: options.encoding,
        n_vars: options.n_vars,
        raw_value_type: options.raw_value_type,
        column_of_source: None, // the columns are in the store's order already
    };
    let block_size = options.block_size as usize;
    let mut writer = StoreWriter::create(path, options)?;
    for first in (0..rows.n_rows()).step_by(block_size) {
        let range = first..rows.n_rows().min(first + block_size);
        writer.append(&encoder.encode(first as u64, &rows, range)?)?;
    }
    // The names of the cells; other columns of obs are not needed here.
    let names = store.obs().names()?;
    let renamed = reorder_names(&names, order)?;
    writer.write_table(
        TableKind::Obs,
        &renamed.0,
        renamed.1.into_iter().map(Ok::<_, cellring::Error>),
    )?;
    let batches = (0..store.var().n_batches()?).map(|i| store.var().batch(i));
    let batches: std::result::Result<Vec<_>, _> = batches.collect();
    writer.write_table(
        TableKind::Var,
        store.var().schema()?,
        batches?.into_iter().map(Ok::<_, cellring::Error>),
    )?;
    writer.finish()?;
    Ok(Arc::new(Store::open(path)?))
}

/// The rows in this order.
fn gather(rows: &CsrRows, order: &[u64]) -> CsrRows {
    let mut gathered = CsrRows {
        indptr: vec![0],
        indices: Vec::with_capacity(rows.nnz()),
        values: ValueBuffer::with_capacity(rows.values.value_type(), rows.nnz()),
    };
    for &row in order {
        let of_row = rows.indptr[row as usize] as usize..rows.indptr[row as usize + 1] as usize;
        gathered.indices.extend_from_slice(&rows.indices[of_row.clone()]);
        cellring::with_values!(&rows.values, values => push(&values[of_row], &mut gathered.values));
        gathered.indptr.push(gathered.indices.len() as u64);
    }
    gathered
}

fn push<T: Element>(values: &[T], to: &mut ValueBuffer) {
    if let Some(to) = T::vec_mut(to) {
        to.extend_from_slice(values);
    }
}

fn reorder_names(names: &Column, order: &[u64]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let field = Field::new(names.field().name(), DataType::Utf8, false);
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        field.with_metadata(names.field().metadata().clone()),
    ]));
    let text = |obs: u64| {
        let (array, row) = names.at(obs);
        match array.data_type() {
            DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
            DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            _ => format!("cell {obs}"),
        }
    };
    let mut batches = Vec::new();
    for batch in order.chunks(TABLE_BATCH_ROWS) {
        let names = StringArray::from_iter_values(batch.iter().map(|&obs| text(obs)));
        batches.push(RecordBatch::try_new(schema.clone(), vec![Arc::new(names)])?);
    }
    Ok((schema, batches))
}
