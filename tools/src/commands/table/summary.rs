//! What is in a column: what is missing, which values there are and how often, and between which bounds.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::DataType;
use cellring::format::table::Column;

use super::value::Value;

/// Values are counted up to so many different ones, so that memory stays small whatever the column holds.
pub(super) const MOST_DISTINCT: usize = 100_000;
/// And up to so many bytes of different texts.
const MOST_TEXT_BYTES: usize = 64 << 20;
/// So many of the first values are remembered for a column that has too many.
const N_FIRST: usize = 3;

/// What is in a column.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) n_missing: u64,
    /// How many different values there are; `None` for more than [`MOST_DISTINCT`].
    pub(super) n_distinct: Option<u64>,
    /// All values, the most frequent first and those of equal frequency in their order; unused categories are there, too. Empty
    /// where there are too many.
    pub(super) values: Vec<(Value, u64)>,
    /// Different values in the order of the rows, where there are too many.
    pub(super) first: Vec<Value>,
    /// The least and the greatest, of numbers.
    pub(super) range: Option<(Value, Value)>,
}

impl Summary {
    pub(super) fn new(column: &Column) -> Self {
        let mut summary = match column.field().data_type() {
            DataType::Dictionary(..) => summarise_categories(column),
            _ => summarise_values(column),
        };
        summary
            .values
            .sort_by(|(a, n_a), (b, n_b)| n_b.cmp(n_a).then_with(|| a.order(b)));
        let is_number = |value: &Value| !matches!(value, Value::Text(_) | Value::Bool(_));
        if summary.range.is_none() {
            let used = summary
                .values
                .iter()
                .filter(|(value, n)| *n > 0 && is_number(value));
            let used = || used.clone().map(|(value, _)| value);
            summary.range = used()
                .min_by(|a, b| a.order(b))
                .cloned()
                .zip(used().max_by(|a, b| a.order(b)).cloned());
        }
        summary
    }
}

/// Counts codes, then looks at each category once.
fn summarise_categories(column: &Column) -> Summary {
    let mut n_missing = 0;
    let mut counts: Vec<u64> = Vec::new();
    for array in column.batches() {
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            continue;
        };
        counts.resize(counts.len().max(dictionary.values().len()), 0);
        n_missing += dictionary.keys().null_count() as u64;
        // Batches of a table share their categories.
        scalars(dictionary.keys(), |key| {
            let place = match key {
                Some(Scalar::Integer(key)) => usize::try_from(key).ok(),
                _ => None,
            };
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        });
    }
    let categories = column
        .batches()
        .first()
        .and_then(|array| array.as_any_dictionary_opt());
    let value = |code: usize| Value::at(categories?.values().as_ref(), code);
    // Categories may repeat in files that were not checked.
    let mut merged: HashMap<String, (Value, u64)> = HashMap::new();
    let is_too_long = counts.len() > MOST_DISTINCT;
    if !is_too_long {
        for (code, count) in counts.iter().enumerate() {
            match value(code) {
                Some(value) => merged.entry(value.literal()).or_insert((value, 0)).1 += count,
                None => n_missing += count,
            }
        }
    }
    let used = || counts.iter().enumerate().filter(|(_, count)| **count > 0);
    Summary {
        n_missing,
        n_distinct: match is_too_long {
            true => None,
            false => Some(merged.values().filter(|(_, count)| *count > 0).count() as u64),
        },
        first: match is_too_long {
            true => used().filter_map(|(code, _)| value(code)).take(N_FIRST).collect(),
            false => Vec::new(),
        },
        values: merged.into_values().collect(),
        range: None,
    }
}

/// Of plain values: counts while there are not too many different ones.
fn summarise_values(column: &Column) -> Summary {
    let mut counter = Counter::default();
    let mut bounds: Option<(Scalar<'_>, Scalar<'_>)> = None;
    let mut n_missing = 0;
    for array in column.batches() {
        scalars(array.as_ref(), |scalar| {
            let Some(scalar) = scalar else {
                n_missing += 1;
                return;
            };
            counter.add(scalar);
            if scalar.is_number() {
                let (least, greatest) = bounds.get_or_insert((scalar, scalar));
                if scalar.is_below(*least) {
                    *least = scalar;
                }
                if greatest.is_below(scalar) {
                    *greatest = scalar;
                }
            }
        });
    }
    let is_counted = !counter.has_too_many;
    let values = counter
        .texts
        .into_iter()
        .map(|(text, n)| (Value::Text(text.into()), n));
    let values: Vec<_> = values.chain(counter.others.into_values()).collect();
    Summary {
        n_missing,
        n_distinct: is_counted.then_some(values.len() as u64),
        first: if is_counted { Vec::new() } else { counter.first },
        values,
        range: bounds.map(|(least, greatest)| (least.value(), greatest.value())),
    }
}

/// Counts of different values, until there are too many.
#[derive(Default)]
struct Counter {
    texts: HashMap<Box<str>, u64>,
    others: HashMap<u64, (Value, u64)>,
    text_bytes: usize,
    first: Vec<Value>,
    has_too_many: bool,
}

impl Counter {
    fn add(&mut self, scalar: Scalar<'_>) {
        if self.has_too_many {
            return;
        }
        if let Scalar::Text(text) = scalar {
            if let Some(count) = self.texts.get_mut(text) {
                *count += 1;
                return;
            }
            self.text_bytes += text.len();
            self.texts.insert(text.into(), 1);
        } else {
            let new = self.others.len();
            let (_, count) = self
                .others
                .entry(scalar.key())
                .or_insert_with(|| (scalar.value(), 0));
            *count += 1;
            if self.others.len() == new {
                return;
            }
        }
        if self.first.len() < N_FIRST {
            self.first.push(scalar.value());
        }
        if self.texts.len() + self.others.len() > MOST_DISTINCT || self.text_bytes > MOST_TEXT_BYTES {
            self.has_too_many = true;
            self.texts = HashMap::new();
            self.others = HashMap::new();
        }
    }
}

/// A value where it is.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i128),
    Single(f32),
    Double(f64),
}

impl Scalar<'_> {
    fn is_number(self) -> bool {
        !matches!(self, Self::Text(_) | Self::Bool(_))
    }

    fn is_below(self, other: Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a < b,
            (Self::Single(a), Self::Single(b)) => a < b,
            (Self::Double(a), Self::Double(b)) => a < b,
            _ => false,
        }
    }

    /// Equal for equal values of one type that is not text.
    fn key(self) -> u64 {
        match self {
            Self::Text(_) => 0,
            Self::Bool(value) => value.into(),
            Self::Integer(value) => value as u64,
            Self::Single(value) => value.to_bits().into(),
            Self::Double(value) => value.to_bits(),
        }
    }

    fn value(self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Single(value) => Value::Single(value),
            Self::Double(value) => Value::Double(value),
        }
    }
}

/// Visits the values of an array that is not a dictionary; NaN is missing, and 0 has no sign.
fn scalars<'a>(array: &'a dyn Array, mut visit: impl FnMut(Option<Scalar<'a>>)) {
    fn integers<'a, T: ArrowPrimitiveType<Native: Into<i128>>>(
        array: &dyn Array,
        visit: &mut impl FnMut(Option<Scalar<'a>>),
    ) {
        let values = array.as_primitive::<T>().iter();
        values.for_each(|value| visit(value.map(|value| Scalar::Integer(value.into()))));
    }
    let visit = &mut visit;
    let single = |value: f32| (!value.is_nan()).then_some(Scalar::Single(value + 0.0));
    match array.data_type() {
        DataType::Utf8 => array
            .as_string::<i32>()
            .iter()
            .for_each(|value| visit(value.map(Scalar::Text))),
        DataType::LargeUtf8 => array
            .as_string::<i64>()
            .iter()
            .for_each(|value| visit(value.map(Scalar::Text))),
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .for_each(|value| visit(value.map(Scalar::Bool))),
        DataType::Int8 => integers::<Int8Type>(array, visit),
        DataType::Int16 => integers::<Int16Type>(array, visit),
        DataType::Int32 => integers::<Int32Type>(array, visit),
        DataType::Int64 => integers::<Int64Type>(array, visit),
        DataType::UInt8 => integers::<UInt8Type>(array, visit),
        DataType::UInt16 => integers::<UInt16Type>(array, visit),
        DataType::UInt32 => integers::<UInt32Type>(array, visit),
        DataType::UInt64 => integers::<UInt64Type>(array, visit),
        DataType::Float16 => array
            .as_primitive::<Float16Type>()
            .iter()
            .for_each(|value| visit(value.and_then(|value| single(value.to_f32())))),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .for_each(|value| visit(value.and_then(single))),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().for_each(|value| {
            visit(value.and_then(|value| (!value.is_nan()).then_some(Scalar::Double(value + 0.0))))
        }),
        // Of a type that AnnData does not have.
        _ => (0..array.len()).for_each(|_| visit(None)),
    }
}

/// Visits the numbers of a column that are not missing.
pub(super) fn numbers(column: &Column, visit: &mut dyn FnMut(f64)) {
    for array in column.batches() {
        scalars(array.as_ref(), |scalar| match scalar {
            Some(Scalar::Integer(value)) => visit(value as f64),
            Some(Scalar::Single(value)) => visit(value.into()),
            Some(Scalar::Double(value)) => visit(value),
            _ => {}
        });
    }
}
