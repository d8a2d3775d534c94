//! One type for the values of a column that several inputs have, or that a store and what is appended to it have, and values brought
//! into a type: exactly, or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, LargeStringArray, PrimitiveArray, StringArray, new_empty_array,
    new_null_array,
};
use arrow_schema::{ArrowError, DataType};

/// Bits of an integer type, and whether it is signed.
fn integer(data_type: &DataType) -> Option<(u32, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

/// Bits of a float type.
fn float(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Float16 => 16,
        DataType::Float32 => 32,
        DataType::Float64 => 64,
        _ => return None,
    })
}

fn float_of(bits: u32) -> DataType {
    match bits {
        16 => DataType::Float16,
        32 => DataType::Float32,
        _ => DataType::Float64,
    }
}

/// The values of a column: those of its categories, where it has such.
pub fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// The narrowest type for the values of both, or `None` where they are of different kinds (numbers, booleans, texts).
///
/// It holds them exactly, but for 64-bit integers beside floats or beside integers of the other sign: those are taken for
/// `Float64` or `Int64`, and [`cast`] refuses a value that these do not hold.
pub(crate) fn unify(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (integer(a), integer(b), float(a), float(b)) {
        (Some((a_bits, a_signed)), Some((b_bits, b_signed)), ..) => {
            let bits = match (a_signed, b_signed) {
                (true, false) => a_bits.max(2 * b_bits),
                (false, true) => b_bits.max(2 * a_bits),
                _ => a_bits.max(b_bits),
            };
            Some(match (a_signed || b_signed, bits) {
                (true, 8) => DataType::Int8,
                (true, 16) => DataType::Int16,
                (true, 32) => DataType::Int32,
                (true, _) => DataType::Int64,
                (false, 8) => DataType::UInt8,
                (false, 16) => DataType::UInt16,
                (false, 32) => DataType::UInt32,
                (false, _) => DataType::UInt64,
            })
        }
        (None, None, Some(a), Some(b)) => Some(float_of(a.max(b))),
        // Floats of 16, 32 and 64 bits hold all integers of 11, 24 and 53.
        (Some((bits, _)), None, None, Some(float)) | (None, Some((bits, _)), Some(float), None) => {
            let needed = match bits {
                8 => 16,
                16 => 32,
                _ => 64,
            };
            Some(float_of(float.max(needed)))
        }
        _ => None,
    }
}

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

/// An array's values, those of categories in their stead, as a type of the same kind: the one that [`unify`] gave, or that of a store.
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
enum Number {
    Int(i128),
    Float(f64),
}

fn numbers_of(array: &ArrayRef) -> Result<Vec<Option<Number>>, CastError> {
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

/// The codes of a categorical array; `None` where a value is missing.
pub fn codes_of(array: &ArrayRef) -> Vec<Option<usize>> {
    let codes = array.as_any_dictionary();
    // Without categories every value is missing, and Arrow knows no codes.
    if codes.values().is_empty() {
        return vec![None; array.len()];
    }
    let nulls = codes.keys().nulls();
    let is_missing = |row| nulls.is_some_and(|nulls| nulls.is_null(row));
    let codes = codes.normalized_keys().into_iter().enumerate();
    codes
        .map(|(row, code)| (!is_missing(row)).then_some(code))
        .collect()
}

/// The categories of several inputs as one list.
#[derive(Debug)]
pub struct Categories {
    /// Each once.
    pub labels: ArrayRef,
    /// Of each input, the place in it of each of its categories.
    pub maps: Vec<Arc<[u32]>>,
    /// Whether the orders of all inputs agree: then `labels` is in that order, else in that of their appearance.
    pub orders_agree: bool,
}

/// Lists of categories of one type as one, in the order of their appearance, and of each list the place in it of each of its
/// categories.
pub fn union(lists: &[ArrayRef], value_type: &DataType) -> Result<(ArrayRef, Vec<Vec<u32>>), CastError> {
    let mut place_of: HashMap<Option<Key<'_>>, u32> = HashMap::new();
    let mut fresh: Vec<Vec<u32>> = Vec::with_capacity(lists.len());
    let mut maps: Vec<Vec<u32>> = Vec::with_capacity(lists.len());
    for list in lists {
        let (mut map, mut new) = (Vec::with_capacity(list.len()), Vec::new());
        for (row, key) in (0..).zip(keys(list)?) {
            let next = place_of.len() as u32;
            let place = *place_of.entry(key).or_insert_with(|| {
                new.push(row);
                next
            });
            map.push(place);
        }
        maps.push(map);
        fresh.push(new);
    }
    let pieces = lists
        .iter()
        .zip(fresh)
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(list, rows)| arrow_select::take::take(list, &arrow_array::UInt32Array::from(rows), None))
        .collect::<Result<Vec<_>, _>>()?;
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    let labels = match pieces.is_empty() {
        true => new_empty_array(value_type),
        false => arrow_select::concat::concat(&pieces)?,
    };
    Ok((labels, maps))
}

/// Merges lists of categories of one type.
pub(crate) fn merge(lists: &[ArrayRef], value_type: &DataType) -> Result<Categories, CastError> {
    let (labels, maps) = union(lists, value_type)?;
    let n_labels = labels.len();
    // The orders agree where the longest list has all categories and each other list is a part of it in its order.
    let longest = maps
        .iter()
        .max_by_key(|map| map.len())
        .cloned()
        .unwrap_or_default();
    let mut rank = vec![u32::MAX; n_labels];
    (0..)
        .zip(&longest)
        .for_each(|(at, &place)| rank[place as usize] = at);
    let ascends = |map: &Vec<u32>| {
        map.windows(2)
            .all(|pair| rank[pair[0] as usize] < rank[pair[1] as usize])
    };
    let orders_agree = longest.len() == n_labels && maps.iter().all(ascends);
    let (labels, maps) = if orders_agree {
        let order = arrow_array::UInt32Array::from(longest);
        let in_rank = |map: Vec<u32>| map.iter().map(|&place| rank[place as usize]).collect();
        (
            arrow_select::take::take(&labels, &order, None)?,
            maps.into_iter().map(in_rank).collect(),
        )
    } else {
        (labels, maps.into_iter().map(Arc::from).collect())
    };
    Ok(Categories {
        labels,
        maps,
        orders_agree,
    })
}

/// The type of codes for so many categories.
pub fn code_type(n_categories: usize) -> DataType {
    match n_categories {
        0..=0x7F => DataType::Int8,
        0x80..=0x7FFF => DataType::Int16,
        _ => DataType::Int32,
    }
}

/// A categorical array of these codes into `labels`.
pub(crate) fn coded(
    codes: impl Iterator<Item = Option<u32>>,
    labels: &ArrayRef,
) -> Result<ArrayRef, CastError> {
    coded_as(&code_type(labels.len()), codes, labels)
}

/// A categorical array of these codes, of a type that holds them, into `labels`.
pub fn coded_as(
    code_type: &DataType,
    codes: impl Iterator<Item = Option<u32>>,
    labels: &ArrayRef,
) -> Result<ArrayRef, CastError> {
    macro_rules! coded {
        ($type:ty) => {{
            let keys: PrimitiveArray<$type> = codes.map(|code| code.map(|code| code as _)).collect();
            Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(labels))?))
        }};
    }
    match code_type {
        DataType::Int8 => coded!(Int8Type),
        DataType::Int16 => coded!(Int16Type),
        DataType::Int32 => coded!(Int32Type),
        DataType::Int64 => coded!(Int64Type),
        DataType::UInt8 => coded!(UInt8Type),
        DataType::UInt16 => coded!(UInt16Type),
        DataType::UInt32 => coded!(UInt32Type),
        DataType::UInt64 => coded!(UInt64Type),
        other => Err(CastError::Arrow(ArrowError::CastError(format!(
            "codes of type {other} are not known"
        )))),
    }
}

/// A categorical array with its codes replaced by `map`, into `labels`.
pub(crate) fn recoded(array: &ArrayRef, map: &[u32], labels: &ArrayRef) -> Result<ArrayRef, CastError> {
    let code_of = |code: Option<usize>| code.and_then(|code| map.get(code).copied());
    coded(codes_of(array).into_iter().map(code_of), labels)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float32Array, Int8Array, Int64Array, UInt64Array};

    use super::*;

    #[test]
    fn types_hold_both_or_are_checked() {
        use DataType::*;
        for (a, b, both) in [
            (Int8, Int64, Some(Int64)),
            (UInt8, Int8, Some(Int16)),
            (UInt32, Int8, Some(Int64)),
            (UInt64, Int8, Some(Int64)),
            (UInt8, UInt32, Some(UInt32)),
            (Float16, Int8, Some(Float16)),
            (Float32, Int16, Some(Float32)),
            (Float16, Int16, Some(Float32)),
            (Float32, Int32, Some(Float64)),
            (Float32, UInt64, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Utf8, Utf8, Some(Utf8)),
            (Boolean, Int8, None),
            (Utf8, Float64, None),
            (Utf8, Boolean, None),
        ] {
            assert_eq!(unify(&a, &b), both, "{a} and {b}");
            assert_eq!(unify(&b, &a), both, "{b} and {a}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1 << 53), None, Some((1 << 53) + 1)]));
        assert!(cast(&array.slice(0, 2), &DataType::Float64).is_ok());
        match cast(&array, &DataType::Float64) {
            Err(CastError::Inexact { row: 2, value }) => assert_eq!(value, "9007199254740993"),
            other => panic!("{other:?}"),
        }
        let array: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        assert!(matches!(
            cast(&array, &DataType::Int64),
            Err(CastError::Inexact { row: 1, .. })
        ));
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.1), None, Some(-0.0)]));
        let wide = cast(&floats, &DataType::Float64).unwrap();
        let wide = wide.as_primitive::<Float64Type>();
        assert_eq!(wide.value(0), f64::from(0.1f32));
        assert!(wide.is_null(1) && wide.value(2).is_sign_negative());
        let nan = |to: &DataType| cast(&(Arc::new(Float32Array::from(vec![f32::NAN])) as ArrayRef), to);
        assert!(nan(&DataType::Float16).is_ok() && nan(&DataType::Int8).is_err());
        let edge: ArrayRef = Arc::new(Float32Array::from(vec![-(2f32.powi(127))]));
        assert!(cast(&edge, &DataType::Int64).is_err());
        let huge: ArrayRef = Arc::new(Float32Array::from(vec![f32::INFINITY]));
        assert!(cast(&huge, &DataType::UInt64).is_err() && cast(&huge, &DataType::Float16).is_ok());
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let large = cast(&texts, &DataType::LargeUtf8).unwrap();
        assert_eq!(*large.data_type(), DataType::LargeUtf8);
        assert_eq!(
            cast(&large, &DataType::Utf8).unwrap().as_string::<i32>(),
            texts.as_string::<i32>()
        );
        assert!(cast(&texts, &DataType::Int8).is_err() && cast(&wide_of(1), &DataType::Utf8).is_err());
    }

    fn wide_of(value: i64) -> ArrayRef {
        Arc::new(Int64Array::from(vec![value]))
    }

    #[test]
    fn categories_keep_an_order_that_all_agree_on() {
        let list = |names: &[&str]| Arc::new(StringArray::from(names.to_vec())) as ArrayRef;
        let show = |merged: &Categories| {
            let labels = merged.labels.as_string::<i32>().iter();
            labels.flatten().collect::<Vec<_>>().join(",")
        };
        let lists = [list(&["low", "high"]), list(&["low", "mid", "high"]), list(&[])];
        let merged = merge(&lists, &DataType::Utf8).unwrap();
        assert!(merged.orders_agree);
        assert_eq!(show(&merged), "low,mid,high");
        assert_eq!(
            (&*merged.maps[0], &*merged.maps[1]),
            (&[0, 2][..], &[0, 1, 2][..])
        );
        let merged = merge(&[list(&["a", "b"]), list(&["b", "c"])], &DataType::Utf8).unwrap();
        assert!(!merged.orders_agree);
        assert_eq!((show(&merged).as_str(), &*merged.maps[1]), ("a,b,c", &[1, 2][..]));
        let merged = merge(&[list(&["a", "b", "c"]), list(&["c", "a"])], &DataType::Utf8).unwrap();
        assert!(!merged.orders_agree);
        assert_eq!(show(&merged), "a,b,c");

        let codes = Int8Array::from(vec![Some(1), None, Some(0)]);
        let array: ArrayRef =
            Arc::new(DictionaryArray::<Int8Type>::try_new(codes, list(&["c", "a"])).unwrap());
        let recoded = recoded(&array, &merged.maps[1], &merged.labels).unwrap();
        let shown: Vec<_> = keys(&recoded).unwrap();
        assert_eq!(shown, [Some(Key::Text("a")), None, Some(Key::Text("c"))]);
    }
}
