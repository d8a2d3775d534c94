//! Orders of obs other than the source's.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::select::names_of;
use super::{ConvertError, ObsOrder};
use crate::anndata::TableSource;

/// For each obs of the store its place in the source.
pub(super) fn of(order: &ObsOrder, input: &Path, obs: &TableSource) -> Result<Vec<u32>, ConvertError> {
    let n_obs = u32::try_from(obs.n_rows())
        .map_err(|_| ConvertError::Order(format!("{} obs are more than 2^32", obs.n_rows())))?;
    let mut places: Vec<u32> = (0..n_obs).collect();
    match order {
        ObsOrder::Shuffled { seed } => places.shuffle(&mut ChaCha8Rng::seed_from_u64(*seed)),
        ObsOrder::SortedBy(names) => {
            let keys = names
                .iter()
                .map(|name| column_keys(name, input, obs))
                .collect::<Result<Vec<_>, _>>()?;
            places.sort_by(|&a, &b| {
                let of = |row: u32| keys.iter().map(move |keys| keys[row as usize]);
                of(a).cmp(of(b))
            });
        }
    }
    Ok(places)
}

/// Numbers in the order of the values of a column; missing ones are last.
fn column_keys(name: &str, input: &Path, obs: &TableSource) -> Result<Vec<u64>, ConvertError> {
    let missing = |names| ConvertError::NoColumn {
        file: input.to_path_buf(),
        names,
        available: names_of(obs),
    };
    let place = obs.schema().fields().iter().position(|field| field.name() == name);
    let Some(place) = place.filter(|&place| place > 0) else {
        return Err(missing(vec![name.to_owned()]));
    };
    let batch = obs.read(0..obs.n_rows())?;
    let column = batch.column(place);
    keys(column).ok_or_else(|| ConvertError::Order(format!("{name} is of type {}", column.data_type())))
}

fn keys(column: &ArrayRef) -> Option<Vec<u64>> {
    fn primitive<T: ArrowPrimitiveType>(column: &ArrayRef, key: impl Fn(T::Native) -> u64) -> Vec<u64> {
        let values = column.as_primitive::<T>().iter();
        values.map(|value| value.map_or(u64::MAX, &key)).collect()
    }
    let signed = |value: i64| value.cast_unsigned() ^ 1 << 63;
    // The order of IEEE 754: NaNs come after all numbers.
    let float = |value: f64| {
        let value = if value.is_nan() { f64::NAN } else { value };
        let bits = value.to_bits();
        if value.is_sign_negative() { !bits } else { bits ^ 1 << 63 }
    };
    Some(match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean().iter();
            values.map(|value| value.map_or(u64::MAX, u64::from)).collect()
        }
        DataType::Int8 => primitive::<Int8Type>(column, |v| signed(v.into())),
        DataType::Int16 => primitive::<Int16Type>(column, |v| signed(v.into())),
        DataType::Int32 => primitive::<Int32Type>(column, |v| signed(v.into())),
        DataType::Int64 => primitive::<Int64Type>(column, signed),
        DataType::UInt8 => primitive::<UInt8Type>(column, u64::from),
        DataType::UInt16 => primitive::<UInt16Type>(column, u64::from),
        DataType::UInt32 => primitive::<UInt32Type>(column, u64::from),
        DataType::UInt64 => primitive::<UInt64Type>(column, |v| v),
        DataType::Float16 => primitive::<Float16Type>(column, |v| float(v.to_f64())),
        DataType::Float32 => primitive::<Float32Type>(column, |v| float(v.into())),
        DataType::Float64 => primitive::<Float64Type>(column, float),
        DataType::Utf8 => {
            let text = column.as_string::<i32>();
            let mut ranks: BTreeMap<&str, u64> = text.iter().flatten().map(|value| (value, 0)).collect();
            ranks.values_mut().zip(0..).for_each(|(rank, n)| *rank = n);
            text.iter()
                .map(|value| value.map_or(u64::MAX, |value| ranks[value]))
                .collect()
        }
        // Categories are in an order of their own.
        DataType::Dictionary(key, _) => {
            let codes = column.as_any_dictionary();
            let of = codes.normalized_keys();
            debug_assert!(key.is_integer());
            let nulls = codes.keys().nulls();
            of.iter()
                .enumerate()
                .map(|(row, &code)| match nulls {
                    Some(nulls) if nulls.is_null(row) => u64::MAX,
                    _ => code as u64,
                })
                .collect()
        }
        _ => return None,
    })
}
