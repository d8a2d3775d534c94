//! Data frames of `obsm`, as matrices: CITE-seq counts are often kept so.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float16Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use cellring_core::with_element;
use cellring_core::{CsrRows, Element, ValueBuffer, ValueClass, ValueType};

use super::canonical::Canonicalised;
use super::frame_column::FrameColumn;
use super::number::{promote, widen};
use super::source::{RowSource, check_row_nnz, decoding_pool, reuse};
use super::value::Value;
use crate::arrow_values::{self, arrow_type, value_type_of};
use crate::container::{Kind, SourceFile};
use crate::error::{ReadError, Result};
use crate::metadata::ENCODING;
use crate::table::{self, TableSource};

/// Rows that are read at a time.
const ROWS: u64 = 1 << 14;

/// A data frame all of whose columns are numbers or bools.
#[derive(Debug)]
pub(super) struct Frame {
    table: TableSource,
    file: PathBuf,
    object: String,
    value_type: ValueType,
    columns: Vec<FrameColumn>,
    pool: rayon::ThreadPool,
}

/// Whether the group is a data frame.
pub(super) fn is_frame(file: &SourceFile, object: &str) -> Result<bool> {
    Ok(file.kind(object)? == Some(Kind::Group)
        && file
            .text_attribute(object, Kind::Group, "encoding-type")?
            .as_deref()
            == Some("dataframe"))
}

impl Frame {
    pub(super) fn open(file: &Arc<SourceFile>, object: &str) -> Result<Self> {
        let table = table::open(file, object)?;
        let refuse = |column: &str, problem: String| ReadError::FrameColumn {
            file: file.path().to_owned(),
            object: object.to_owned(),
            column: column.to_owned(),
            problem,
        };
        // A column that cannot be read must not go missing.
        if let Some(warning) = table.warnings().first() {
            return Err(ReadError::Frame {
                file: file.path().to_owned(),
                object: object.to_owned(),
                problem: warning.clone(),
            });
        }
        let fields = &table.schema().fields()[1..];
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let numpy_name = numpy_name(field.data_type())
                .ok_or_else(|| refuse(field.name(), "holds text or categories".to_owned()))?;
            columns.push(FrameColumn {
                name: field.name().clone(),
                numpy_name,
                encoding: field
                    .metadata()
                    .get(ENCODING)
                    .cloned()
                    .unwrap_or_else(|| "array".to_owned()),
            });
        }
        let value_type = common_type(fields.iter().map(|field| field.data_type()));
        Ok(Self {
            pool: decoding_pool(file.path())?,
            file: file.path().to_owned(),
            object: object.to_owned(),
            value_type,
            columns,
            table,
        })
    }

    /// Names of the columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }
}

impl RowSource for Frame {
    fn place(&self) -> (&Path, &str) {
        (&self.file, &self.object)
    }

    fn form(&self) -> &'static str {
        "dataframe"
    }

    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        Some(self.columns.clone())
    }

    fn n_obs(&self) -> u64 {
        self.table.n_rows()
    }

    fn n_vars(&self) -> u64 {
        self.columns.len() as u64
    }

    fn nnz(&self) -> u64 {
        self.n_obs() * self.n_vars()
    }

    fn value_type(&self) -> ValueType {
        self.value_type
    }

    fn indices_type(&self) -> String {
        "int32".to_owned()
    }

    fn has_bounds_only(&self) -> bool {
        true
    }

    fn stored_in(&self, _: u64) -> u64 {
        self.n_vars()
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        // Arrays, and the numbers that they hold.
        ROWS * self.n_vars() * 24
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let fitting = (max_nnz as u64 / self.n_vars().max(1)).clamp(1, ROWS);
        start..end.min(start + fitting)
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        check_row_nnz(self, rows.start, self.n_vars())?;
        let batch = self.table.read(rows.clone())?;
        for (column, about) in batch.columns()[1..].iter().zip(&self.columns) {
            let missing = column
                .nulls()
                .and_then(|nulls| nulls.iter().position(|is_there| !is_there));
            if let Some(row) = missing {
                return Err(ReadError::FrameColumn {
                    file: self.file.clone(),
                    object: self.object.clone(),
                    column: about.name.clone(),
                    problem: format!("has no value in row {}", rows.start + row as u64),
                });
            }
        }
        let mut window = reuse(spent, self.value_type);
        fill(&batch, self.value_type, &mut window).map_err(|refused| ReadError::FrameColumn {
            file: self.file.clone(),
            object: self.object.clone(),
            column: self.columns[refused.column].name.clone(),
            problem: format!(
                "has the value {} in row {}, which {}, the type that its columns have in common, does not hold exactly",
                refused.value,
                rows.start + refused.row as u64,
                self.value_type.numpy_name()
            ),
        })?;
        Ok((window, Canonicalised::default()))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        *indices = self.read(rows, None)?.0.indices;
        Ok(())
    }
}

/// A value that the common type does not hold.
struct Refused {
    column: usize,
    row: usize,
    value: String,
}

/// Makes rows of the columns after the first one.
fn fill(
    batch: &RecordBatch,
    value_type: ValueType,
    window: &mut CsrRows,
) -> std::result::Result<(), Refused> {
    let columns = batch.columns()[1..].iter().enumerate();
    let columns = columns.map(|(column, array)| {
        widen(&values_of(array), value_type).map_err(|(row, value)| Refused { column, row, value })
    });
    let mut columns = columns.collect::<std::result::Result<Vec<ValueBuffer>, _>>()?;
    with_element!(value_type, T => {
        if let Some(values) = T::vec_mut(&mut window.values) {
            let columns: Vec<&[T]> = columns.iter_mut().filter_map(T::vec_mut).map(|values| &values[..]).collect();
            compact(&columns, batch.num_rows(), &mut window.indptr, &mut window.indices, values);
        }
    });
    Ok(())
}

/// The values of columns that are not zero, by rows.
fn compact<T: Value>(
    columns: &[&[T]],
    n_rows: usize,
    indptr: &mut Vec<u64>,
    indices: &mut Vec<u32>,
    values: &mut Vec<T>,
) {
    values.clear();
    indptr.push(0);
    for row in 0..n_rows {
        for (number, column) in (0..).zip(columns) {
            if !column[row].is_plus_zero() {
                indices.push(number);
                values.push(column[row]);
            }
        }
        indptr.push(indices.len() as u64);
    }
}

/// The numbers or bools of a column; half floats as `f32`, which holds them.
fn values_of(array: &dyn Array) -> ValueBuffer {
    match array.data_type() {
        DataType::Float16 => {
            let values = array.as_primitive::<Float16Type>().values().iter();
            ValueBuffer::F32(values.map(|value| value.to_f32()).collect())
        }
        other => {
            arrow_values::values_of(array).unwrap_or_else(|| unreachable!("{other} is not among numbers"))
        }
    }
}

/// numpy's name of a type of numbers or bools.
fn numpy_name(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Float16 => Some("float16"),
        other => value_type_of(other).map(ValueType::numpy_name),
    }
}

/// The type of this numpy name; see [`FrameColumn`].
pub fn type_of_numpy_name(name: &str) -> Option<DataType> {
    if name == "float16" {
        return Some(DataType::Float16);
    }
    let value_type = ValueType::ALL
        .iter()
        .find(|value_type| value_type.numpy_name() == name);
    value_type.copied().map(arrow_type)
}

/// The narrowest element type for all columns. It holds the values of each exactly, but for 64-bit integers beside floats and `u64`
/// beside signed integers, whose values are checked as they are read.
fn common_type<'a>(columns: impl Iterator<Item = &'a DataType>) -> ValueType {
    let element = |data_type: &DataType| match data_type {
        DataType::Float16 => ValueType::F32,
        other => value_type_of(other).unwrap_or(ValueType::F64),
    };
    // Floats first: the type of some integers together may be wider than the float that holds each of them.
    let (floats, others): (Vec<_>, Vec<_>) = columns
        .map(element)
        .partition(|element| element.class() == ValueClass::Float);
    let all = floats.into_iter().chain(others);
    all.reduce(promote).unwrap_or(ValueType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_type_is_the_narrowest_that_is_exact() {
        use DataType::*;
        for (types, expected) in [
            (&[Boolean, Boolean][..], ValueType::Bool),
            (&[Boolean, UInt8], ValueType::U8),
            (&[Boolean, Int8], ValueType::I8),
            (&[UInt8, Int8], ValueType::I16),
            (&[UInt32, Int8], ValueType::I64),
            (&[UInt16, UInt64], ValueType::U64),
            (&[Int32, Int32, Int32], ValueType::I32),
            (&[Float16, UInt16], ValueType::F32),
            (&[UInt16, Int16, Float32], ValueType::F32),
            (&[Float32, Int32], ValueType::F64),
            (&[Float32, Float64], ValueType::F64),
            (&[], ValueType::F32),
            // By value, as they are read.
            (&[UInt64, Int8], ValueType::I64),
            (&[Float64, Boolean, Int64], ValueType::F64),
            (&[UInt64, Int8, Float32], ValueType::F64),
        ] {
            assert_eq!(common_type(types.iter()), expected, "{types:?}");
            assert_eq!(common_type(types.iter().rev()), expected, "{types:?}");
        }
        for data_type in [Boolean, Int64, UInt8, Float16] {
            let name = numpy_name(&data_type).unwrap();
            assert_eq!(type_of_numpy_name(name), Some(data_type));
        }
    }
}
