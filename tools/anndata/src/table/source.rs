//! Tables that are read in windows of rows.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};

use super::scatter::Scatter;
use crate::error::{ReadError, Result};

/// Where the rows of a table come from.
pub(super) trait TableRows: Debug + Send + Sync {
    /// Rows `range`, which exist, of these columns.
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>>;
    /// Memory besides that of what is read, for a table that was opened in a workspace of `memory_bytes`.
    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        0
    }
}

/// A data frame that can be read in windows of rows.
#[derive(Clone, Debug)]
pub struct TableSource {
    pub(super) file: PathBuf,
    pub(super) group: String,
    pub(super) n_rows: u64,
    pub(super) schema: SchemaRef,
    pub(super) rows: Arc<dyn TableRows>,
    /// Which columns of `rows` the fields are.
    pub(super) columns: Vec<usize>,
    pub(super) warnings: Vec<String>,
}

impl TableSource {
    pub(super) fn new(
        (file, group): (&Path, &str),
        n_rows: u64,
        fields: Vec<Field>,
        rows: impl TableRows + 'static,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            group: group.to_owned(),
            n_rows,
            columns: (0..fields.len()).collect(),
            schema: Arc::new(Schema::new(fields)),
            rows: Arc::new(rows),
            warnings,
        }
    }

    /// Schema of every batch: the index, then the columns in their order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The first `n_rows` rows; all where there are fewer.
    #[must_use]
    pub fn head(mut self, n_rows: u64) -> Self {
        self.n_rows = self.n_rows.min(n_rows);
        self
    }

    /// The index and the columns of these names, in the table's order.
    ///
    /// # Errors
    /// The names that are no columns.
    pub fn with_columns(self, names: &[String]) -> std::result::Result<Self, Vec<String>> {
        let fields = self.schema.fields();
        let is_column = |name: &&String| fields.iter().skip(1).any(|field| field.name() == *name);
        let absent: Vec<String> = names.iter().filter(|name| !is_column(name)).cloned().collect();
        if !absent.is_empty() {
            return Err(absent);
        }
        let is_kept = |&place: &usize| place == 0 || names.contains(fields[place].name());
        let kept: Vec<usize> = (0..fields.len()).filter(is_kept).collect();
        Ok(self.project(&kept))
    }

    /// Names of the columns, for a message.
    pub fn column_names(&self) -> String {
        let fields = self.schema.fields().iter().skip(1);
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    }

    /// These of the fields.
    pub fn project(&self, fields: &[usize]) -> Self {
        let kept: Vec<_> = fields
            .iter()
            .map(|&field| Arc::clone(&self.schema.fields()[field]))
            .collect();
        Self {
            schema: Arc::new(Schema::new(kept)),
            columns: fields.iter().map(|&field| self.columns[field]).collect(),
            ..self.clone()
        }
    }

    /// Memory that reading needs besides what is read, if the table was opened in a workspace of `memory_bytes`.
    pub fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.rows.working_bytes(memory_bytes)
    }

    /// The same, had the rows been [`reordered`](Self::reordered) in a workspace of `memory_bytes`.
    pub fn working_bytes_reordered(&self, memory_bytes: u64) -> u64 {
        let scatter = Scatter::working_bytes(&self.schema, self.n_rows, memory_bytes);
        self.working_bytes(memory_bytes) + scatter + 4 * self.n_rows
    }

    /// One sentence for each column that was skipped, because its encoding is not known.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The table with one more sentence among its warnings.
    #[must_use]
    pub(crate) fn warn(mut self, sentence: String) -> Self {
        self.warnings.push(sentence);
        self
    }

    /// Reads rows `range`. The dictionaries of categorical columns are the same in every batch.
    ///
    /// # Errors
    /// The rows do not exist, a column is damaged, or the text of one column exceeds 2 GiB.
    pub fn read(&self, range: Range<u64>) -> Result<RecordBatch> {
        if range.start > range.end || range.end > self.n_rows {
            return Err(ReadError::RowRange {
                file: self.file.clone(),
                object: self.group.clone(),
                start: range.start,
                end: range.end,
                n_rows: self.n_rows,
            });
        }
        let arrays = self.rows.read(range, &self.columns)?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| self.damaged(&error))
    }

    pub(super) fn damaged(&self, error: &ArrowError) -> ReadError {
        ReadError::Damaged {
            file: self.file.clone(),
            object: self.group.clone(),
            detail: error.to_string(),
        }
    }
}

impl fmt::Display for TableSource {
    /// The table and its file, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.group, self.file.display())
    }
}
