//! Codes for the values of a column that is stored without.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, UInt64Array};
use arrow_schema::DataType;

use super::columns::{integer, primitive, text_at};
use crate::format::table::Column;

/// The distinct values of a column, sorted, and their places.
#[derive(Clone, Debug)]
pub(super) struct Codebook {
    places: Places,
    values: ArrayRef,
}

#[derive(Clone, Debug)]
enum Places {
    Strings(HashMap<String, i32>),
    Integers(HashMap<i64, i32>),
    Unsigned(HashMap<u64, i32>),
    Booleans([i32; 2]),
}

/// Sorts distinct values, and gives each its place.
fn sort<T: Ord + Hash + Clone>(distinct: impl IntoIterator<Item = T>) -> (Vec<T>, HashMap<T, i32>) {
    let mut values: Vec<T> = distinct.into_iter().collect();
    values.sort_unstable();
    let places = values.iter().cloned().zip(0..).collect();
    (values, places)
}

impl Codebook {
    /// Looks at a whole column; `None` for a type whose values have no codes, as floats.
    pub(super) fn of(column: &Column) -> Option<Self> {
        let rows = || {
            let arrays = column.batches().iter().map(AsRef::as_ref);
            arrays.flat_map(|array: &dyn Array| {
                (0..array.len())
                    .filter(|&row| array.is_valid(row))
                    .map(move |row| (array, row))
            })
        };
        let (places, values): (Places, ArrayRef) = match column.field().data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => {
                let distinct: HashSet<&str> =
                    rows().filter_map(|(a, row)| text_at(a, row).flatten()).collect();
                let (values, places) = sort(distinct.into_iter().map(str::to_string));
                (Places::Strings(places), Arc::new(StringArray::from(values)))
            }
            DataType::UInt64 => {
                let distinct: HashSet<u64> = rows().map(|(a, row)| primitive::<UInt64Type>(a, row)).collect();
                let (values, places) = sort(distinct);
                (Places::Unsigned(places), Arc::new(UInt64Array::from(values)))
            }
            DataType::Boolean => {
                let distinct: BTreeSet<bool> = rows().map(|(a, row)| a.as_boolean().value(row)).collect();
                let values = Vec::from_iter(distinct);
                let place = |value| {
                    values
                        .iter()
                        .position(|&v| v == value)
                        .map_or(-1, |place| place as i32)
                };
                let places = Places::Booleans([place(false), place(true)]);
                (places, Arc::new(BooleanArray::from(values)))
            }
            data_type if data_type.is_integer() => {
                let distinct: HashSet<i64> = rows().map(|(a, row)| integer(a, row)).collect();
                let (values, places) = sort(distinct);
                (Places::Integers(places), Arc::new(Int64Array::from(values)))
            }
            _ => return None,
        };
        Some(Self { places, values })
    }

    /// What the codes stand for.
    pub(super) fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The code of a value that is not missing.
    pub(super) fn code(&self, array: &dyn Array, row: usize) -> i32 {
        let place = match &self.places {
            Places::Strings(places) => text_at(array, row).flatten().and_then(|text| places.get(text)),
            Places::Integers(places) => places.get(&integer(array, row)),
            Places::Unsigned(places) => places.get(&primitive::<UInt64Type>(array, row)),
            Places::Booleans(places) => places.get(usize::from(array.as_boolean().value(row))),
        };
        place.copied().unwrap_or(-1)
    }
}
