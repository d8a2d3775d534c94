//! What `obs` and `var` say of a table and of a column.

use arrow_schema::{DataType, Field};
use cellring::format::table::Column;
use cellring::select::quote_column;
use serde::Serialize;
use serde_json::Value as Json;

use super::quantiles::{PERCENT, quantiles};
use super::subject::Subject;
use super::summary::{MOST_DISTINCT, Summary, numbers};
use super::value::Value;
use crate::failure::Failure;
use crate::output::{self, Fields, Show};

/// Values of each column in an overview.
const N_BRIEF: usize = 5;
/// Characters of them that people see on one line.
const BRIEF_WIDTH: usize = 72;

/// All columns.
#[derive(Debug, Serialize)]
pub(super) struct TableReport<'a> {
    n_rows: u64,
    /// What the names of the rows are called.
    index: Option<&'a str>,
    /// Different names; `null` for more than are counted.
    n_distinct_names: Option<u64>,
    first_name: Option<String>,
    columns: Vec<ColumnReport>,
    #[serde(skip)]
    rows: &'static str,
}

/// One column.
#[derive(Debug, Serialize)]
pub(super) struct ColumnReport {
    name: String,
    /// The name as filters want it; `null` where they cannot ask about it.
    filter_name: Option<String>,
    /// As pandas names it.
    dtype: String,
    /// As AnnData names it.
    encoding: Option<String>,
    /// Of a categorical column.
    #[serde(skip_serializing_if = "Option::is_none")]
    ordered: Option<bool>,
    n_rows: u64,
    n_missing: u64,
    /// `null` for more than `n_distinct_above`.
    n_distinct: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_distinct_above: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quantiles: Vec<Quantile>,
    /// The most frequent first; of a column with too many different ones, the first without counts.
    values: Vec<Counted>,
    /// Values that are not listed.
    n_more: usize,
    #[serde(skip)]
    range: Option<(Value, Value)>,
    #[serde(skip)]
    rows: &'static str,
}

#[derive(Debug, Serialize)]
struct Quantile {
    percent: f64,
    value: f64,
}

#[derive(Debug, Serialize)]
struct Counted {
    value: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// What takes these rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(skip)]
    literal: String,
}

impl ColumnReport {
    /// A column among others.
    pub(super) fn brief(has_filters: bool, column: &Column) -> Self {
        Self::new(has_filters, column, N_BRIEF)
    }

    /// A column by itself, with so many of its values, 0 for all.
    pub(super) fn whole(subject: &Subject<'_>, column: &Column, limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut report = Self::new(subject.has_filters, column, limit);
        report.rows = subject.rows;
        let is_number = column.field().data_type().is_numeric();
        if is_number && report.range.is_some() {
            let n = report.n_rows - report.n_missing;
            let found = quantiles(n, &PERCENT, |visit| numbers(column, visit));
            let pairs = PERCENT.into_iter().zip(found);
            report.quantiles = pairs
                .map(|(percent, value)| Quantile { percent, value })
                .collect();
        }
        report
    }

    fn new(has_filters: bool, column: &Column, limit: usize) -> Self {
        let field = column.field();
        let Summary {
            n_missing,
            n_distinct,
            values,
            first,
            range,
        } = Summary::new(column);
        let filter_name = has_filters.then(|| quote_column(field.name())).flatten();
        let counted = |(value, count): (&Value, Option<u64>)| Counted {
            filter: filter_name
                .as_ref()
                .filter(|_| value.is_literal())
                .map(|name| match value {
                    Value::Bool(true) => name.clone(),
                    Value::Bool(false) => format!("not {name}"),
                    value => format!("{name} == {}", value.literal()),
                }),
            literal: value.literal(),
            value: value.json(),
            count,
        };
        let n_values = values.len();
        let listed = values.iter().map(|(value, count)| (value, Some(*count)));
        let listed = listed.chain(first.iter().map(|value| (value, None)));
        let is_categorical = matches!(field.data_type(), DataType::Dictionary(..));
        Self {
            values: listed.take(limit).map(counted).collect(),
            n_more: n_values.saturating_sub(limit),
            name: field.name().clone(),
            dtype: dtype(field),
            encoding: field.metadata().get("anndata.encoding").cloned(),
            ordered: is_categorical.then(|| is_ordered(field)),
            n_rows: column.batches().iter().map(|batch| batch.len() as u64).sum(),
            n_missing,
            n_distinct_above: n_distinct.is_none().then_some(MOST_DISTINCT),
            n_distinct,
            min: range.as_ref().map(|(least, _)| least.json()),
            max: range.as_ref().map(|(_, greatest)| greatest.json()),
            quantiles: Vec::new(),
            filter_name,
            range,
            rows: "rows",
        }
    }

    /// The name as a filter has it, or as it is.
    fn shown_name(&self) -> &str {
        self.filter_name.as_deref().unwrap_or(&self.name)
    }

    fn shown_distinct(&self) -> String {
        match self.n_distinct {
            Some(n) => output::count(n),
            None => format!("more than {}", output::count(MOST_DISTINCT as u64)),
        }
    }

    fn shown_range(&self) -> Option<String> {
        let (least, greatest) = self.range.as_ref()?;
        Some(format!("{} to {}", least.literal(), greatest.literal()))
    }

    /// The range of plain numbers; else the most frequent values, or the first.
    fn brief_values(&self) -> String {
        if let (Some(range), None) = (self.shown_range(), self.ordered) {
            return range;
        }
        let mut text = String::new();
        for value in &self.values {
            let next = match value.count {
                Some(count) => format!("{} ({})", value.literal, output::count(count)),
                None => value.literal.clone(),
            };
            let separator = if text.is_empty() { "" } else { ", " };
            if !text.is_empty() && text.chars().count() + next.chars().count() > BRIEF_WIDTH {
                return text + ", ...";
            }
            text = text + separator + &shortened(&next, BRIEF_WIDTH);
        }
        match self.n_more > 0 || self.n_distinct.is_none() {
            true => text + ", ...",
            false => text,
        }
    }

    /// What may be asked about the column.
    fn filter_examples(&self) -> Option<String> {
        let name = self.filter_name.as_ref()?;
        let mut examples = Vec::new();
        let median = self.quantiles.iter().find(|quantile| quantile.percent == 50.0);
        match (median, self.values.first()) {
            (Some(median), _) if median.value.is_finite() => {
                examples.push(format!("{name} >= {}", short(median.value)))
            }
            (_, Some(value)) => examples.extend(value.filter.clone()),
            _ => {}
        }
        if self.n_missing > 0 {
            examples.push(format!("{name} is missing"));
        }
        (!examples.is_empty()).then(|| examples.join("; "))
    }
}

impl Show for ColumnReport {
    fn text(&self) -> String {
        let mut fields = Fields::new(self.shown_name())
            .add("type", &self.dtype)
            .add(self.rows, output::count(self.n_rows))
            .add("missing", output::count(self.n_missing))
            .add("distinct", self.shown_distinct());
        if let Some(range) = self.shown_range() {
            fields = fields.add("range", range);
        }
        for Quantile { percent, value } in &self.quantiles {
            let label = match *percent {
                50.0 => "median".to_owned(),
                percent => format!("{percent} %"),
            };
            fields = fields.add(label, short(*value));
        }
        if let Some(examples) = self.filter_examples() {
            fields = fields.add("filter", examples);
        }
        let row = |value: &Counted| {
            let Some(count) = value.count else {
                return vec![value.literal.clone(), String::new(), String::new()];
            };
            let part = count as f64 / self.n_rows.max(1) as f64;
            vec![
                value.literal.clone(),
                output::count(count),
                format!("{:.1} %", part * 100.0),
            ]
        };
        let rows: Vec<_> = self.values.iter().map(row).collect();
        let header = match self.n_distinct {
            Some(_) => ["value", self.rows, "of all"],
            None => ["first values", "", ""],
        };
        let more = match self.n_more {
            0 => String::new(),
            n => format!("  {} more values; --limit 0 shows all\n", output::count(n as u64)),
        };
        format!("{}\n{}{more}", fields.text(), output::words(&header, &rows))
    }
}

impl<'a> TableReport<'a> {
    pub(super) fn new(
        subject: &Subject<'a>,
        index: Option<&'a str>,
        columns: Vec<ColumnReport>,
    ) -> Result<Self, Failure> {
        let names = subject.table.names()?;
        let first = names
            .batches()
            .first()
            .and_then(|names| Value::at(names.as_ref(), 0));
        Ok(Self {
            n_rows: subject.table.n_rows(),
            index,
            n_distinct_names: Summary::new(&names).n_distinct,
            first_name: first.map(|name| match name {
                Value::Text(name) => name,
                other => other.literal(),
            }),
            columns,
            rows: subject.rows,
        })
    }
}

impl Show for TableReport<'_> {
    fn text(&self) -> String {
        let n_rows = output::count(self.n_rows);
        let distinct = match self.n_distinct_names {
            Some(n) if n == self.n_rows => "all different".to_owned(),
            Some(n) => format!("only {} different ones", output::count(n)),
            None => format!("more than {} different ones", output::count(MOST_DISTINCT as u64)),
        };
        let names = match (self.index, &self.first_name) {
            (Some(index), Some(first)) => format!("{index}, such as {first}; {distinct}"),
            (index, _) => index.unwrap_or("none").to_owned(),
        };
        let fields = Fields::new(format!("{n_rows} {}", self.rows))
            .add("names", names)
            .add("columns", output::count(self.columns.len() as u64));
        if self.columns.is_empty() {
            return fields.text();
        }
        let row = |column: &ColumnReport| {
            vec![
                column.shown_name().to_owned(),
                column.dtype.clone(),
                output::count(column.n_missing),
                column.shown_distinct(),
                column.brief_values(),
            ]
        };
        let rows: Vec<_> = self.columns.iter().map(row).collect();
        let header = ["column", "type", "missing", "distinct", "values"];
        format!("{}\n{}", fields.text(), output::words(&header, &rows))
    }
}

fn is_ordered(field: &Field) -> bool {
    let ordered = field.metadata().get("anndata.ordered");
    ordered.is_some_and(|ordered| ordered == "true")
}

/// The type as pandas names it.
fn dtype(field: &Field) -> String {
    let is_nullable = field
        .metadata()
        .get("anndata.encoding")
        .is_some_and(|encoding| encoding.starts_with("nullable"));
    match field.data_type() {
        DataType::Dictionary(_, values) => {
            let of = match values.as_ref() {
                DataType::Utf8 | DataType::LargeUtf8 => String::new(),
                values => format!(" of {}", plain(values, false)),
            };
            let ordered = if is_ordered(field) { ", ordered" } else { "" };
            format!("category{of}{ordered}")
        }
        data_type => plain(data_type, is_nullable),
    }
}

fn plain(data_type: &DataType, is_nullable: bool) -> String {
    let name = match data_type {
        DataType::Boolean => {
            if is_nullable {
                "boolean"
            } else {
                "bool"
            }
        }
        DataType::Utf8 | DataType::LargeUtf8 => {
            if is_nullable {
                "string"
            } else {
                "str"
            }
        }
        DataType::UInt8 => "UInt8",
        DataType::UInt16 => "UInt16",
        DataType::UInt32 => "UInt32",
        DataType::UInt64 => "UInt64",
        DataType::Int8 => "Int8",
        DataType::Int16 => "Int16",
        DataType::Int32 => "Int32",
        DataType::Int64 => "Int64",
        DataType::Float16 => "Float16",
        DataType::Float32 => "Float32",
        DataType::Float64 => "Float64",
        other => return other.to_string(),
    };
    // The types that know missing values are written with capitals.
    if is_nullable {
        name.to_owned()
    } else {
        name.to_lowercase()
    }
}

/// The beginning of a text that is too long for a line.
fn shortened(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width - 3).chain("...".chars()).collect(),
        false => text.to_owned(),
    }
}

/// A number for people: whole ones as they are, others with six digits.
fn short(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number}");
    }
    let rounded = format!("{number:.5e}").parse().unwrap_or(number);
    format!("{rounded:?}")
}
