//! Orders of obs other than the source's.

use std::collections::HashMap;
use std::path::Path;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_schema::DataType;
use cellring_anndata::__internal::codes_of;
use cellring_anndata::TableSource;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use super::error::ConvertError;
use super::memory::{BASE_BYTES, KEY_BYTES};
use super::options::ObsOrder;

/// Where the obs of the store are in the source.
pub(super) enum Places {
    /// Of each.
    Found(Vec<u32>),
    /// To find them takes at most so much memory, and more than the limit.
    Need(u64),
}

/// For each obs of the store its place in the source. So many bytes are held meanwhile.
pub(super) fn places(
    order: &ObsOrder,
    input: &Path,
    obs: &TableSource,
    limit_bytes: u64,
    held_bytes: u64,
) -> Result<Places, ConvertError> {
    let n_obs = u32::try_from(obs.n_rows())
        .map_err(|_| ConvertError::Order(format!("{} obs are more than 2^32", obs.n_rows())))?;
    let names = match order {
        ObsOrder::Shuffled { seed } => {
            let mut places: Vec<u32> = (0..n_obs).collect();
            shuffle(&mut places, *seed);
            return Ok(Places::Found(places));
        }
        ObsOrder::SortedBy(names) => names,
    };
    let key_bytes = (4 + 2 * KEY_BYTES * names.len() as u64) * u64::from(n_obs) + (4 << 20);
    let needed_bytes = BASE_BYTES + held_bytes + key_bytes;
    let (mut keys, mut text_bytes) = (Vec::with_capacity(names.len()), 0);
    let text_limit = limit_bytes.saturating_sub(needed_bytes);
    for name in names {
        let column = column_of(name, input, obs)?;
        let mut texts = match text_limit {
            // Without memory for keys, texts are only counted; those that are known by then once.
            0 => Texts::new(limit_bytes / COUNTING_SHARE),
            text_limit => Texts::new(text_limit),
        };
        let fits = text_limit > 0 && text_bytes <= text_limit;
        let found = column_keys(name, &column, &mut texts, fits)?;
        text_bytes = text_bytes.max(texts.bytes);
        match text_limit > 0 && text_bytes <= text_limit {
            true => keys.push(found),
            // The others tell what they need, too.
            false => keys.clear(),
        }
    }
    if needed_bytes.saturating_add(text_bytes) > limit_bytes {
        return Ok(Places::Need(needed_bytes.saturating_add(text_bytes)));
    }
    let mut places: Vec<u32> = (0..n_obs).collect();
    places.sort_by(|&a, &b| {
        let of = |row: u32| keys.iter().map(move |keys| keys[row as usize]);
        of(a).cmp(of(b))
    });
    Ok(Places::Found(places))
}

/// Fisher and Yates's shuffle, with a generator and a scaling of its own: equal seeds give equal stores for ever. The
/// scaling's bias is below 2^-32.
fn shuffle(places: &mut [u32], seed: u64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    for last in (1..places.len()).rev() {
        let scaled = u128::from(random.next_u64()) * (last as u128 + 1);
        places.swap(last, (scaled >> 64) as usize);
    }
}

/// Rows that are read at a time.
const BATCH_ROWS: usize = 1 << 16;

/// Of the limit, the part for texts that are only counted.
const COUNTING_SHARE: u64 = 4;

/// The column of this name alone.
fn column_of(name: &str, input: &Path, obs: &TableSource) -> Result<TableSource, ConvertError> {
    let mut fields = obs.schema().fields().iter().skip(1);
    match fields.position(|field| field.name() == name) {
        Some(place) => Ok(obs.project(&[place + 1])),
        None => Err(ConvertError::NoColumn {
            file: input.to_path_buf(),
            names: vec![name.to_owned()],
            available: obs.column_names(),
        }),
    }
}

/// Numbers in the order of the values of a column; missing ones are last. If they are not to be kept, or the texts take too much memory, there
/// are none, and only the texts are counted.
fn column_keys(
    name: &str,
    column: &TableSource,
    texts: &mut Texts,
    are_kept: bool,
) -> Result<Vec<u64>, ConvertError> {
    let mut all = Vec::with_capacity(if are_kept { column.n_rows() as usize } else { 0 });
    for start in (0..column.n_rows()).step_by(BATCH_ROWS) {
        let batch = column.read(start..column.n_rows().min(start + BATCH_ROWS as u64))?;
        let values = batch.column(0);
        let numbers = match values.as_string_opt::<i32>() {
            Some(values) => values.iter().map(|value| texts.number(value)).collect(),
            None => keys(values)
                .ok_or_else(|| ConvertError::Order(format!("{name} is of type {}", values.data_type())))?,
        };
        match are_kept && texts.bytes <= texts.most_bytes {
            true => all.extend(numbers),
            false => all = Vec::new(),
        }
    }
    texts.rank(&mut all);
    Ok(all)
}

/// What a text takes besides its bytes while texts are told apart: its place in a table that grows, and in a list that is sorted.
const TEXT_OVERHEAD_BYTES: u64 = 144;

/// Different texts, numbered as they come.
struct Texts {
    numbers: HashMap<String, u64>,
    /// What they take; once that is too much, what they would take if all later ones that are not known differed.
    bytes: u64,
    most_bytes: u64,
}

impl Texts {
    fn new(most_bytes: u64) -> Self {
        Self {
            numbers: HashMap::new(),
            bytes: 0,
            most_bytes,
        }
    }

    fn number(&mut self, text: Option<&str>) -> u64 {
        let Some(text) = text else { return u64::MAX };
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u64;
        self.bytes += text.len() as u64 + TEXT_OVERHEAD_BYTES;
        if self.bytes <= self.most_bytes {
            self.numbers.insert(text.to_owned(), number);
        }
        number
    }

    /// Replaces numbers by the places of their texts in order.
    fn rank(&mut self, numbers: &mut [u64]) {
        let mut texts: Vec<(String, u64)> = self.numbers.drain().collect();
        if texts.is_empty() || numbers.is_empty() {
            return;
        }
        texts.sort_unstable();
        let mut rank_of = vec![0; texts.len()];
        (0..)
            .zip(&texts)
            .for_each(|(rank, (_, number))| rank_of[*number as usize] = rank);
        for number in numbers.iter_mut().filter(|number| **number != u64::MAX) {
            *number = rank_of[*number as usize];
        }
    }
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
        if value.is_sign_negative() {
            !bits
        } else {
            bits ^ 1 << 63
        }
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
        // Categories are in an order of their own.
        DataType::Dictionary(key, _) => {
            debug_assert!(key.is_integer());
            let codes = codes_of(column).into_iter();
            codes
                .map(|code| code.map_or(u64::MAX, |code| code as u64))
                .collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, Float32Array, Int16Array};

    use super::*;

    #[test]
    fn shuffles_are_permutations_that_never_change() {
        let mut places: Vec<u32> = (0..10).collect();
        shuffle(&mut places, 7);
        let first = places.clone();
        places.sort_unstable();
        assert_eq!(places, (0..10).collect::<Vec<_>>());
        shuffle(&mut places, 7);
        assert_eq!(places, first);
        shuffle(&mut places, 8);
        assert_ne!(places, first);
        // Each obs comes to each place equally often: 10,000 times of 100,000, within five standard deviations.
        let mut counts = [[0u32; 10]; 10];
        for seed in 0..100_000 {
            let mut places: Vec<u32> = (0..10).collect();
            shuffle(&mut places, seed);
            for (place, &obs) in places.iter().enumerate() {
                counts[place][obs as usize] += 1;
            }
        }
        assert!(
            counts.iter().flatten().all(|n| n.abs_diff(10_000) < 500),
            "{counts:?}"
        );
    }

    #[test]
    fn keys_are_in_the_order_of_values() {
        let order = |column: ArrayRef| {
            let keys = keys(&column).unwrap();
            let mut rows: Vec<usize> = (0..keys.len()).collect();
            rows.sort_by_key(|&row| keys[row]);
            rows
        };
        let floats = [f32::NAN, 1.0, -1.0, f32::INFINITY, -0.5, f32::NEG_INFINITY, 0.0];
        assert_eq!(
            order(Arc::new(Float32Array::from(floats.to_vec()))),
            [5, 2, 4, 6, 1, 3, 0]
        );
        let integers = Int16Array::from(vec![Some(3), None, Some(-3), Some(0)]);
        assert_eq!(order(Arc::new(integers)), [2, 3, 0, 1]);
        let mut texts = Texts::new(1 << 20);
        let mut numbers: Vec<u64> = [Some("b"), Some(""), None, Some("a"), Some("b")]
            .map(|text| texts.number(text))
            .into();
        texts.rank(&mut numbers);
        assert_eq!(numbers, [2, 0, u64::MAX, 1, 2]);
        let categories: DictionaryArray<Int8Type> =
            vec![Some("z"), None, Some("a"), Some("z")].into_iter().collect();
        assert_eq!(order(Arc::new(categories)), [0, 3, 2, 1]);
    }
    /// What they would need is at least what they take.
    #[test]
    fn texts_beyond_the_limit_are_counted_and_not_kept() {
        let one = TEXT_OVERHEAD_BYTES + 5;
        let mut texts = Texts::new(10 * one + 1);
        for round in 1..3 {
            for number in 0..100 {
                texts.number(Some(&format!("{number:05}")));
            }
            assert_eq!(texts.numbers.len(), 10);
            // Of those that are not known, each may be new every time.
            assert_eq!(texts.bytes, (10 + 90 * round) * one);
        }
    }
}
