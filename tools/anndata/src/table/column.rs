//! Columns of a data frame: plain, nullable and categorical.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array as _, ArrayRef, BooleanArray, DictionaryArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;

use super::leaf::Leaf;
use super::repair::Categories;
use crate::container::{Array, Enumeration, IntKind};
use crate::error::{ReadError, Result};

/// A column, readable in windows.
#[derive(Debug)]
pub(super) enum Column {
    /// One dataset.
    Plain(Leaf),
    /// In memory.
    Held(ArrayRef),
    /// Values, and a mask that is true where they are missing.
    Nullable { values: Leaf, mask: Leaf },
    /// Codes into labels; -1 is missing.
    Categorical {
        codes: Box<Array>,
        kind: IntKind,
        key: DataType,
        labels: ArrayRef,
    },
    /// A categorical whose categories are not those of the file.
    Repaired {
        inner: Box<Column>,
        key: DataType,
        categories: Categories,
    },
    /// An enum: labels, or truth values of which some are missing.
    Named {
        codes: Box<Array>,
        kind: IntKind,
        members: Arc<Enumeration>,
        labels: NamedLabels,
    },
}

/// What the members of an enum are.
#[derive(Debug)]
pub(super) enum NamedLabels {
    /// Categories, in the order of their values.
    Categories(ArrayRef),
    /// FALSE, TRUE or NA, as R has them; for each member.
    Flags(Vec<Option<bool>>),
}

impl Column {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Plain(leaf) | Self::Nullable { values: leaf, .. } => leaf.len(),
            Self::Categorical { codes, .. } | Self::Named { codes, .. } => codes.len(),
            Self::Held(array) => array.len() as u64,
            Self::Repaired { inner, .. } => inner.len(),
        }
    }

    /// Reads rows `range`, which must exist.
    pub(super) fn read(&self, range: Range<u64>) -> Result<ArrayRef> {
        match self {
            Self::Plain(leaf) => leaf.read(range, None),
            Self::Held(array) => Ok(array.slice(range.start as usize, (range.end - range.start) as usize)),
            Self::Nullable { values, mask } => {
                let is_missing = mask.read_bools(range.clone())?;
                values.read(range, Some(NullBuffer::new(!&is_missing)))
            }
            Self::Categorical {
                codes,
                kind,
                key,
                labels,
            } => {
                let found = read_codes(codes, *kind, range.clone())?;
                let n_categories = labels.len() as u64;
                if let Some(row) = found
                    .iter()
                    .position(|&code| code < -1 || code >= i128::from(n_categories))
                {
                    return Err(ReadError::CategoryCode {
                        file: codes.file().path().to_owned(),
                        object: codes.path().to_owned(),
                        row: range.start + row as u64,
                        found: found[row],
                        n_categories,
                    });
                }
                let array = dictionary_of(key, &found, labels);
                array.map_err(|detail| codes.file().damaged(codes.path(), detail))
            }
            Self::Repaired {
                inner,
                key,
                categories,
            } => {
                let codes = categories.codes(&inner.read(range)?);
                match dictionary_of(key, &codes, &categories.labels) {
                    Ok(array) => Ok(array),
                    Err(detail) => unreachable!("numbers of categories fit where larger codes did: {detail}"),
                }
            }
            Self::Named {
                codes,
                kind,
                members,
                labels,
            } => {
                let mut found = read_codes(codes, *kind, range.clone())?;
                let numbers: HashMap<i128, i128> = members.values.iter().copied().zip(0..).collect();
                for (row, code) in (range.start..).zip(&mut found) {
                    let Some(number) = numbers.get(code) else {
                        let detail = format!("row {row} holds {code}, which is not a member of its enum");
                        return Err(codes.file().damaged(codes.path(), detail));
                    };
                    *code = *number;
                }
                match labels {
                    NamedLabels::Flags(flags) => {
                        let values: BooleanArray =
                            found.iter().map(|&number| flags[number as usize]).collect();
                        Ok(Arc::new(values))
                    }
                    NamedLabels::Categories(labels) => {
                        dictionary::<Int32Type>(&found, labels, |number| number as i32)
                            .map_err(|detail| codes.file().damaged(codes.path(), detail))
                    }
                }
            }
        }
    }
}

/// As [`dictionary`], with keys of this type.
fn dictionary_of(key: &DataType, codes: &[i128], labels: &ArrayRef) -> std::result::Result<ArrayRef, String> {
    match key {
        DataType::Int8 => dictionary::<Int8Type>(codes, labels, |code| code as i8),
        DataType::Int16 => dictionary::<Int16Type>(codes, labels, |code| code as i16),
        DataType::Int32 => dictionary::<Int32Type>(codes, labels, |code| code as i32),
        _ => dictionary::<Int64Type>(codes, labels, |code| code as i64),
    }
}

fn read_codes(codes: &Array, kind: IntKind, range: Range<u64>) -> Result<Vec<i128>> {
    let mut found = vec![0i128; (range.end - range.start) as usize];
    codes.read_converted(range, &mut found, |bytes, place| {
        kind.for_each(bytes, place, |place, value| *place = value);
    })?;
    Ok(found)
}

/// A dictionary array; the codes are known to be -1 (null) or to lie within the labels.
fn dictionary<K: arrow_array::types::ArrowDictionaryKeyType>(
    codes: &[i128],
    labels: &ArrayRef,
    narrow: impl Fn(i128) -> <K as ArrowPrimitiveType>::Native,
) -> std::result::Result<ArrayRef, String> {
    // The slot of a null holds 0, so that it is valid in readers that look before they check.
    let keys = codes.iter().map(|&code| narrow(code.max(0))).collect::<Vec<_>>();
    let nulls = codes
        .contains(&-1)
        .then(|| NullBuffer::new(BooleanBuffer::collect_bool(codes.len(), |row| codes[row] >= 0)));
    let keys = PrimitiveArray::<K>::try_new(keys.into(), nulls).map_err(|error| error.to_string())?;
    let array = DictionaryArray::try_new(keys, Arc::clone(labels)).map_err(|error| error.to_string())?;
    Ok(Arc::new(array))
}
