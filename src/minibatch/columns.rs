//! Columns of the obs table that are delivered with the minibatches.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::DataType;

/// An obs column to deliver, and in which form. A name alone asks for the natural form.
///
/// ```
/// use cellring::minibatch::ColumnChoice;
///
/// let natural: ColumnChoice = "cell_type".into();
/// let labels = ColumnChoice::codes("donor_id"); // small integers, whatever the column holds
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnChoice {
    /// Name of the column.
    pub name: String,
    /// Its form.
    pub form: ColumnForm,
    /// Whether stores of a [`Collection`](crate::loader::Collection) may lack the column: then all their values are missing.
    /// One store must have it.
    pub or_missing: bool,
}

/// How an obs column is delivered with each minibatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnForm {
    /// As it is stored: categories as codes, integers of all widths as 64 bits, floats as `f64`.
    #[default]
    Natural,
    /// `i32` codes, with a table of what they mean ([`Loader::categories`](crate::Loader::categories)). Texts, integers and
    /// booleans get the codes of their sorted distinct values, for which the whole column is looked at once.
    Codes,
    /// `f64`, from numbers, booleans and categories that are numbers. Integers beyond 2^53 are rounded.
    Floats,
    /// Texts, from texts, integers, booleans and categories of texts.
    Strings,
}

impl fmt::Display for ColumnForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Natural => "they are",
            Self::Codes => "codes",
            Self::Floats => "floats",
            Self::Strings => "strings",
        })
    }
}

impl ColumnChoice {
    fn new(name: impl Into<String>, form: ColumnForm) -> Self {
        Self {
            name: name.into(),
            form,
            or_missing: false,
        }
    }

    /// The column as codes.
    pub fn codes(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Codes)
    }

    /// The column as floats.
    pub fn floats(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Floats)
    }

    /// The column as texts.
    pub fn strings(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Strings)
    }

    /// The column, missing in those stores of a [`Collection`](crate::loader::Collection) that lack it.
    #[must_use]
    pub fn or_missing(self) -> Self {
        let or_missing = true;
        Self { or_missing, ..self }
    }
}

impl From<&str> for ColumnChoice {
    fn from(name: &str) -> Self {
        Self::new(name, ColumnForm::Natural)
    }
}

impl From<String> for ColumnChoice {
    fn from(name: String) -> Self {
        Self::new(name, ColumnForm::Natural)
    }
}

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
    /// Codes: places in the column's categories ([`Loader::categories`](crate::Loader::categories)).
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

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Codes,
    Integers,
    Unsigned,
    Floats,
    Booleans,
    Strings,
}

pub(super) fn kind_of(data_type: &DataType) -> Option<Kind> {
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

/// What the values of a column are, or those that its codes stand for.
pub(super) fn meaning_of(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Dictionary(_, categories) => kind_of(categories),
        _ => kind_of(data_type),
    }
}

pub(super) fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

pub(super) fn integer(array: &dyn Array, row: usize) -> i64 {
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

/// A number, a boolean, or what a category stands for. NaN where a category is missing.
pub(super) fn number(array: &dyn Array, row: usize) -> f64 {
    match kind_of(array.data_type()) {
        Some(Kind::Integers) => integer(array, row) as f64,
        Some(Kind::Unsigned) => primitive::<UInt64Type>(array, row) as f64,
        Some(Kind::Booleans) => f64::from(u8::from(array.as_boolean().value(row))),
        Some(Kind::Codes) => category(array, row).map_or(f64::NAN, |(values, code)| number(values, code)),
        _ => match array.data_type() {
            DataType::Float32 => primitive::<Float32Type>(array, row).into(),
            _ => primitive::<Float64Type>(array, row),
        },
    }
}

/// A text; `None` where the array is none of texts, and `Some(None)` where this one is missing.
pub(crate) fn text_at(array: &dyn Array, row: usize) -> Option<Option<&str>> {
    let text = match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::Dictionary(_, categories) if matches!(kind_of(categories), Some(Kind::Strings)) => {
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
pub(super) fn push_text(array: &dyn Array, row: usize, out: &mut String) {
    use fmt::Write;
    // Writing to a String does not fail.
    let _ = match kind_of(array.data_type()) {
        Some(Kind::Codes) => {
            return category(array, row).map_or((), |(values, code)| push_text(values, code, out));
        }
        Some(Kind::Integers) => write!(out, "{}", integer(array, row)),
        Some(Kind::Unsigned) => write!(out, "{}", primitive::<UInt64Type>(array, row)),
        Some(Kind::Booleans) => write!(out, "{}", array.as_boolean().value(row)),
        _ => {
            out.push_str(text_at(array, row).flatten().unwrap_or_default());
            Ok(())
        }
    };
}

/// The categories of an array, and the place in them of the category in this row; `None` where there is no such place.
fn category(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    let values = array.as_any_dictionary_opt()?.values();
    let place = usize::try_from(code(array, row)).ok()?;
    (place < values.len() && values.is_valid(place)).then_some((values.as_ref(), place))
}

pub(super) fn code(array: &dyn Array, row: usize) -> i32 {
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
