//! Categories that pandas refuses: missing or repeated ones, which some writers leave.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array};

use crate::write::category_keys;

/// Categories without those that repeat or are missing.
#[derive(Debug)]
pub(super) struct Categories {
    pub(super) labels: ArrayRef,
    /// For each category of the file its number among `labels`, or -1.
    numbers: Box<[i128]>,
}

/// The categories that remain, and what was wrong; nothing if pandas takes them as they are.
pub(super) fn repaired(labels: &ArrayRef) -> Option<(Categories, String)> {
    let keys = category_keys(labels)?;
    let mut number_of_key = HashMap::with_capacity(keys.len());
    let mut kept: Vec<u32> = Vec::with_capacity(keys.len());
    let (mut n_missing, mut n_repeated) = (0, 0);
    let mut numbers = Vec::with_capacity(keys.len());
    for (code, key) in (0..).zip(&keys) {
        let number = match key {
            None => {
                n_missing += 1;
                -1
            }
            Some(key) => {
                let next = kept.len() as i128;
                let number = *number_of_key.entry(key).or_insert(next);
                match number == next {
                    true => kept.push(code),
                    false => n_repeated += 1,
                }
                number
            }
        };
        numbers.push(number);
    }
    if kept.len() == keys.len() {
        return None;
    }
    let labels = arrow_select::take::take(labels, &UInt32Array::from(kept), None).ok()?;
    let mut notes = Vec::new();
    if n_repeated > 0 {
        notes.push(format!(
            "has {n_repeated} repeated categories, merged with the first of the same name"
        ));
    }
    if n_missing > 0 {
        notes.push(format!(
            "has {n_missing} categories without a value, whose rows become missing values"
        ));
    }
    let numbers = numbers.into_boxed_slice();
    Some((Categories { labels, numbers }, notes.join(", and ")))
}

impl Categories {
    /// The codes of a dictionary array of the file's categories, among those that remain; -1 is missing.
    pub(super) fn codes(&self, array: &dyn Array) -> Vec<i128> {
        let dictionary = array.as_any_dictionary();
        let keys = dictionary.normalized_keys();
        let code = |(row, key): (usize, usize)| match dictionary.keys().is_valid(row) {
            true => self.numbers.get(key).copied().unwrap_or(-1),
            false => -1,
        };
        keys.into_iter().enumerate().map(code).collect()
    }
}
