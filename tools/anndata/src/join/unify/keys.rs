//! Values that can be compared.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::cast::{CastError, Number, numbers_of};
use super::codes::codes_of;

/// A value that can be compared with another one of its type: floats by their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Text(&'a str),
    Bool(bool),
    Int(i128),
    Float(u64),
}

/// The values of an array, those of categories in their stead.
pub(crate) fn keys(array: &ArrayRef) -> Result<Vec<Option<Key<'_>>>, CastError> {
    if let Some(codes) = array.as_any_dictionary_opt() {
        let values = keys(codes.values())?;
        let of = |code: Option<usize>| code.and_then(|code| values.get(code).copied().flatten());
        return Ok(codes_of(array).into_iter().map(of).collect());
    }
    Ok(match array.data_type() {
        DataType::Utf8 => array
            .as_string::<i32>()
            .iter()
            .map(|text| text.map(Key::Text))
            .collect(),
        DataType::LargeUtf8 => array
            .as_string::<i64>()
            .iter()
            .map(|text| text.map(Key::Text))
            .collect(),
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|value| value.map(Key::Bool))
            .collect(),
        _ => numbers_of(array)?
            .into_iter()
            .map(|number| {
                number.map(|number| match number {
                    Number::Int(value) => Key::Int(value),
                    Number::Float(value) => Key::Float(value.to_bits()),
                })
            })
            .collect(),
    })
}
