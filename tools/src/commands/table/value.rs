//! One value of a table, as people, programs and filters write it.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::DataType;
use cellring::select::quote_text;
use serde_json::Value as Json;

/// A value that is not missing. Floats carry the shortest text that reads as them in their own width.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    Integer(i128),
    Single(f32),
    Double(f64),
}

impl Value {
    /// The value in a row of an array; `None` where it is missing (NaN is, as for filters), or of a type that AnnData does not
    /// have. The array may be a dictionary.
    pub(super) fn at(array: &dyn Array, row: usize) -> Option<Self> {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let Self::Integer(key) = Self::at(dictionary.keys(), row)? else {
                return None;
            };
            let values = dictionary.values();
            let place = usize::try_from(key).ok().filter(|place| *place < values.len())?;
            return Self::at(values.as_ref(), place);
        }
        if array.is_null(row) {
            return None;
        }
        fn integer<T: ArrowPrimitiveType<Native: Into<i128>>>(
            array: &dyn Array,
            row: usize,
        ) -> Option<Value> {
            Some(Value::Integer(array.as_primitive::<T>().value(row).into()))
        }
        match array.data_type() {
            DataType::Utf8 => Some(Self::Text(array.as_string::<i32>().value(row).to_owned())),
            DataType::LargeUtf8 => Some(Self::Text(array.as_string::<i64>().value(row).to_owned())),
            DataType::Boolean => Some(Self::Bool(array.as_boolean().value(row))),
            DataType::Int8 => integer::<Int8Type>(array, row),
            DataType::Int16 => integer::<Int16Type>(array, row),
            DataType::Int32 => integer::<Int32Type>(array, row),
            DataType::Int64 => integer::<Int64Type>(array, row),
            DataType::UInt8 => integer::<UInt8Type>(array, row),
            DataType::UInt16 => integer::<UInt16Type>(array, row),
            DataType::UInt32 => integer::<UInt32Type>(array, row),
            DataType::UInt64 => integer::<UInt64Type>(array, row),
            DataType::Float16 => Self::single(array.as_primitive::<Float16Type>().value(row).to_f32()),
            DataType::Float32 => Self::single(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => {
                let value = array.as_primitive::<Float64Type>().value(row);
                (!value.is_nan()).then_some(Self::Double(value))
            }
            _ => None,
        }
    }

    fn single(value: f32) -> Option<Self> {
        (!value.is_nan()).then_some(Self::Single(value))
    }

    /// As a filter writes it, which is how people see it, too.
    pub(super) fn literal(&self) -> String {
        match self {
            Self::Text(text) => quote_text(text),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            // With an exponent where it would be long.
            Self::Single(value) => format!("{value:?}"),
            Self::Double(value) => format!("{value:?}"),
        }
    }

    /// Whether a filter can compare with it: infinities have no literal.
    pub(super) fn is_literal(&self) -> bool {
        match self {
            Self::Single(value) => value.is_finite(),
            Self::Double(value) => value.is_finite(),
            _ => true,
        }
    }

    pub(super) fn json(&self) -> Json {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => value.to_string().into(),
            },
            // The text is that of the narrow float, so that 0.1 stays 0.1.
            Self::Single(value) if value.is_finite() => format!("{value:?}")
                .parse()
                .map_or(Json::Null, |value: f64| value.into()),
            Self::Double(value) if value.is_finite() => (*value).into(),
            Self::Single(value) => value.to_string().into(),
            Self::Double(value) => value.to_string().into(),
        }
    }

    /// Texts by code points, numbers by size.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Single(a), Self::Single(b)) => a.total_cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            _ => Ordering::Equal,
        }
    }
}
