//! Tables whose columns are opened one by one, or are in memory.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, StringArray, UInt32Array};
use arrow_schema::Field;
use rayon::prelude::*;

use super::column::Column;
use super::source::{TableRows, TableSource};
use crate::error::Result;
use crate::metadata::{ENCODING, INDEX_NAME, ROLE};

/// The columns of one frame.
#[derive(Debug)]
pub(super) struct Frame(pub(super) Vec<Column>);

impl TableRows for Frame {
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        columns
            .par_iter()
            .map(|&column| self.0[column].read(range.clone()))
            .collect()
    }
}

impl TableSource {
    /// These rows, in memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn with_rows(self, rows: &[u32]) -> Result<Self> {
        let whole = self.read(0..self.n_rows)?;
        let rows = UInt32Array::from(rows.to_vec());
        let columns = whole
            .columns()
            .iter()
            .map(|column| arrow_select::take::take(column, &rows, None).map(Column::Held))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| self.damaged(&error))?;
        Ok(Self {
            columns: (0..columns.len()).collect(),
            rows: Arc::new(Frame(columns)),
            n_rows: rows.len() as u64,
            ..self
        })
    }
}

/// A table of columns that are in memory; the first is the index.
pub(crate) fn held(
    file: &Path,
    object: &str,
    n_rows: u64,
    columns: Vec<(Field, ArrayRef)>,
    warnings: Vec<String>,
) -> TableSource {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let rows = Frame(arrays.into_iter().map(Column::Held).collect());
    TableSource::new((file, object), n_rows, fields, rows, warnings)
}

/// A table of strings that are in memory; the first column is the index.
pub(crate) fn of_strings(
    file: &Path,
    object: &str,
    columns: Vec<(&str, StringArray)>,
    warnings: Vec<String>,
) -> TableSource {
    let n_rows = columns.first().map_or(0, |(_, strings)| strings.len()) as u64;
    let mut fields = Vec::new();
    for (name, strings) in columns {
        let mut metadata = HashMap::from([(ENCODING.to_owned(), "string-array".to_owned())]);
        if fields.is_empty() {
            metadata.insert(ROLE.to_owned(), "index".to_owned());
            metadata.insert(INDEX_NAME.to_owned(), name.to_owned());
        }
        let field = Field::new(name, strings.data_type().clone(), false).with_metadata(metadata);
        fields.push((field, Arc::new(strings) as ArrayRef));
    }
    held(file, object, n_rows, fields, warnings)
}
