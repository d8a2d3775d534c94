//! Codes of categorical columns.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

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
