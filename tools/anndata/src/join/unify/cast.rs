//! Values as another type, exactly or not at all.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, LargeStringArray, PrimitiveArray, StringArray, new_null_array};
use arrow_schema::{ArrowError, DataType};

/// Why an array cannot be brought into a type.
#[derive(Debug)]
pub enum CastError {
    /// The value in this row is not held exactly.
    Inexact {
        /// Its row.
        row: usize,
        /// The value.
        value: String,
    },
    /// Arrow refuses it.
    Arrow(ArrowError),
}

impl From<ArrowError> for CastError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// An array's values, those of categories in their stead, as a type of the same kind: the one that `unify` gave, or that of a store.
pub fn cast(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, CastError> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    // A column without values goes with all others, such as categories of which there are none: pandas calls these floats.
    if array.logical_null_count() == array.len() {
        return Ok(new_null_array(wanted, array.len()));
    }
    if let Some(codes) = array.as_any_dictionary_opt() {
        let values = arrow_select::take::take(codes.values(), codes.keys(), None)?;
        return cast(&values, wanted);
    }
    fn numbers<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        of: impl Fn(Number) -> Option<T::Native>,
    ) -> Result<ArrayRef, CastError> {
        let inexact = |row, number: Number| CastError::Inexact {
            row,
            value: match number {
                Number::Int(value) => value.to_string(),
                Number::Float(value) => value.to_string(),
            },
        };
        let values = (0..).zip(numbers_of(array)?);
        let values = values.map(|(row, number)| match number {
            None => Ok(None),
            Some(number) => of(number).map(Some).ok_or_else(|| inexact(row, number)),
        });
        let array = values.collect::<Result<PrimitiveArray<T>, CastError>>()?;
        Ok(Arc::new(array))
    }
    macro_rules! whole {
        ($type:ty) => {
            numbers::<$type>(array, |number| match number {
                Number::Int(value) => value.try_into().ok(),
                Number::Float(value) => Some(value as i128)
                    .filter(|&whole| whole as f64 == value)
                    .and_then(|whole| whole.try_into().ok()),
            })
        };
    }
    macro_rules! narrow {
        ($type:ty, $narrow:expr, $wide:expr) => {
            numbers::<$type>(array, |number| {
                let value = match number {
                    Number::Int(value) => Some(value as f64).filter(|&float| float as i128 == value)?,
                    Number::Float(value) => value,
                };
                let narrow = $narrow(value);
                ($wide(narrow) == value || value.is_nan()).then_some(narrow)
            })
        };
    }
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    match wanted {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float16 => narrow!(Float16Type, Half::from_f64, Half::to_f64),
        DataType::Float32 => narrow!(Float32Type, |value: f64| value as f32, f64::from),
        DataType::Float64 => narrow!(Float64Type, |value: f64| value, |value: f64| value),
        DataType::LargeUtf8 if *array.data_type() == DataType::Utf8 => {
            let texts: LargeStringArray = array.as_string::<i32>().iter().collect();
            Ok(Arc::new(texts))
        }
        DataType::Utf8 if *array.data_type() == DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            let n_bytes: usize = texts.iter().flatten().map(str::len).sum();
            if n_bytes > i32::MAX as usize {
                return Err(CastError::Arrow(ArrowError::CastError(
                    "its text exceeds 2 GiB".to_owned(),
                )));
            }
            Ok(Arc::new(texts.iter().collect::<StringArray>()))
        }
        other => Err(other_type(array, other)),
    }
}

fn other_type(array: &ArrayRef, wanted: &DataType) -> CastError {
    let found = array.data_type();
    CastError::Arrow(ArrowError::CastError(format!("{found} is never {wanted}")))
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

/// The values of an array, those of categories in their stead.
pub(super) fn numbers_of(array: &ArrayRef) -> Result<Vec<Option<Number>>, CastError> {
    fn all<T: ArrowPrimitiveType>(array: &ArrayRef, of: impl Fn(T::Native) -> Number) -> Vec<Option<Number>> {
        array
            .as_primitive::<T>()
            .iter()
            .map(|value| value.map(&of))
            .collect()
    }
    macro_rules! whole {
        ($type:ty) => {
            all::<$type>(array, |value| Number::Int(value.into()))
        };
    }
    Ok(match array.data_type() {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float16 => all::<Float16Type>(array, |value| Number::Float(value.to_f64())),
        DataType::Float32 => all::<Float32Type>(array, |value| Number::Float(value.into())),
        DataType::Float64 => all::<Float64Type>(array, Number::Float),
        _ => return Err(other_type(array, &DataType::Float64)),
    })
}
