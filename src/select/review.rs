//! Warnings about a filter: values that no obs has, and filters that match none.

use std::fmt;

use arrow_array::ArrayRef;
use cellring_core::first_of;

use super::error::SelectError;
use super::profile::{Profile, quoted};
use super::sought::SoughtValues;
use super::token::{Number, Value};
use crate::Error;
use crate::plan::Subset;

/// Values that a message names, and columns.
const SHOWN: usize = 5;

/// The obs that a filter takes, which may be none, and what is odd about the filter.
#[derive(Debug)]
#[non_exhaustive]
pub struct Matches {
    /// The obs.
    pub subset: Subset,
    /// Values that the filter asks for and that no obs has; empty where it takes nothing, which is an error of its own.
    pub warnings: Vec<SelectWarning>,
    nothing: Option<Error>,
}

impl Matches {
    pub(super) fn new(subset: Subset, reviewed: Result<Vec<SelectWarning>, Error>) -> Self {
        let (warnings, nothing) = match reviewed {
            Ok(warnings) => (warnings, None),
            Err(nothing) => (Vec::new(), Some(nothing)),
        };
        Self {
            subset,
            warnings,
            nothing,
        }
    }

    /// The obs, of which there are some, and the warnings.
    ///
    /// # Errors
    /// If there is none.
    pub fn some(self) -> Result<(Subset, Vec<SelectWarning>), Error> {
        match self.nothing {
            None => Ok((self.subset, self.warnings)),
            Some(nothing) => Err(nothing),
        }
    }
}

/// Something about a selection that its author may want to change. It is shown as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectWarning {
    /// A filter that takes some obs asks for values that none has.
    AbsentValues {
        /// The filter.
        filter: String,
        /// The column.
        column: String,
        /// The values, as they stand in the filter.
        values: Vec<String>,
        /// What the column holds: a clause with the nearest of its values, or their range.
        held: String,
    },
}

impl fmt::Display for SelectWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::AbsentValues {
            filter,
            column,
            values,
            held,
        } = self;
        let values = listed(values);
        write!(
            f,
            "no obs has {values} in the obs column {column:?} ({held}), which the filter looks for: {filter}"
        )
    }
}

/// A test, as far as a review needs it.
pub(super) struct Reviewed<'a> {
    /// Which of the filter's columns.
    pub(super) place: usize,
    pub(super) sought: &'a SoughtValues,
}

/// Looks at the values of a filter that no row has, after all rows were seen, and at whether it took any of `n_obs` rows.
/// The columns are read again, by `next`, only where there is something to say.
///
/// The outer error is one of `next`; the inner one says that no row was taken.
pub(super) fn review<E>(
    filter: &str,
    columns: &[String],
    tests: &[Reviewed<'_>],
    (n_taken, n_obs): (u64, u64),
    mut next: impl FnMut() -> Option<Result<Vec<ArrayRef>, E>>,
) -> Result<Result<Vec<SelectWarning>, Error>, E> {
    let is_odd = |test: &&Reviewed<'_>| n_taken == 0 || !test.sought.absent().is_empty();
    let odd: Vec<&Reviewed<'_>> = tests.iter().filter(is_odd).collect();
    if odd.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let mut profiles: Vec<Option<Profile>> = vec![None; columns.len()];
    odd.iter()
        .for_each(|test| profiles[test.place] = Some(Profile::default()));
    while let Some(arrays) = next() {
        for (profile, array) in profiles.iter_mut().zip(&arrays?) {
            if let Some(profile) = profile {
                profile.add(array);
            }
        }
    }
    let held = |test: &Reviewed<'_>, value: Option<&&Value>| {
        let wanted = value.map(|value| shown_plainly(value));
        let profile = profiles[test.place].as_ref();
        profile.map_or_else(String::new, |profile| profile.describe(wanted.as_deref()))
    };
    if n_taken > 0 {
        let warnings = odd.iter().map(|test| {
            let absent = test.sought.absent();
            SelectWarning::AbsentValues {
                filter: filter.to_owned(),
                column: columns[test.place].clone(),
                held: held(test, absent.first()),
                values: absent.into_iter().map(shown).collect(),
            }
        });
        return Ok(Ok(warnings.collect()));
    }
    let mut clauses: Vec<String> = Vec::new();
    for test in odd {
        let (column, absent) = (&columns[test.place], test.sought.absent());
        let held = held(test, absent.first());
        let values: Vec<String> = absent.into_iter().map(shown).collect();
        let clause = match values.is_empty() {
            true => format!("it uses the obs column {column:?} ({held})"),
            false => format!(
                "no obs has {} in the obs column {column:?} ({held})",
                listed(&values)
            ),
        };
        // Values that no obs has explain it best.
        match clauses.contains(&clause) {
            true => {}
            false if values.is_empty() => clauses.push(clause),
            false => clauses.insert(0, clause),
        }
    }
    clauses.truncate(SHOWN);
    let why = clauses.join("; ");
    let filter = filter.to_owned();
    Ok(Err(SelectError::NothingTaken { filter, n_obs, why }.into()))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        other => shown_plainly(other),
    }
}

fn shown_plainly(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(Number::Int(number)) => number.to_string(),
        Value::Number(Number::Float(number)) => number.to_string(),
        Value::Bool(value) => value.to_string(),
    }
}

/// The first few of these.
fn listed(values: &[String]) -> String {
    first_of(values, SHOWN, " or ", |more| format!(" or {more} more"))
}
