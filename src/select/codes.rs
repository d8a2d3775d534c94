//! Classes from columns.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;

use super::compare::kind_of;
use super::error::SelectError;
use crate::Error;
use crate::format::column::{ColumnKind, Texts, categories_of, integers};
use crate::format::table::Column;
use crate::plan::{MISSING, PlanError, combine_codes};
use crate::store::Store;

/// A class for each obs, and what the classes are.
#[derive(Clone, Debug)]
pub struct Codes {
    /// The class of each obs, from 0 without gaps; [`MISSING`] where a column has no value.
    pub codes: Arc<[u32]>,
    /// What each class is: its value in each of the columns.
    pub classes: Vec<Vec<String>>,
}

impl Codes {
    /// The class of obs with these values, if there is any such obs.
    pub fn find(&self, values: &[&str]) -> Option<u32> {
        let place = self
            .classes
            .iter()
            .position(|class| class.iter().eq(values.iter()))?;
        u32::try_from(place).ok()
    }
}

/// The class of each obs by one or more columns of categories, texts, integers or booleans: for
/// [`Balanced`](crate::plan::Balanced), [`Grouped`](crate::plan::Grouped) and
/// [`Subset::split_by_group`](crate::plan::Subset::split_by_group).
///
/// Obs are of one class if they are equal in all columns; a class without obs has no code. Classes ascend: categories in
/// their own order, texts by code points, integers by value, false before true, the first column first. So the codes depend
/// on what the columns hold alone. Four bytes for each obs and column, up to 20 more while columns are combined, and the column itself
/// while it is read.
///
/// # Errors
/// If there is no such column, it holds floats or what has no classes, or there are 2^32 - 1 classes or
/// more.
pub fn codes(store: &Store, columns: &[&str]) -> Result<Codes, Error> {
    let mut by_column = Vec::with_capacity(columns.len());
    let mut names = Vec::with_capacity(columns.len());
    for &name in columns {
        let column = store.obs().column(name)?;
        let (codes, values) = codes_of(&column)?;
        by_column.push(codes);
        names.push(values);
    }
    let views: Vec<&[u32]> = by_column.iter().map(Vec::as_slice).collect();
    let codes = combine_codes(&views)?;
    let n_classes = codes
        .iter()
        .filter(|code| **code != MISSING)
        .max()
        .map_or(0, |code| *code as usize + 1);
    let mut classes = vec![Vec::new(); n_classes];
    for (obs, &code) in codes.iter().enumerate() {
        if let Some(class) = classes.get_mut(code as usize).filter(|class| class.is_empty()) {
            let values = by_column.iter().zip(&names);
            *class = values
                .map(|(codes, values)| values[codes[obs] as usize].clone())
                .collect();
        }
    }
    let codes = codes.into();
    Ok(Codes { codes, classes })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key<'a> {
    Text(&'a str),
    Integer(i128),
    Boolean(bool),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => integer.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

/// The values of an array that is not a dictionary.
fn keys<'a>(array: &'a dyn Array) -> Box<dyn Iterator<Item = Option<Key<'a>>> + 'a> {
    if let Some(texts) = Texts::from_array(array) {
        return Box::new(texts.map(|text| text.map(Key::Text)));
    }
    match array.data_type() {
        DataType::Boolean => Box::new(array.as_boolean().iter().map(|value| value.map(Key::Boolean))),
        _ => Box::new(
            integers(array)
                .into_iter()
                .map(|integer| integer.map(Key::Integer)),
        ),
    }
}

/// A code for each obs, ascending as the values are, and the values.
fn codes_of(column: &Column) -> Result<(Vec<u32>, Vec<String>), Error> {
    let field = column.field();
    let has_classes =
        |kind: ColumnKind| kind.is_integer() || matches!(kind, ColumnKind::Strings | ColumnKind::Booleans);
    if !kind_of(field.data_type()).is_some_and(has_classes) {
        return Err(SelectError::ColumnType {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            expected: "but classes must be categories, texts, integers or booleans",
        }
        .into());
    }
    let mut codes = Vec::with_capacity(column.batches().iter().map(|batch| batch.len()).sum());
    let dictionary = column
        .batches()
        .first()
        .and_then(|batch| batch.as_any_dictionary_opt());
    if let Some(dictionary) = dictionary {
        // A category may itself be missing; and two that are equal are one class.
        let categories: Vec<_> = keys(dictionary.values()).collect();
        let mut first: HashMap<Key<'_>, u32> = HashMap::with_capacity(categories.len());
        let codes_of_categories: Vec<u32> = (0..)
            .zip(&categories)
            .map(|(place, key)| key.map_or(MISSING, |key| *first.entry(key).or_insert(place)))
            .collect();
        for batch in column.batches() {
            categories_of(batch, |place| {
                let code = place.and_then(|place| codes_of_categories.get(place));
                codes.push(code.copied().unwrap_or(MISSING));
            });
        }
        let names = categories
            .iter()
            .map(|key| key.map_or_else(String::new, |key| key.to_string()));
        return Ok((codes, names.collect()));
    }
    // First in the order of appearance, then in that of the values.
    let mut found: HashMap<Key<'_>, u32> = HashMap::new();
    for batch in column.batches() {
        let mut last = (None, MISSING);
        for key in keys(batch) {
            if key != last.0 {
                let next = found.len() as u32;
                last = (key, key.map_or(MISSING, |key| *found.entry(key).or_insert(next)));
            }
            codes.push(last.1);
        }
        if found.len() >= MISSING as usize {
            return Err(PlanError::TooManyClasses.into());
        }
    }
    let mut sorted: Vec<(Key<'_>, u32)> = found.into_iter().collect();
    sorted.sort_unstable();
    let mut ranks = vec![0; sorted.len()];
    for (rank, (_, code)) in (0..).zip(&sorted) {
        ranks[*code as usize] = rank;
    }
    for code in codes.iter_mut().filter(|code| **code != MISSING) {
        *code = ranks[*code as usize];
    }
    Ok((codes, sorted.iter().map(|(key, _)| key.to_string()).collect()))
}
