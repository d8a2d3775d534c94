//! The first rows of a table.

use arrow_array::{Array, ArrayRef};
use cellring::format::constants::ROLE_KEY;
use cellring::format::table::Table;
use serde_json::{Map, Value as Json, json};

use super::value::Value;
use crate::failure::Failure;
use crate::output::{self, Lines};

/// Rows that are brought into columns together.
const ROWS_ALIGNED: usize = 1000;

/// Prints the names of the first `n` rows and their values in all columns, or in one.
pub(super) fn print(table: &Table, column: Option<&str>, n: u64, json: bool) -> Result<(), Failure> {
    if let Some(name) = column {
        // For the error that lists those that there are.
        table.place_of(name)?;
    }
    let fields = table.schema()?.fields();
    let is_shown = |name: &str| column.is_none_or(|column| column == name);
    let shown: Vec<usize> = (0..fields.len())
        .filter(|&k| !fields[k].metadata().contains_key(ROLE_KEY) && is_shown(fields[k].name()))
        .collect();
    let names: Vec<&str> = shown.iter().map(|&k| fields[k].name().as_str()).collect();
    let mut lines = Lines::new();
    let (mut left, mut first) = (n.min(table.n_rows()), 0);
    for number in 0..table.n_batches()? {
        if left == 0 {
            break;
        }
        let batch = table.batch(number)?;
        let columns: Vec<&ArrayRef> = shown.iter().map(|&k| batch.column(k)).collect();
        let n_rows = left.min(batch.num_rows() as u64) as usize;
        let rows = Rows {
            index: batch.column(0),
            names: &names,
            columns,
        };
        match json {
            true => rows.print_json(n_rows, first, &mut lines)?,
            false => rows.print_text(n_rows, fields[0].name(), first == 0, &mut lines)?,
        }
        left -= n_rows as u64;
        first += n_rows as u64;
    }
    lines.finish()
}

struct Rows<'a> {
    index: &'a ArrayRef,
    names: &'a [&'a str],
    columns: Vec<&'a ArrayRef>,
}

impl Rows<'_> {
    fn print_json(&self, n_rows: usize, first: u64, lines: &mut Lines) -> Result<(), Failure> {
        let value = |array: &dyn Array, row| Value::at(array, row).map_or(Json::Null, |value| value.json());
        for row in 0..n_rows {
            let values = self.names.iter().zip(&self.columns);
            let values = values.map(|(name, array)| ((*name).to_owned(), value(array.as_ref(), row)));
            lines.json(&json!({
                "row": first + row as u64,
                "name": value(self.index.as_ref(), row),
                "values": values.collect::<Map<_, _>>(),
            }))?;
        }
        Ok(())
    }

    fn print_text(
        &self,
        n_rows: usize,
        index: &str,
        is_first: bool,
        lines: &mut Lines,
    ) -> Result<(), Failure> {
        let header: Vec<&str> = std::iter::once(index).chain(self.names.iter().copied()).collect();
        for start in (0..n_rows).step_by(ROWS_ALIGNED) {
            let rows = (start..n_rows.min(start + ROWS_ALIGNED)).map(|row| {
                let arrays = std::iter::once(self.index).chain(self.columns.iter().copied());
                arrays.map(|array| shown(array.as_ref(), row)).collect()
            });
            let text = output::words(&header, &rows.collect::<Vec<_>>());
            // The names of the columns once.
            let text = match is_first && start == 0 {
                true => text.as_str(),
                false => text.split_once('\n').map_or("", |(_, rows)| rows),
            };
            lines.text(text.trim_end_matches('\n'))?;
        }
        Ok(())
    }
}

/// Texts as they are, on one line; what is missing as pandas shows it.
fn shown(array: &dyn Array, row: usize) -> String {
    match Value::at(array, row) {
        None => "<NA>".to_owned(),
        Some(Value::Text(text)) => text.replace(['\n', '\r', '\t'], " "),
        Some(value) => value.literal(),
    }
}
