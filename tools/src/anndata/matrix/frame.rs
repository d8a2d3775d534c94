//! Data frames of `obsm`, as matrices: CITE-seq counts are often kept so.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};
use cellring::format::{CsrRows, ValueBuffer, ValueType};

use super::canonical::Canonicalised;
use super::source::{RowSource, check_row_nnz, decoding_pool, reuse};
use super::value::Value;
use crate::anndata::container::{Kind, SourceFile};
use crate::anndata::error::{Result, SourceError};
use crate::anndata::table::{self, ENCODING, TableSource};

/// Rows that are read at a time.
const ROWS: u64 = 1 << 14;

/// A column of a data frame: what it takes to write it again as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameColumn {
    /// Its name.
    pub name: String,
    /// numpy name of its type.
    pub numpy_name: &'static str,
    /// Its encoding-type: `array`, `nullable-integer`, `nullable-boolean`.
    pub encoding: String,
}

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
        let refuse = |column: &str, problem: String| SourceError::FrameColumn {
            file: file.path().to_owned(),
            object: object.to_owned(),
            column: column.to_owned(),
            problem,
        };
        // A column that cannot be read must not go missing.
        if let Some(warning) = table.warnings().first() {
            return Err(SourceError::Frame {
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
        let types: Vec<&Field> = fields.iter().map(AsRef::as_ref).collect();
        let value_type = common_type(&types).map_err(|(column, other)| {
            refuse(
                column,
                format!("and {other:?} have types that no type holds exactly"),
            )
        })?;
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

    fn stored_in(&self, _: u64) -> u64 {
        self.n_vars()
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self) -> u64 {
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
                return Err(SourceError::FrameColumn {
                    file: self.file.clone(),
                    object: self.object.clone(),
                    column: about.name.clone(),
                    problem: format!("has no value in row {}", rows.start + row as u64),
                });
            }
        }
        let mut window = reuse(spent, self.value_type);
        fill(&batch, &mut window);
        Ok((window, Canonicalised::default()))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        *indices = self.read(rows, None)?.0.indices;
        Ok(())
    }
}

/// Makes rows of the columns behind the first one.
fn fill(batch: &RecordBatch, window: &mut CsrRows) {
    let (columns, n_rows) = (&batch.columns()[1..], batch.num_rows());
    let (indptr, indices) = (&mut window.indptr, &mut window.indices);
    macro_rules! integers {
        ($values:ident, $type:ty) => {{
            // The type was chosen so that all fit.
            let columns = columns.iter().map(|column| integers_of(column));
            let columns = columns.map(|column| column.into_iter().map(|value| value as $type).collect());
            compact(columns.collect(), n_rows, indptr, indices, $values);
        }};
    }
    match &mut window.values {
        ValueBuffer::Bool(values) => {
            let columns = columns.iter().map(|column| integers_of(column));
            let columns = columns.map(|column| column.into_iter().map(|value| value != 0).collect());
            compact(columns.collect(), n_rows, indptr, indices, values);
        }
        ValueBuffer::U8(values) => integers!(values, u8),
        ValueBuffer::U16(values) => integers!(values, u16),
        ValueBuffer::U32(values) => integers!(values, u32),
        ValueBuffer::U64(values) => integers!(values, u64),
        ValueBuffer::I8(values) => integers!(values, i8),
        ValueBuffer::I16(values) => integers!(values, i16),
        ValueBuffer::I32(values) => integers!(values, i32),
        ValueBuffer::I64(values) => integers!(values, i64),
        ValueBuffer::F32(values) => {
            let columns = columns.iter().map(|column| floats_of(column));
            let columns = columns.map(|column| column.into_iter().map(|value| value as f32).collect());
            compact(columns.collect(), n_rows, indptr, indices, values);
        }
        ValueBuffer::F64(values) => {
            let columns = columns.iter().map(|column| floats_of(column)).collect();
            compact(columns, n_rows, indptr, indices, values);
        }
    }
}

/// The values of columns that are not zero, by rows.
fn compact<T: Value>(
    columns: Vec<Vec<T>>,
    n_rows: usize,
    indptr: &mut Vec<u64>,
    indices: &mut Vec<u32>,
    values: &mut Vec<T>,
) {
    values.clear();
    indptr.push(0);
    for row in 0..n_rows {
        for (number, column) in (0..).zip(&columns) {
            if !column[row].is_plus_zero() {
                indices.push(number);
                values.push(column[row]);
            }
        }
        indptr.push(indices.len() as u64);
    }
}

fn integers_of(array: &dyn Array) -> Vec<i128> {
    macro_rules! of {
        ($type:ty) => {
            array
                .as_primitive::<$type>()
                .values()
                .iter()
                .map(|&value| value.into())
                .collect()
        };
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().values().iter().map(i128::from).collect(),
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::UInt8 => of!(UInt8Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::UInt64 => of!(UInt64Type),
        other => unreachable!("{other} is not among integers"),
    }
}

fn floats_of(array: &dyn Array) -> Vec<f64> {
    macro_rules! of {
        ($type:ty) => {
            array
                .as_primitive::<$type>()
                .values()
                .iter()
                .map(|&value| value.into())
                .collect()
        };
    }
    match array.data_type() {
        DataType::Float16 => of!(Float16Type),
        DataType::Float32 => of!(Float32Type),
        DataType::Float64 => of!(Float64Type),
        // Of at most 32 bits.
        _ => integers_of(array).into_iter().map(|value| value as f64).collect(),
    }
}

/// numpy's name of a type of numbers or bools.
fn numpy_name(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Boolean => "bool",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 => "float16",
        DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        _ => return None,
    })
}

/// The type of this numpy name; see [`FrameColumn`].
pub(crate) fn type_of_numpy_name(name: &str) -> Option<DataType> {
    const TYPES: [DataType; 12] = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
    ];
    TYPES
        .into_iter()
        .find(|data_type| numpy_name(data_type) == Some(name))
}

/// The narrowest element type that holds all columns exactly, or two columns that none holds together.
fn common_type<'a>(fields: &[&'a Field]) -> std::result::Result<ValueType, (&'a str, &'a str)> {
    let bits = |field: &Field| match field.data_type() {
        DataType::Boolean => (1, 'b'),
        DataType::UInt8 => (8, 'u'),
        DataType::UInt16 => (16, 'u'),
        DataType::UInt32 => (32, 'u'),
        DataType::UInt64 => (64, 'u'),
        DataType::Int8 => (8, 'i'),
        DataType::Int16 => (16, 'i'),
        DataType::Int32 => (32, 'i'),
        DataType::Int64 => (64, 'i'),
        DataType::Float16 => (16, 'f'),
        DataType::Float32 => (32, 'f'),
        _ => (64, 'f'),
    };
    // The widest column of a kind.
    let widest = |kind: char| {
        let of_kind = fields.iter().filter(|field| bits(field).1 == kind);
        of_kind
            .max_by_key(|field| bits(field).0)
            .map(|field| (bits(field).0, field.name().as_str()))
    };
    let (unsigned, signed, float) = (widest('u'), widest('i'), widest('f'));
    let width = |widest: Option<(u32, &str)>| widest.map_or(0, |(bits, _)| bits);
    if let Some((float_bits, float_name)) = float {
        let wide_integer = [unsigned, signed]
            .into_iter()
            .flatten()
            .find(|(bits, _)| *bits > 32);
        return match wide_integer {
            Some((_, name)) => Err((name, float_name)),
            None if float_bits <= 32 && width(unsigned).max(width(signed)) <= 16 => Ok(ValueType::F32),
            None => Ok(ValueType::F64),
        };
    }
    match (unsigned, signed) {
        (None, None) if fields.is_empty() => Ok(ValueType::F32),
        (None, None) => Ok(ValueType::Bool),
        (Some((bits, _)), None) => Ok(match bits {
            8 => ValueType::U8,
            16 => ValueType::U16,
            32 => ValueType::U32,
            _ => ValueType::U64,
        }),
        (Some((64, name)), Some((_, other))) => Err((name, other)),
        (unsigned, Some((bits, _))) => Ok(match bits.max(2 * width(unsigned)) {
            8 => ValueType::I8,
            16 => ValueType::I16,
            32 => ValueType::I32,
            _ => ValueType::I64,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_type_is_the_narrowest_that_is_exact() {
        use DataType::*;
        let common = |types: &[DataType]| {
            let fields: Vec<Field> = types
                .iter()
                .enumerate()
                .map(|(number, data_type)| Field::new(number.to_string(), data_type.clone(), false))
                .collect();
            let found = common_type(&fields.iter().collect::<Vec<_>>());
            found.map_err(|(column, other)| format!("{column}{other}"))
        };
        for (types, expected) in [
            (&[Boolean, Boolean][..], ValueType::Bool),
            (&[Boolean, UInt8], ValueType::U8),
            (&[Boolean, Int8], ValueType::I8),
            (&[UInt8, Int8], ValueType::I16),
            (&[UInt32, Int8], ValueType::I64),
            (&[UInt16, UInt64], ValueType::U64),
            (&[Int32, Int32, Int32], ValueType::I32),
            (&[Float16, UInt16], ValueType::F32),
            (&[Float32, Int32], ValueType::F64),
            (&[Float32, Float64], ValueType::F64),
            (&[], ValueType::F32),
        ] {
            assert_eq!(common(types), Ok(expected), "{types:?}");
        }
        assert_eq!(common(&[UInt64, Int8]), Err("01".to_owned()));
        assert_eq!(common(&[Float64, Boolean, Int64]), Err("20".to_owned()));
        for data_type in [Boolean, Int64, UInt8, Float16] {
            let name = numpy_name(&data_type).unwrap();
            assert_eq!(type_of_numpy_name(name), Some(data_type));
        }
    }
}
