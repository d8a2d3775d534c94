//! Writes the obs table of the enlarged store.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use cellring::Store;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use cellring::writer::StoreAppender;
use cellring_anndata::__internal::texts_of;
use cellring_anndata::TableSource;
use cellring_anndata::write::{ColumnFault, TableCheck};

use super::addition::Addition;
use super::columns::{ColumnPlan, Mismatch};
use super::error::AppendError;

/// One column of the enlarged table, and where it comes from.
struct Column {
    plan: ColumnPlan,
    /// Its place in the store's table.
    place: usize,
    /// For each input its place there.
    in_input: Vec<Option<usize>>,
    /// Whether it holds the places of the obs in the source.
    is_position: bool,
}

impl Column {
    /// The column of an input; names that are numbers become texts where those of the store are.
    fn own(&self, place: usize, found: &ArrayRef) -> Result<ArrayRef, Mismatch> {
        // The first column of an input is its index.
        match (place, self.plan.field.data_type()) {
            (0, DataType::Utf8) if *found.data_type() != DataType::Utf8 => Ok(texts_of(found, "")?),
            _ => Ok(Arc::clone(found)),
        }
    }
}

/// Writes the table: the rows that are there, then those of the inputs.
pub(super) fn write(
    appender: &mut StoreAppender,
    store: &Store,
    inputs: &[Addition],
    warnings: &mut Vec<String>,
) -> Result<(), AppendError> {
    let columns = plan(store, inputs, warnings)?;
    let has_positions = columns.iter().any(|column| column.is_position);
    let fields: Vec<Field> = columns.iter().map(|column| column.plan.field.clone()).collect();
    let schema = Arc::new(Schema::new(fields));
    let n_obs = store.n_obs() + inputs.iter().map(|input| input.obs.n_rows()).sum::<u64>();
    if has_positions && n_obs > 1 << 32 {
        let why = format!("{n_obs} obs in another order than that of their source are more than 2^32");
        return Err(table_error(store, why));
    }
    // What the export of the store would refuse.
    let refuse = |fault: ColumnFault| table_error(store, fault.to_string());
    let mut check = TableCheck::new(&schema).map_err(refuse)?;
    let batches = (0..n_obs).step_by(TABLE_BATCH_ROWS).map(|start| {
        let end = n_obs.min(start + TABLE_BATCH_ROWS as u64);
        let batch = batch(store, inputs, &columns, &schema, start, end)?;
        check.batch(&batch).map_err(refuse)?;
        Ok(batch)
    });
    appender.write_obs(&schema, batches)
}

fn plan(store: &Store, inputs: &[Addition], warnings: &mut Vec<String>) -> Result<Vec<Column>, AppendError> {
    let schema = store.obs().schema()?;
    let sample = match store.n_obs() {
        0 => None,
        _ => Some(store.obs().batch(0)?),
    };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        let role = field.metadata().get(ROLE_KEY).map(String::as_str);
        let is_position = role == Some(ROLE_SOURCE_POSITION);
        let sample = sample.as_ref().map(|batch| batch.column(place));
        let plan = ColumnPlan::new(field, sample).map_err(|mismatch| table_error(store, mismatch.0))?;
        let in_input = inputs.iter().map(|input| match role {
            // Names of obs may be called otherwise.
            Some(_) => (!is_position).then_some(0),
            None => place_of(&input.obs, field.name()),
        });
        columns.push(Column {
            in_input: in_input.collect(),
            plan,
            place,
            is_position,
        });
    }
    for (number, input) in inputs.iter().enumerate() {
        warnings.extend(input.obs.warnings().iter().cloned());
        let (shown, into) = (input.path.display(), store.path().display());
        for field in input.obs.schema().fields().iter().skip(1) {
            let is_known = |column: &Column| !column.is_position && column.plan.field.name() == field.name();
            if !columns.iter().skip(1).any(is_known) {
                warnings.push(format!(
                    "obs column {} of {shown} is left out, since {into} has no such column",
                    field.name()
                ));
            }
        }
        for column in columns
            .iter_mut()
            .filter(|column| !column.is_position && column.in_input[number].is_none())
        {
            column
                .plan
                .add(None)
                .map_err(|mismatch| table_error(store, mismatch.0))?;
            warnings.push(format!(
                "obs column {} is missing for the obs of {shown}, which has no such column",
                column.plan.field.name()
            ));
        }
        for start in (0..input.obs.n_rows()).step_by(TABLE_BATCH_ROWS) {
            let end = input.obs.n_rows().min(start + TABLE_BATCH_ROWS as u64);
            let batch = input.obs.read(start..end)?;
            for column in &mut columns {
                if let Some(place) = column.in_input[number] {
                    let field = input.obs.schema().field(place);
                    let own = column
                        .own(place, batch.column(place))
                        .map_err(|mismatch| column_error(input, store, field.name(), mismatch))?;
                    let field = &field.clone().with_data_type(own.data_type().clone());
                    if let (0, Some(how)) = (start, column.plan.lost_order(field, &own)) {
                        let name = field.name();
                        warnings.push(format!(
                            "the order of the categories of obs column {name} of {shown} is lost: {how}"
                        ));
                    }
                    let added = column.plan.add(Some((field, &own)));
                    added.map_err(|mismatch| column_error(input, store, field.name(), mismatch))?;
                }
            }
        }
    }
    columns.iter_mut().for_each(|column| column.plan.settle());
    Ok(columns)
}

/// The place of a column in a table; the first is not one.
fn place_of(table: &TableSource, name: &str) -> Option<usize> {
    let fields = table.schema().fields();
    fields
        .iter()
        .skip(1)
        .position(|field| field.name() == name)
        .map(|place| place + 1)
}

fn column_error(input: &Addition, store: &Store, column: &str, mismatch: Mismatch) -> AppendError {
    AppendError::Column {
        input: input.path.clone(),
        store: store.path().to_path_buf(),
        column: column.to_owned(),
        why: mismatch.0,
    }
}

fn table_error(store: &Store, why: String) -> AppendError {
    AppendError::Table {
        store: store.path().to_path_buf(),
        why,
    }
}

/// Rows `start` to `end` of the enlarged table, which begin with a batch of the store where they begin within it.
fn batch(
    store: &Store,
    inputs: &[Addition],
    columns: &[Column],
    schema: &SchemaRef,
    start: u64,
    end: u64,
) -> Result<RecordBatch, AppendError> {
    let failed = |error: ArrowError| table_error(store, error.to_string());
    let mut pieces = Vec::new();
    if start < store.n_obs() {
        let batch = store.obs().batch((start / TABLE_BATCH_ROWS as u64) as usize)?;
        let align = |column: &Column| {
            column
                .plan
                .align(Some(batch.column(column.place)), batch.num_rows())
        };
        let aligned: Result<Vec<ArrayRef>, Mismatch> = columns.iter().map(align).collect();
        let aligned = aligned.map_err(|mismatch| table_error(store, mismatch.0))?;
        pieces.push(RecordBatch::try_new(Arc::clone(schema), aligned).map_err(failed)?);
    }
    // Where the input begins in the enlarged table.
    let mut first = store.n_obs();
    for (number, input) in inputs.iter().enumerate() {
        let n_rows = input.obs.n_rows();
        let (from, to) = (start.max(first), end.min(first + n_rows));
        if from < to {
            let batch = input.obs.read(from - first..to - first)?;
            let mut aligned = Vec::with_capacity(columns.len());
            for column in columns {
                if column.is_position {
                    aligned.push(Arc::new(UInt32Array::from_iter_values(from as u32..to as u32)) as ArrayRef);
                    continue;
                }
                let name = column.plan.field.name();
                let own = column.in_input[number].map(|place| column.own(place, batch.column(place)));
                let array = own
                    .transpose()
                    .and_then(|own| column.plan.align(own.as_ref(), batch.num_rows()));
                aligned.push(array.map_err(|mismatch| column_error(input, store, name, mismatch))?);
            }
            pieces.push(RecordBatch::try_new(Arc::clone(schema), aligned).map_err(failed)?);
        }
        first += n_rows;
    }
    match <[RecordBatch; 1]>::try_from(pieces) {
        Ok([only]) => Ok(only),
        Err(pieces) => arrow_select::concat::concat_batches(schema, &pieces).map_err(failed),
    }
}
