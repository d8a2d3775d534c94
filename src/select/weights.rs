//! Weights from a column.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_schema::DataType;

use super::error::SelectError;
use crate::Error;
use crate::format::column::{ColumnKind, integers};
use crate::store::Store;

/// A weight for each obs, from a column of numbers: for [`Weighted`](crate::plan::Weighted).
///
/// Four bytes for each obs. Integers and 64-bit floats become the nearest `f32`.
///
/// # Errors
/// If there is no such column or it holds no numbers, or a value is missing, negative, NaN, or infinite
/// as `f32`; it names the first obs with such a value.
pub fn weights(store: &Store, column: &str) -> Result<Arc<[f32]>, Error> {
    let found = store.obs().column(column)?;
    let data_type = found.field().data_type();
    if !ColumnKind::from_data_type(data_type).is_some_and(ColumnKind::is_number) {
        return Err(SelectError::ColumnType {
            column: column.to_owned(),
            data_type: data_type.to_string(),
            expected: "but weights must be numbers",
        }
        .into());
    }
    let mut weights = Vec::with_capacity(store.n_obs() as usize);
    for batch in found.batches() {
        for (row, weight) in numbers(batch).into_iter().enumerate() {
            let (column, obs) = (column.to_owned(), weights.len() as u64);
            match weight {
                Some(weight) if weight >= 0.0 && weight.is_finite() => weights.push(weight),
                Some(_) => {
                    let found = shown(batch, row);
                    return Err(SelectError::BadWeight { column, obs, found }.into());
                }
                None => return Err(SelectError::MissingWeight { column, obs }.into()),
            }
        }
    }
    Ok(weights.into())
}

fn numbers(array: &dyn Array) -> Vec<Option<f32>> {
    match array.data_type() {
        DataType::Float16 => {
            let halves = array.as_primitive::<Float16Type>().iter();
            halves.map(|half| half.map(f32::from)).collect()
        }
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().collect(),
        DataType::Float64 => {
            let doubles = array.as_primitive::<Float64Type>().iter();
            doubles.map(|double| double.map(|double| double as f32)).collect()
        }
        _ => integers(array)
            .into_iter()
            .map(|integer| integer.map(|integer| integer as f32))
            .collect(),
    }
}

/// A value as messages name it.
fn shown(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        _ => integers(&array.slice(row, 1))
            .first()
            .copied()
            .flatten()
            .map_or_else(String::new, |integer| integer.to_string()),
    }
}
