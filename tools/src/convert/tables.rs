//! Passes obs and var on to the store.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD, TABLE_BATCH_ROWS};
use cellring::writer::{LinkedWriter, StoreWriter, TableKind};
use cellring_anndata::TableSource;
use cellring_anndata::write::TableCheck;

use super::error::ConvertError;
use super::survey::ColumnOrder;

/// What the tables of a store are written to.
pub(crate) trait TableSink {
    /// As [`StoreWriter::write_table`].
    fn write_table(
        &mut self,
        kind: TableKind,
        schema: &Arc<Schema>,
        batches: impl IntoIterator<Item = Result<RecordBatch, ConvertError>>,
    ) -> Result<(), ConvertError>;
}

macro_rules! table_sink {
    ($($Writer:ty),*) => {
        $(impl TableSink for $Writer {
            fn write_table(
                &mut self,
                kind: TableKind,
                schema: &Arc<Schema>,
                batches: impl IntoIterator<Item = Result<RecordBatch, ConvertError>>,
            ) -> Result<(), ConvertError> {
                <$Writer>::write_table(self, kind, schema, batches)
            }
        })*
    };
}

table_sink!(StoreWriter, LinkedWriter);

/// Copies the batches of obs that begin within `rows`, a multiple of their length; where obs is in another order than the source, each obs's place in that is added.
pub(crate) fn write_obs(
    writer: &mut impl TableSink,
    obs: &TableSource,
    order: Option<&[u32]>,
    rows: Range<u64>,
) -> Result<(), ConvertError> {
    let schema = match order {
        Some(_) => with_position(obs.schema()),
        None => Arc::clone(obs.schema()),
    };
    let mut check = checked(obs)?;
    let batches = rows.clone().step_by(TABLE_BATCH_ROWS).map(|start| {
        let end = rows.end.min(start + TABLE_BATCH_ROWS as u64);
        let batch = obs.read(start..end)?;
        check(&batch)?;
        let Some(order) = order else { return Ok(batch) };
        let mut columns = batch.columns().to_vec();
        let positions = order[start as usize..end as usize].to_vec();
        columns.push(Arc::new(UInt32Array::from(positions)) as ArrayRef);
        RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|error| ConvertError::Order(error.to_string()))
    });
    writer.write_table(TableKind::Obs, &schema, batches)
}

/// Refuses what the export of the store would refuse: returns what looks at each batch.
fn checked(
    table: &TableSource,
) -> Result<impl FnMut(&RecordBatch) -> Result<(), ConvertError> + use<>, ConvertError> {
    let name = table.to_string();
    let refuse = move |fault| ConvertError::Column {
        table: name.clone(),
        fault,
    };
    let mut check = TableCheck::new(table.schema()).map_err(&refuse)?;
    Ok(move |batch: &RecordBatch| check.batch(batch).map_err(&refuse))
}

/// The fields of a table, and one for each row's place in the source.
fn with_position(schema: &Schema) -> Arc<Schema> {
    let metadata = HashMap::from([(ROLE_KEY.to_owned(), ROLE_SOURCE_POSITION.to_owned())]);
    let position = Field::new(SOURCE_POSITION_FIELD, DataType::UInt32, false).with_metadata(metadata);
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(position));
    Arc::new(Schema::new(fields))
}

/// Copies var in the store's order of columns, and adds each column's place in the source.
pub(crate) fn write_var(
    writer: &mut impl TableSink,
    var: &TableSource,
    order: Option<&ColumnOrder>,
) -> Result<(), ConvertError> {
    let schema = with_position(var.schema());
    let whole = order.map(|_| var.read(0..var.n_rows())).transpose()?;
    let mut check = checked(var)?;
    let batches = (0..var.n_rows()).step_by(TABLE_BATCH_ROWS).map(|start| {
        let end = var.n_rows().min(start + TABLE_BATCH_ROWS as u64);
        let (batch, positions) = match (&whole, order) {
            (Some(whole), Some(order)) => {
                let rows = order.source_of_column[start as usize..end as usize].to_vec();
                let positions = UInt32Array::from(rows);
                (
                    arrow_select::take::take_record_batch(whole, &positions),
                    positions,
                )
            }
            _ => (
                Ok(var.read(start..end)?),
                (start as u32..end as u32).collect::<UInt32Array>(),
            ),
        };
        let failed = |error: ArrowError| ConvertError::Var(error.to_string());
        let batch = batch.map_err(failed)?;
        check(&batch)?;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(positions) as ArrayRef);
        RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)
    });
    writer.write_table(TableKind::Var, &schema, batches)
}
