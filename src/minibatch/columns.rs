//! Columns of the obs table that come along with the minibatches.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType;

use crate::format::table::Column;

/// One obs column of a minibatch: a value per row.
#[derive(Clone, Debug, PartialEq)]
pub struct ObsColumn {
    /// Name of the column.
    pub name: String,
    /// The values; where one is missing, a code is -1, a float NaN, an integer 0, a boolean false, a string empty.
    pub values: ObsValues,
    /// Whether each value is there; `None` where the column has no missing values at all.
    pub valid: Option<Vec<bool>>,
}

/// Values of an obs column.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ObsValues {
    /// Codes of a categorical column: places in its categories ([`Loader::categories`](crate::Loader::categories)).
    Codes(Vec<i32>),
    /// Integers of any width.
    Integers(Vec<i64>),
    /// Unsigned 64-bit integers, which `i64` does not hold.
    Unsigned(Vec<u64>),
    /// Floats of any width.
    Floats(Vec<f64>),
    /// Booleans.
    Booleans(Vec<bool>),
    /// Texts.
    Strings(Vec<String>),
}

/// A column that minibatches take values from.
#[derive(Clone, Debug)]
pub(crate) struct ColumnReader {
    name: String,
    column: Column,
    kind: Kind,
    nullable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Codes,
    Integers,
    Unsigned,
    Floats,
    Booleans,
    Strings,
}

fn kind_of(data_type: &DataType) -> Option<Kind> {
    Some(match data_type {
        DataType::Dictionary(..) => Kind::Codes,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Kind::Integers,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Kind::Integers,
        DataType::UInt64 => Kind::Unsigned,
        DataType::Float32 | DataType::Float64 => Kind::Floats,
        DataType::Boolean => Kind::Booleans,
        DataType::Utf8 | DataType::LargeUtf8 => Kind::Strings,
        _ => return None,
    })
}

/// Makes a reader; `None` where the column's type is none that a minibatch carries.
pub(crate) fn read_column(name: &str, column: Column) -> Option<ColumnReader> {
    let kind = kind_of(column.field().data_type())?;
    let nullable = column.batches().iter().any(|batch| batch.null_count() > 0);
    Some(ColumnReader {
        name: name.to_string(),
        column,
        kind,
        nullable,
    })
}

impl ColumnReader {
    /// The categories of a categorical column, as an Arrow array.
    pub(crate) fn categories(&self) -> Option<ArrayRef> {
        self.column
            .batches()
            .first()?
            .as_any_dictionary_opt()
            .map(|dictionary| dictionary.values().clone())
    }

    /// An empty column to gather into.
    pub(crate) fn empty(&self) -> ObsColumn {
        let values = match self.kind {
            Kind::Codes => ObsValues::Codes(Vec::new()),
            Kind::Integers => ObsValues::Integers(Vec::new()),
            Kind::Unsigned => ObsValues::Unsigned(Vec::new()),
            Kind::Floats => ObsValues::Floats(Vec::new()),
            Kind::Booleans => ObsValues::Booleans(Vec::new()),
            Kind::Strings => ObsValues::Strings(Vec::new()),
        };
        ObsColumn {
            name: self.name.clone(),
            values,
            valid: self.nullable.then(Vec::new),
        }
    }

    /// Fills `out` with the values of these obs.
    pub(crate) fn gather(&self, obs: &[u64], out: &mut ObsColumn) {
        if let Some(valid) = &mut out.valid {
            valid.clear();
            valid.extend(obs.iter().map(|&obs| {
                let (array, row) = self.column.at(obs);
                array.is_valid(row)
            }));
        }
        let each = || {
            obs.iter()
                .map(|&obs| self.column.at(obs))
                .map(|(array, row)| (array, row, array.is_valid(row)))
        };
        match &mut out.values {
            ObsValues::Codes(out) => refill(
                out,
                each().map(|(a, row, valid)| if valid { code(a, row) } else { -1 }),
            ),
            ObsValues::Integers(out) => refill(
                out,
                each().map(|(a, row, valid)| if valid { integer(a, row) } else { 0 }),
            ),
            ObsValues::Unsigned(out) => {
                refill(
                    out,
                    each().map(|(a, row, valid)| if valid { primitive::<UInt64Type>(a, row) } else { 0 }),
                );
            }
            ObsValues::Floats(out) => refill(
                out,
                each().map(|(a, row, valid)| if valid { float(a, row) } else { f64::NAN }),
            ),
            ObsValues::Booleans(out) => refill(
                out,
                each().map(|(a, row, valid)| valid && a.as_boolean().value(row)),
            ),
            ObsValues::Strings(out) => refill(
                out,
                each().map(|(a, row, valid)| if valid { text(a, row) } else { String::new() }),
            ),
        }
    }
}

fn refill<T>(out: &mut Vec<T>, values: impl Iterator<Item = T>) {
    out.clear();
    out.extend(values);
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn integer(array: &dyn Array, row: usize) -> i64 {
    match array.data_type() {
        DataType::Int8 => primitive::<Int8Type>(array, row).into(),
        DataType::Int16 => primitive::<Int16Type>(array, row).into(),
        DataType::Int32 => primitive::<Int32Type>(array, row).into(),
        DataType::UInt8 => primitive::<UInt8Type>(array, row).into(),
        DataType::UInt16 => primitive::<UInt16Type>(array, row).into(),
        DataType::UInt32 => primitive::<UInt32Type>(array, row).into(),
        _ => primitive::<Int64Type>(array, row),
    }
}

fn float(array: &dyn Array, row: usize) -> f64 {
    match array.data_type() {
        DataType::Float32 => primitive::<Float32Type>(array, row).into(),
        _ => primitive::<Float64Type>(array, row),
    }
}

fn text(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_string(),
        _ => array.as_string::<i32>().value(row).to_string(),
    }
}

fn code(array: &dyn Array, row: usize) -> i32 {
    fn key<K: ArrowDictionaryKeyType>(array: &dyn Array, row: usize) -> i32
    where
        K::Native: TryInto<i32>,
    {
        array
            .as_dictionary::<K>()
            .keys()
            .value(row)
            .try_into()
            .unwrap_or(-1)
    }
    match array.data_type() {
        DataType::Dictionary(keys, _) => match keys.as_ref() {
            DataType::Int8 => key::<Int8Type>(array, row),
            DataType::Int16 => key::<Int16Type>(array, row),
            DataType::Int32 => key::<Int32Type>(array, row),
            DataType::Int64 => key::<Int64Type>(array, row),
            DataType::UInt8 => key::<UInt8Type>(array, row),
            DataType::UInt16 => key::<UInt16Type>(array, row),
            DataType::UInt32 => key::<UInt32Type>(array, row),
            _ => key::<UInt64Type>(array, row),
        },
        _ => -1,
    }
}
