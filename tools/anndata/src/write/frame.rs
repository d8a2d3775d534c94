//! A matrix that is written as a data frame: in `obsm`, with a type for each column.

use std::sync::Arc;

use arrow_array::types::Float16Type;
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::{DataType, Field};
use cellring_core::with_values;
use cellring_core::{CsrRows, Element, Number, ValueBuffer};

use super::column::{ColumnError, ColumnWriter};
use super::error::{ColumnFault, WriteErrorKind};
use super::output::Output;
use super::tree::Node;
use crate::arrow_values::{self, value_type_of};

/// Rows that are made arrays of at a time.
const ROWS: usize = 1 << 14;

/// The columns that are being written.
pub(super) struct Columns {
    frame: String,
    fields: Vec<Field>,
    writers: Vec<ColumnWriter>,
}

impl Columns {
    pub(super) fn new(out: &mut Output, frame: String, fields: &[Field]) -> Result<Self, WriteErrorKind> {
        let mut writers = Vec::with_capacity(fields.len());
        for field in fields {
            let writer = ColumnWriter::new(out, field).map_err(|problem| WriteErrorKind::Frame {
                frame: frame.clone(),
                fault: ColumnFault::new(field.name(), problem),
            })?;
            writers.push(writer);
        }
        Ok(Self {
            frame,
            fields: fields.to_vec(),
            writers,
        })
    }

    /// Appends rows whose columns are known to exist.
    pub(super) fn push(&mut self, out: &mut Output, rows: &CsrRows) -> Result<(), WriteErrorKind> {
        for first in (0..rows.n_rows()).step_by(ROWS) {
            let bounds = &rows.indptr[first..=rows.n_rows().min(first + ROWS)];
            let n_rows = bounds.len() - 1;
            let mut columns = vec![vec![Number::Integer(0); n_rows]; self.fields.len()];
            for (row, pair) in bounds.windows(2).enumerate() {
                for entry in pair[0] as usize..pair[1] as usize {
                    columns[rows.indices[entry] as usize][row] = number_at(&rows.values, entry);
                }
            }
            for ((numbers, field), writer) in columns.iter().zip(&self.fields).zip(&mut self.writers) {
                let array =
                    array_of(numbers, field.data_type()).ok_or_else(|| WriteErrorKind::FrameValue {
                        frame: self.frame.clone(),
                        column: field.name().clone(),
                    })?;
                writer
                    .push(out, &array)
                    .map_err(|error| column_error(&self.frame, field, error))?;
            }
        }
        Ok(())
    }

    /// The columns, named, in their order.
    pub(super) fn finish(self, out: &mut Output) -> Result<Vec<(String, Node)>, WriteErrorKind> {
        let Self {
            frame,
            fields,
            writers,
        } = self;
        let finish = |(field, writer): (Field, ColumnWriter)| match writer.finish(out) {
            Ok(node) => Ok((field.name().clone(), node)),
            Err(error) => Err(column_error(&frame, &field, error)),
        };
        fields.into_iter().zip(writers).map(finish).collect()
    }
}

fn column_error(frame: &str, field: &Field, error: ColumnError) -> WriteErrorKind {
    match error {
        ColumnError::File(kind) => kind,
        ColumnError::Problem(problem) => WriteErrorKind::Frame {
            frame: frame.to_owned(),
            fault: ColumnFault::new(field.name(), problem),
        },
    }
}

/// A value of whatever type, exactly.
fn number_at(values: &ValueBuffer, entry: usize) -> Number {
    with_values!(values, values => values[entry].number())
}

/// The numbers as an array of this type; nothing if one does not fit, or the type is not numeric.
fn array_of(numbers: &[Number], data_type: &DataType) -> Option<ArrayRef> {
    if *data_type != DataType::Float16 {
        return arrow_values::array_of(numbers, value_type_of(data_type)?);
    }
    let half = |number: &Number| {
        let value = number.as_float()?;
        let narrow = <Float16Type as ArrowPrimitiveType>::Native::from_f64(value);
        (narrow.to_f64() == value || value.is_nan()).then_some(narrow)
    };
    let halves = numbers.iter().map(half).collect::<Option<Vec<_>>>()?;
    Some(Arc::new(PrimitiveArray::<Float16Type>::from_iter_values(halves)))
}
