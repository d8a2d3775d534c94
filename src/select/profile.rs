//! What a column holds, for messages about values that it does not hold.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

use super::compare::kind_of;
use super::sought::used_categories;
use crate::format::column::{ColumnKind, integers, number, text_at};

/// Distinct values that are kept of a column; of more it is only known that there are.
const MAX_DISTINCT: usize = 1 << 14;

/// The most values that [`nearest`] gives.
pub const N_NEAREST: usize = 5;

/// Characters of a value that a message shows.
const SHOWN_CHARS: usize = 60;

/// The values of a column, as far as they can be told in a sentence.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Texts and booleans, in the order in which they were met.
    values: Vec<String>,
    known: HashSet<String>,
    has_more: bool,
    is_text: bool,
    integers: Option<(i128, i128)>,
    floats: Option<(f64, f64)>,
}

impl Profile {
    /// Adds a part of the column.
    pub(super) fn add(&mut self, array: &ArrayRef) {
        match array.as_any_dictionary_opt() {
            None => self.add_values(array.as_ref(), None),
            Some(dictionary) => {
                let is_used = used_categories(array, dictionary.values().len());
                self.add_values(dictionary.values().as_ref(), Some(&is_used));
            }
        }
    }

    fn add_values(&mut self, values: &dyn Array, is_used: Option<&[bool]>) {
        let counts = |row: &usize| is_used.is_none_or(|is_used| is_used[*row]) && values.is_valid(*row);
        let rows = (0..values.len()).filter(counts);
        match kind_of(values.data_type()) {
            Some(ColumnKind::Strings) => rows.for_each(|row| {
                self.add_text(text_at(values, row).flatten().unwrap_or_default());
            }),
            Some(ColumnKind::Booleans) => rows.for_each(|row| {
                let value = values.as_boolean().value(row);
                self.add_value(if value { "true" } else { "false" });
            }),
            Some(ColumnKind::Floats) => rows.for_each(|row| self.add_float(number(values, row))),
            Some(ColumnKind::Integers | ColumnKind::Unsigned) => {
                let integers = integers(values);
                for value in rows.filter_map(|row| integers[row]) {
                    let (least, most) = self.integers.get_or_insert((value, value));
                    (*least, *most) = ((*least).min(value), (*most).max(value));
                }
            }
            Some(ColumnKind::Codes) | None => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        self.is_text = true;
        self.add_value(text);
    }

    fn add_value(&mut self, value: &str) {
        if self.known.contains(value) {
            return;
        }
        if self.values.len() == MAX_DISTINCT {
            self.has_more = true;
            return;
        }
        self.known.insert(value.to_owned());
        self.values.push(value.to_owned());
    }

    fn add_float(&mut self, value: f64) {
        // NaN is a missing value.
        if !value.is_nan() {
            let (least, most) = self.floats.get_or_insert((value, value));
            (*least, *most) = (least.min(value), most.max(value));
        }
    }

    /// A sentence on what it holds: the values nearest to `wanted`, where there are many.
    pub(super) fn describe(&self, wanted: Option<&str>) -> String {
        if let Some((least, most)) = self.integers {
            return range(&least.to_string(), &most.to_string());
        }
        if let Some((least, most)) = self.floats {
            return range(&least.to_string(), &most.to_string());
        }
        let n_values = self.values.len();
        if n_values == 0 {
            return "it has no value for any obs".to_owned();
        }
        let shown: Vec<&str> = match wanted {
            Some(wanted) if n_values > N_NEAREST => nearest(wanted, &self.values),
            _ => self.values.iter().take(N_NEAREST).map(String::as_str).collect(),
        };
        let shown: Vec<String> = shown.into_iter().map(|value| self.quoted(value)).collect();
        let shown = shown.join(", ");
        match (n_values, wanted) {
            (1, _) => format!("its only value is {shown}"),
            (..=N_NEAREST, _) => format!("its {n_values} values are {shown}"),
            (_, Some(_)) => format!("the nearest of its {} values are {shown}", self.count()),
            (_, None) => format!("the first of its {} values are {shown}", self.count()),
        }
    }

    fn count(&self) -> String {
        let more = if self.has_more { "more than " } else { "" };
        format!("{more}{}", self.values.len())
    }

    fn quoted(&self, value: &str) -> String {
        if self.is_text {
            quoted(value)
        } else {
            value.to_owned()
        }
    }
}

/// A text as messages show it.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

fn range(least: &str, most: &str) -> String {
    match least == most {
        true => format!("its only value is {least}"),
        false => format!("its values are from {least} to {most}"),
    }
}

/// The up to [`N_NEAREST`] values that differ least from `wanted`, the nearest first: by characters that must be inserted, removed
/// or replaced, upper and lower case counting for less than other letters.
pub fn nearest<'a, S: AsRef<str>>(wanted: &str, values: &'a [S]) -> Vec<&'a str> {
    let chars = |text: &str| -> Vec<char> { text.chars().take(SHOWN_CHARS).collect() };
    let lower = |text: &[char]| -> Vec<char> { text.iter().flat_map(|c| c.to_lowercase()).collect() };
    let wanted = chars(wanted);
    let wanted_lower = lower(&wanted);
    let mut ranked: Vec<(usize, usize, usize)> = values
        .iter()
        .enumerate()
        .map(|(place, value)| {
            let value = chars(value.as_ref());
            let folded = distance(&wanted_lower, &lower(&value));
            (folded, distance(&wanted, &value), place)
        })
        .collect();
    ranked.sort_unstable();
    let nearest = ranked.into_iter().take(N_NEAREST);
    nearest.map(|(.., place)| values[place].as_ref()).collect()
}

/// How many characters must be inserted, removed or replaced to make one of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut diagonal = above[0];
        above[0] = row + 1;
        for (column, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = above[column + 1];
            above[column + 1] = replaced.min(diagonal + 1).min(above[column] + 1);
        }
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        let distance = |a: &str, b: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            distance(&chars(a), &chars(b))
        };
        for (a, b, expected) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("B cel", "B cell", 1),
            ("flaw", "lawn", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_values_come_first() {
        let values = ["T cell", "NK", "B cell", "b CELL", "plasma", "B cells", "mono"];
        assert_eq!(nearest("B cel", &values)[..2], ["B cell", "b CELL"]);
        assert_eq!(nearest("nk", &values)[0], "NK");
    }
}
