//! Groups of the runs of a report, and their names.

use super::style::{css, series_colour};
use crate::bench::report::Row;
use crate::output;

/// Distinct values in the order of their size.
pub(super) fn distinct<T: Ord + Copy>(rows: &[Row], of: impl Fn(&Row) -> T) -> Vec<T> {
    let mut values: Vec<T> = rows.iter().map(of).collect();
    values.sort_unstable();
    values.dedup();
    values
}

pub(super) fn names<T: Into<u64> + Copy>(values: &[T]) -> Vec<String> {
    values.iter().map(|&value| output::count(value.into())).collect()
}

pub(super) fn factor_legend(factors: &[u32]) -> Vec<(String, String)> {
    let name = |(i, factor): (usize, &u32)| (css(series_colour(i)), format!("fetch factor {factor}"));
    factors.iter().enumerate().map(name).collect()
}
