//! The values of an Arrow column: of which kind they are, and how each is read.

use arrow_array::cast::AsArray;
use arrow_array::iterator::ArrayIter;
use arrow_array::types::{ArrowDictionaryKeyType, Float16Type, Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, ArrowPrimitiveType, LargeStringArray, StringArray};
use arrow_schema::DataType;
use half::f16;

/// Runs `$body` with `$T` bound to the Arrow type of integers that the [`DataType`] names, `$otherwise` for other types.
macro_rules! with_integers {
    ($data_type:expr, $T:ident => $body:expr, _ => $otherwise:expr) => {
        with_integers!(
            @ $data_type, $T => $body, _ => $otherwise;
            Int8 Int8Type, Int16 Int16Type, Int32 Int32Type, Int64 Int64Type,
            UInt8 UInt8Type, UInt16 UInt16Type, UInt32 UInt32Type, UInt64 UInt64Type
        )
    };
    (@ $data_type:expr, $T:ident => $body:expr, _ => $otherwise:expr; $($variant:ident $type:ident),*) => {
        match $data_type {
            $(arrow_schema::DataType::$variant => {
                type $T = arrow_array::types::$type;
                $body
            })*
            _ => $otherwise,
        }
    };
}

pub(crate) use with_integers;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Places in a list of categories.
    Codes,
    /// Integers that `i64` holds.
    Integers,
    /// Unsigned 64-bit integers.
    Unsigned,
    Floats,
    Booleans,
    Strings,
}

impl ColumnKind {
    /// The kind of the values as they are stored.
    pub(crate) fn from_data_type(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Dictionary(..) => Self::Codes,
            DataType::UInt64 => Self::Unsigned,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Floats,
            DataType::Boolean => Self::Booleans,
            DataType::Utf8 | DataType::LargeUtf8 => Self::Strings,
            _ if data_type.is_integer() => Self::Integers,
            _ => return None,
        })
    }

    /// The kind of the values, or of what the codes stand for.
    pub(crate) fn of_meaning(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Dictionary(_, categories) => Self::from_data_type(categories),
            _ => Self::from_data_type(data_type),
        }
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::Integers | Self::Unsigned)
    }

    pub(crate) fn is_number(self) -> bool {
        self.is_integer() || self == Self::Floats
    }
}

pub(crate) fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// One of [`ColumnKind::Integers`].
pub(crate) fn integer(array: &dyn Array, row: usize) -> i64 {
    fn as_i64<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> i64
    where
        T::Native: TryInto<i64>,
    {
        primitive::<T>(array, row).try_into().unwrap_or_default()
    }
    with_integers!(
        array.data_type(),
        T => as_i64::<T>(array, row),
        _ => unreachable!("only integers are read as such")
    )
}

/// The values of a column of integers of any width.
pub(crate) fn integers(array: &dyn Array) -> Vec<Option<i128>> {
    with_integers!(
        array.data_type(),
        T => array.as_primitive::<T>().iter().map(|value| value.map(Into::into)).collect(),
        _ => vec![None; array.len()]
    )
}

/// A number, a boolean, or what a category stands for. NaN where a category is missing.
pub(crate) fn number(array: &dyn Array, row: usize) -> f64 {
    match ColumnKind::from_data_type(array.data_type()) {
        Some(ColumnKind::Integers) => integer(array, row) as f64,
        Some(ColumnKind::Unsigned) => primitive::<UInt64Type>(array, row) as f64,
        Some(ColumnKind::Booleans) => f64::from(u8::from(array.as_boolean().value(row))),
        Some(ColumnKind::Codes) => {
            category(array, row).map_or(f64::NAN, |(values, code)| number(values, code))
        }
        _ => match array.data_type() {
            DataType::Float16 => primitive::<Float16Type>(array, row).into(),
            DataType::Float32 => primitive::<Float32Type>(array, row).into(),
            _ => primitive::<Float64Type>(array, row),
        },
    }
}

/// The texts of a column, without categories.
pub(crate) enum Texts<'a> {
    Short(ArrayIter<&'a StringArray>),
    Long(ArrayIter<&'a LargeStringArray>),
}

impl<'a> Texts<'a> {
    /// `None` if the column is not one of texts.
    pub(crate) fn from_array(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(Self::Short(array.as_string().iter())),
            DataType::LargeUtf8 => Some(Self::Long(array.as_string().iter())),
            _ => None,
        }
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Short(texts) => texts.next(),
            Self::Long(texts) => texts.next(),
        }
    }
}

/// A text; `None` where the array is none of texts, and `Some(None)` where this one is missing.
pub(crate) fn text_at(array: &dyn Array, row: usize) -> Option<Option<&str>> {
    let text = match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::Dictionary(_, categories)
            if ColumnKind::from_data_type(categories) == Some(ColumnKind::Strings) =>
        {
            return Some(
                array
                    .is_valid(row)
                    .then(|| category(array, row))
                    .flatten()
                    .and_then(|(values, code)| text_at(values, code).flatten()),
            );
        }
        _ => return None,
    };
    Some(array.is_valid(row).then_some(text))
}

/// Appends a text, or a number or boolean written as one.
pub(crate) fn push_text(array: &dyn Array, row: usize, out: &mut String) {
    use std::fmt::Write;
    // Writing to a String does not fail.
    let _ = match ColumnKind::from_data_type(array.data_type()) {
        Some(ColumnKind::Codes) => {
            return category(array, row).map_or((), |(values, code)| push_text(values, code, out));
        }
        Some(ColumnKind::Integers) => write!(out, "{}", integer(array, row)),
        Some(ColumnKind::Unsigned) => write!(out, "{}", primitive::<UInt64Type>(array, row)),
        Some(ColumnKind::Booleans) => write!(out, "{}", array.as_boolean().value(row)),
        // The fewest digits that say which number it is, and a point: 0.5, 1.0.
        Some(ColumnKind::Floats) => match array.data_type() {
            DataType::Float16 => write!(out, "{:?}", shortest(primitive::<Float16Type>(array, row))),
            DataType::Float32 => write!(out, "{:?}", primitive::<Float32Type>(array, row)),
            _ => write!(out, "{:?}", primitive::<Float64Type>(array, row)),
        },
        _ => {
            out.push_str(text_at(array, row).flatten().unwrap_or_default());
            Ok(())
        }
    };
}

/// The number of the fewest digits that is nearest to this half float.
fn shortest(half: f16) -> f32 {
    let single = half.to_f32();
    // Five digits tell any two of them apart.
    let rounded = (0..5).filter_map(|digits| format!("{single:.digits$e}").parse::<f32>().ok());
    let mut rounded = rounded.filter(|&number| f16::from_f32(number) == half);
    rounded.next().unwrap_or(single)
}

/// The categories of an array, and the place in them of the category in this row; `None` where there is no such place.
fn category(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    let values = array.as_any_dictionary_opt()?.values();
    let place = usize::try_from(code(array, row)).ok()?;
    (place < values.len() && values.is_valid(place)).then_some((values.as_ref(), place))
}

/// The place of a category; -1 where an `i32` does not hold it.
pub(crate) fn code(array: &dyn Array, row: usize) -> i32 {
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
        DataType::Dictionary(keys, _) => with_integers!(**keys, K => key::<K>(array, row), _ => -1),
        _ => -1,
    }
}

/// The place in its categories of each value of a dictionary; `None` where it is missing or there is no such place.
pub(crate) fn categories_of(array: &dyn Array, mut visit: impl FnMut(Option<usize>)) {
    fn keys<K: ArrowDictionaryKeyType>(array: &dyn Array, visit: &mut impl FnMut(Option<usize>))
    where
        K::Native: TryInto<usize>,
    {
        let n_categories = array.as_dictionary::<K>().values().len();
        for key in array.as_dictionary::<K>().keys() {
            let place = key.and_then(|key| key.try_into().ok());
            visit(place.filter(|place| *place < n_categories));
        }
    }
    match array.data_type() {
        DataType::Dictionary(key_type, _) => with_integers!(
            **key_type,
            K => keys::<K>(array, &mut visit),
            _ => (0..array.len()).for_each(|_| visit(None))
        ),
        _ => (0..array.len()).for_each(|_| visit(None)),
    }
}
