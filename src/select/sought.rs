//! Values that a filter asks for, and whether any row has them.

use std::collections::HashSet;

use arrow_array::Array;
use arrow_array::cast::AsArray;

use super::compare::{Check, TRUE, kind_of};
use super::parse::{Condition, Operator};
use super::token::{Number, Value};
use crate::format::column::{ColumnKind, Texts, categories_of};

/// The most numbers of one list that are looked for, since each takes a pass of its own until it is found.
const MAX_NUMBERS: usize = 64;

/// The values that a test compares for equality and that no row so far has.
#[derive(Clone, Debug)]
pub(super) struct SoughtValues {
    texts: HashSet<String>,
    numbers: Vec<Number>,
    /// All values that were asked for, in the order of the filter.
    asked: Vec<Value>,
}

impl SoughtValues {
    pub(super) fn in_condition(condition: &Condition) -> Self {
        let asked = match condition {
            Condition::Compare(Operator::Equal | Operator::NotEqual, value) => vec![value.clone()],
            Condition::In(values) => values.clone(),
            Condition::Compare(..) | Condition::Missing => Vec::new(),
        };
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        let mut numbers: Vec<Number> = asked.iter().filter_map(number).collect();
        if numbers.len() > MAX_NUMBERS {
            numbers.clear();
        }
        Self {
            texts: asked.iter().filter_map(text).collect(),
            numbers,
            asked,
        }
    }

    /// Looks for them in a part of the column. Costs nothing once all are found.
    pub(super) fn see(&mut self, array: &dyn Array) {
        if self.texts.is_empty() && self.numbers.is_empty() {
            return;
        }
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return self.see_values(array, None);
        };
        let is_used = used_categories(array, dictionary.values().len());
        self.see_values(dictionary.values().as_ref(), Some(&is_used));
    }

    fn see_values(&mut self, values: &dyn Array, is_used: Option<&[bool]>) {
        let counts = |row: usize| is_used.is_none_or(|is_used| is_used[row]);
        match Texts::from_array(values) {
            Some(texts) => self.see_texts(texts.enumerate(), counts),
            None => {
                let is_number = kind_of(values.data_type()).is_some_and(ColumnKind::is_number);
                self.numbers.retain(|&number| {
                    let check = Check::Number(Operator::Equal, number);
                    let mut outcomes = check.outcomes(values).into_iter().enumerate();
                    !(is_number && outcomes.any(|(row, outcome)| outcome == TRUE && counts(row)))
                });
            }
        }
    }

    fn see_texts<'a>(
        &mut self,
        texts: impl Iterator<Item = (usize, Option<&'a str>)>,
        counts: impl Fn(usize) -> bool,
    ) {
        for (row, text) in texts {
            if let Some(text) = text.filter(|_| counts(row))
                && self.texts.remove(text)
                && self.texts.is_empty()
            {
                return;
            }
        }
    }

    /// The values that no row has, in the order of the filter.
    pub(super) fn absent(&self) -> Vec<&Value> {
        let mut seen = HashSet::new();
        let mut absent = Vec::new();
        for value in &self.asked {
            let is_absent = match value {
                Value::Text(text) => self.texts.contains(text) && seen.insert(text.as_str()),
                Value::Number(number) => self.numbers.contains(number),
                Value::Bool(_) => false,
            };
            if is_absent {
                absent.push(value);
            }
        }
        absent
    }
}

/// Which categories of a dictionary any row has.
pub(super) fn used_categories(array: &dyn Array, n_categories: usize) -> Vec<bool> {
    let mut is_used = vec![false; n_categories];
    categories_of(array, |place| {
        if let Some(is_used) = place.and_then(|place| is_used.get_mut(place)) {
            *is_used = true;
        }
    });
    is_used
}
