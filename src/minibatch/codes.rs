//! Codes for values that are stored without, or with other codes in each store.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};

use crate::format::column::{ColumnKind, integer, number, primitive, text_at};

/// Distinct values, and their places.
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
    /// By their bits.
    Floats(HashMap<u64, i32>),
}

/// The distinct ones, sorted or as they come first.
fn distinct<T: Copy + Ord + Hash>(each: impl Iterator<Item = T>, sorted: bool) -> Vec<T> {
    let mut seen = HashSet::new();
    let mut values: Vec<T> = each.filter(|&value| seen.insert(value)).collect();
    if sorted {
        values.sort_unstable();
    }
    values
}

fn places<T: Copy + Eq + Hash>(values: &[T]) -> HashMap<T, i32> {
    values.iter().copied().zip(0..).collect()
}

impl Codebook {
    /// Looks at every value of these arrays, which are of this kind. `None` for a kind whose values have no codes.
    pub(super) fn collect<'a>(
        kind: ColumnKind,
        arrays: impl Iterator<Item = &'a dyn Array>,
        sorted: bool,
    ) -> Option<Self> {
        let rows = arrays.flat_map(|array| {
            (0..array.len())
                .filter(|&row| array.is_valid(row))
                .map(move |row| (array, row))
        });
        let (places, values): (Places, ArrayRef) = match kind {
            ColumnKind::Strings => {
                let values = distinct(rows.filter_map(|(a, row)| text_at(a, row).flatten()), sorted);
                let places = places(&values)
                    .into_iter()
                    .map(|(text, place)| (text.to_string(), place));
                (
                    Places::Strings(places.collect()),
                    Arc::new(StringArray::from(values)),
                )
            }
            ColumnKind::Integers => {
                let values = distinct(rows.map(|(a, row)| integer(a, row)), sorted);
                (
                    Places::Integers(places(&values)),
                    Arc::new(Int64Array::from(values)),
                )
            }
            ColumnKind::Unsigned => {
                let values = distinct(rows.map(|(a, row)| primitive::<UInt64Type>(a, row)), sorted);
                (
                    Places::Unsigned(places(&values)),
                    Arc::new(UInt64Array::from(values)),
                )
            }
            ColumnKind::Booleans => {
                let values = distinct(rows.map(|(a, row)| a.as_boolean().value(row)), sorted);
                let place = |value| {
                    values
                        .iter()
                        .position(|&v| v == value)
                        .map_or(-1, |place| place as i32)
                };
                let places = Places::Booleans([place(false), place(true)]);
                (places, Arc::new(BooleanArray::from(values)))
            }
            ColumnKind::Floats => {
                let values = distinct(rows.map(|(a, row)| number(a, row).to_bits()), sorted);
                let floats = values.iter().map(|&bits| f64::from_bits(bits));
                let floats = Float64Array::from_iter_values(floats);
                (Places::Floats(places(&values)), Arc::new(floats))
            }
            ColumnKind::Codes => return None,
        };
        Some(Self { places, values })
    }

    /// What the codes stand for.
    pub(super) fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The code of a value that is not missing; -1 where it is none of them.
    pub(super) fn code(&self, array: &dyn Array, row: usize) -> i32 {
        let place = match &self.places {
            Places::Strings(places) => text_at(array, row).flatten().and_then(|text| places.get(text)),
            Places::Integers(places) => places.get(&integer(array, row)),
            Places::Unsigned(places) => places.get(&primitive::<UInt64Type>(array, row)),
            Places::Booleans(places) => places.get(usize::from(array.as_boolean().value(row))),
            Places::Floats(places) => places.get(&number(array, row).to_bits()),
        };
        place.copied().unwrap_or(-1)
    }
}
