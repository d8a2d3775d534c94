//! Brings obs and var of a store into the file.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use cellring::Store;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use cellring::format::table::Table;
use cellring_anndata::__internal::{Scatter, ScatterError};
use cellring_anndata::write::{AnnDataWriter, Axis};
use cellring_anndata::{ReadError, Workspace};

use super::error::ExportError;

/// For each obs of the source its place in the store, where that is another.
pub(super) fn obs_places(store: &Store) -> Result<Option<Vec<u32>>, ExportError> {
    let table = store.obs();
    let fields = table.schema()?.fields();
    let Some(column) = fields.iter().position(is_position) else {
        return Ok(None);
    };
    let damaged = || ExportError::Positions {
        store: store.path().to_path_buf(),
    };
    const UNSET: u32 = u32::MAX;
    let mut places = vec![UNSET; usize::try_from(table.n_rows()).map_err(|_| damaged())?];
    let mut obs = 0;
    for batch in 0..table.n_batches()? {
        let batch = table.batch(batch)?;
        let positions = batch.column(column).as_any().downcast_ref::<UInt32Array>();
        for &position in positions.ok_or_else(damaged)?.values() {
            match places.get_mut(position as usize) {
                Some(place) if *place == UNSET => *place = obs,
                _ => return Err(damaged()),
            }
            obs += 1;
        }
    }
    Ok(Some(places))
}

/// Writes the obs of a range, in the store's order.
pub(super) fn write_obs(
    writer: &mut AnnDataWriter,
    store: &Store,
    obs: Range<u64>,
) -> Result<(), ExportError> {
    let table = store.obs();
    let (kept, schema) = kept_fields(store)?;
    let failed = |error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    };
    let mut out = writer.table(Axis::Obs, &schema)?;
    let mut at = obs.start;
    // One batch at least, if with no row of it: it brings the categories.
    for batch in at as usize / TABLE_BATCH_ROWS..table.n_batches()? {
        let from = at as usize % TABLE_BATCH_ROWS;
        let n_rows = (TABLE_BATCH_ROWS - from).min((obs.end - at) as usize);
        let batch = table.batch(batch)?.project(&kept).map_err(failed)?;
        out.push(&batch.slice(from, n_rows))?;
        at += n_rows as u64;
        if at == obs.end {
            break;
        }
    }
    Ok(out.finish()?)
}

/// The fields of obs that come from the source.
fn kept_fields(store: &Store) -> Result<(Vec<usize>, SchemaRef), ExportError> {
    let schema = store.obs().schema()?;
    let fields = schema.fields().iter().enumerate();
    let kept: Vec<usize> = fields
        .filter(|(_, field)| !is_position(field))
        .map(|(place, _)| place)
        .collect();
    let kept_schema = schema.project(&kept).map_err(|error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    })?;
    Ok((kept, Arc::new(kept_schema)))
}

/// Writes obs in the order of the source, reading it in that of the store.
pub(super) fn restore_obs(
    writer: &mut AnnDataWriter,
    store: &Store,
    workspace: &Workspace,
) -> Result<(), ExportError> {
    let table = store.obs();
    let (kept, schema) = kept_fields(store)?;
    let failed = |error: ScatterError| match error {
        ScatterError::Io(source) => ExportError::Source(ReadError::Spill {
            directory: workspace.directory.clone(),
            source,
        }),
        ScatterError::Arrow(error) => ExportError::Table {
            store: store.path().to_path_buf(),
            error,
        },
    };
    let n_rows = table.n_rows();
    let mut scatter = Scatter::new(&schema, n_rows, workspace);
    let position = table.schema()?.fields().iter().position(is_position);
    for number in 0..table.n_batches()? {
        let batch = table.batch(number)?;
        let positions = position.and_then(|place| batch.column(place).as_any().downcast_ref::<UInt32Array>());
        let positions = positions.ok_or_else(|| ExportError::Positions {
            store: store.path().to_path_buf(),
        })?;
        let rows = batch.project(&kept).map_err(|error| failed(error.into()))?;
        scatter.push(&rows, positions.values()).map_err(failed)?;
    }
    let mut out = writer.table(Axis::Obs, &schema)?;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    for start in (0..n_rows).step_by(TABLE_BATCH_ROWS) {
        let rows = start..n_rows.min(start + TABLE_BATCH_ROWS as u64);
        let columns = scatter.read(rows, &all).map_err(failed)?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        out.push(&batch.map_err(|error| failed(error.into()))?)?;
    }
    Ok(out.finish()?)
}

fn is_position(field: &FieldRef) -> bool {
    field.metadata().get(ROLE_KEY).map(String::as_str) == Some(ROLE_SOURCE_POSITION)
}

/// Writes var in the source's order and without the field that tells it.
pub(super) fn write_var(
    writer: &mut AnnDataWriter,
    store: &Store,
    axis: Axis,
    positions: &[u32],
) -> Result<(), ExportError> {
    let mut column_of_source = vec![0; positions.len()];
    for (column, &source) in positions.iter().enumerate() {
        column_of_source[source as usize] = column as u32;
    }
    let rows = column_of_source;
    let (schema, columns) = source_columns(store.var())?;
    let failed = |error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    };
    let mut out = writer.table(axis, &schema)?;
    if !rows.is_empty() {
        let rows = UInt32Array::from(rows);
        let columns = columns
            .iter()
            .map(|batches| {
                let batches: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
                let whole = arrow_select::concat::concat(&batches)?;
                arrow_select::take::take(&whole, &rows, None)
            })
            .collect::<Result<Vec<ArrayRef>, ArrowError>>()
            .map_err(failed)?;
        out.push(&RecordBatch::try_new(schema, columns).map_err(failed)?)?;
    }
    Ok(out.finish()?)
}

/// The fields of the table that come from the source, and their batches.
///
/// Column by column, since the batches of a column that are read together share one dictionary, which joining them
/// then leaves as it is.
fn source_columns(table: &Table) -> Result<(SchemaRef, Vec<Vec<ArrayRef>>), cellring::Error> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in table.schema()?.fields() {
        let column = match field.metadata().get(ROLE_KEY).map(String::as_str) {
            Some(ROLE_SOURCE_POSITION) => continue,
            Some(_) => table.names()?,
            None => table.column(field.name())?,
        };
        fields.push(Arc::clone(field));
        columns.push(column.batches().to_vec());
    }
    Ok((Arc::new(Schema::new(fields)), columns))
}
