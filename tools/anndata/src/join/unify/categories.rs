//! Categories of several columns as one list.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, new_empty_array};
use arrow_schema::{ArrowError, DataType};

use super::cast::CastError;
use super::codes::codes_of;
use super::keys::{Key, keys};

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
