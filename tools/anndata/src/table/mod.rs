//! The data frames of an AnnData file, `obs` and `var`, as Arrow record batches.
//!
//! The first field is the index. What Arrow does not say by itself is kept as metadata of the fields, so that an export
//! can restore the frame as it was:
//!
//! | key | value |
//! |---|---|
//! | `cellring.role` | `index`, on the index |
//! | `anndata.index_name` | on the index: its name in the file (the field is called otherwise if a column has that name) |
//! | `anndata.encoding` | encoding-type of the column: `array`, `string-array`, `categorical`, `nullable-integer`, ... |
//! | `anndata.ordered` | `true` or `false`, on categoricals |
//! | `anndata.na_value` | the attribute na-value of a nullable string column, where it has one |
//! | `anndata.categories_encoding`, `anndata.categories_na_value` | the same of the categories of a categorical, where they are nullable |

mod column;
mod joined;
mod leaf;
mod picked;
mod repair;
mod scatter;

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use rayon::prelude::*;

use super::container::{Class, Kind, SourceFile};
use super::error::{ReadError, Result};
use super::matrix::Workspace;
use super::rows::RowSet;
use column::{Column, Opened};
use picked::Picked;
use scatter::Reordered;

pub use column::ORDERED;
pub(super) use column::{CATEGORIES_ENCODING, CATEGORIES_NA_VALUE, ENCODING, NA_VALUE};
pub use scatter::{Scatter, ScatterError};

pub(super) use joined::{JoinedColumn, JoinedPart, Kind as JoinedKind, blame, joined};

/// Key of the metadata that marks the index.
pub(super) const ROLE: &str = "cellring.role";
pub(super) const INDEX_NAME: &str = "anndata.index_name";

/// Where the rows of a table come from.
trait TableRows: Debug + Send + Sync {
    /// Rows `range`, which exist, of these columns.
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>>;
    /// Memory besides that of what is read.
    fn working_bytes(&self) -> u64 {
        0
    }
}

/// The columns of one frame.
#[derive(Debug)]
struct Frame(Vec<Column>);

impl TableRows for Frame {
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        columns
            .par_iter()
            .map(|&column| self.0[column].read(range.clone()))
            .collect()
    }
}

/// A data frame that can be read in windows of rows.
#[derive(Clone, Debug)]
pub struct TableSource {
    file: PathBuf,
    group: String,
    n_rows: u64,
    schema: SchemaRef,
    rows: Arc<dyn TableRows>,
    /// Which columns of `rows` the fields are.
    columns: Vec<usize>,
    warnings: Vec<String>,
}

impl TableSource {
    fn new(
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

    /// The rows of a set.
    ///
    /// # Panics
    /// Where the set is not one of as many rows.
    #[must_use]
    pub fn pick(self, rows: &RowSet) -> Self {
        assert_eq!(rows.n_rows(), self.n_rows, "rows of the set");
        let picked = Picked {
            inner: self.clone(),
            rows: rows.clone(),
        };
        Self {
            n_rows: rows.len(),
            rows: Arc::new(picked),
            ..self
        }
    }

    /// The rows in another order: `order` names for each new row the row that it was. They are put there by way of a
    /// temporary file in the workspace, where they do not fit into memory, when they are first read.
    ///
    /// # Panics
    /// If `order` is not as long as there are rows.
    #[must_use]
    pub fn reordered(self, order: &[u32], workspace: &Workspace) -> Self {
        assert_eq!(order.len() as u64, self.n_rows, "rows of the order");
        let mut place_of_row = vec![0; order.len()];
        for (place, &row) in (0..).zip(order) {
            place_of_row[row as usize] = place;
        }
        let reordered = Reordered {
            inner: self.clone(),
            place_of_row,
            workspace: workspace.clone(),
            scattered: OnceLock::new(),
            scattering: Mutex::new(()),
        };
        Self {
            columns: (0..self.columns.len()).collect(),
            rows: Arc::new(reordered),
            ..self
        }
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

    /// Memory that reading needs besides what is read.
    pub fn working_bytes(&self) -> u64 {
        self.rows.working_bytes()
    }

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

    /// One sentence for each column that was skipped, because its encoding is not known.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The table with one more sentence among its warnings.
    #[must_use]
    pub(super) fn warn(mut self, sentence: String) -> Self {
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

    fn damaged(&self, error: &ArrowError) -> ReadError {
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

/// The frame of a file as it is found: what its columns are called, and how each is opened.
struct Listing {
    index_name: String,
    index: Opened,
    columns: Vec<(String, Opened)>,
    warnings: Vec<String>,
}

/// Opens the data frame at `group`.
pub(super) fn open(file: &Arc<SourceFile>, group: &str) -> Result<TableSource> {
    let legacy_raw = group.replace('/', ".");
    let (group, kind) = match (file.kind(group)?, file.kind(&legacy_raw)?) {
        (Some(kind), _) => (group, kind),
        // As AnnData before 0.7 wrote raw/var.
        (None, Some(kind)) => (legacy_raw.as_str(), kind),
        (None, None) => {
            return Err(ReadError::Missing {
                file: file.path().to_owned(),
                object: group.to_owned(),
                expected: "a data frame",
            });
        }
    };
    let listing = match kind {
        Kind::Group => list_group(file, group)?,
        Kind::Dataset => list_records(file, group)?,
    };
    assemble(file, group, listing)
}

/// A dataset that is to be a column.
pub(super) struct Member {
    /// Name of the column.
    pub(super) name: String,
    /// Where the dataset is.
    pub(super) path: String,
    /// Whether its numbers stand for booleans.
    pub(super) is_flag: bool,
}

/// Opens a table of these members of a file; the first is the index. All must be there.
pub(super) fn of_members(
    file: &Arc<SourceFile>,
    group: &str,
    members: Vec<Member>,
    warnings: Vec<String>,
) -> Result<TableSource> {
    let mut opened = Vec::with_capacity(members.len());
    let mut n_rows = None;
    for member in members {
        let mut column = column::open(file, &member.path, n_rows)?;
        if member.is_flag {
            column = column::as_flags(column);
        }
        if let Opened::Column(column, _) = &column {
            n_rows = Some(column.len());
        }
        opened.push((member.name, column));
    }
    let (index_name, index) = opened.remove(0);
    let listing = Listing {
        index_name,
        index,
        columns: opened,
        warnings,
    };
    assemble(file, group, listing)
}

/// A table of columns that are in memory; the first is the index.
pub(super) fn held(
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
pub(super) fn of_strings(
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

/// A data frame of AnnData 0.7 and later: a group with a member for each column.
fn list_group(file: &Arc<SourceFile>, group: &str) -> Result<Listing> {
    let refuse = |form: String| {
        Err(ReadError::UnsupportedTable {
            file: file.path().to_owned(),
            object: group.to_owned(),
            form,
        })
    };
    let encoding = file.text_attribute(group, Kind::Group, "encoding-type")?;
    let version = file.text_attribute(group, Kind::Group, "encoding-version")?;
    match (encoding.as_deref(), version.as_deref()) {
        (Some("dataframe"), Some("0.2.0" | "0.1.0")) => {}
        (None, _) => return refuse("a group without encoding-type".to_owned()),
        (Some(encoding), version) => {
            let version = version.unwrap_or("missing");
            return refuse(format!("of encoding-type {encoding}, encoding-version {version}"));
        }
    }
    let Some(index_name) = file.text_attribute(group, Kind::Group, "_index")? else {
        let detail = "it has no attribute _index that names its index".to_owned();
        return Err(file.invalid(group, detail));
    };
    let Some(order) = file.texts_attribute(group, Kind::Group, "column-order")? else {
        let detail = "it has no attribute column-order that lists its columns".to_owned();
        return Err(file.invalid(group, detail));
    };
    let index = column::open(file, &format!("{group}/{index_name}"), None)?;
    let n_rows = match &index {
        Opened::Column(column, _) => Some(column.len()),
        Opened::Unknown(_) => None,
    };
    let mut columns = Vec::new();
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    for name in order {
        let path = format!("{group}/{name}");
        if !seen.insert(name.clone()) {
            warnings.push(format!(
                "{path} is listed twice in column-order; the second one is skipped"
            ));
            continue;
        }
        let column = column::open(file, &path, n_rows)?;
        columns.push((name, column));
    }
    Ok(Listing {
        index_name,
        index,
        columns,
        warnings,
    })
}

/// A data frame of AnnData before 0.7: records, whose first member is the index.
fn list_records(file: &Arc<SourceFile>, table: &str) -> Result<Listing> {
    let description = file.describe(table)?;
    let Class::Compound(members) = &description.element.class else {
        return Err(ReadError::UnsupportedTable {
            file: file.path().to_owned(),
            object: table.to_owned(),
            form: format!("a dataset of {}", description.element.name()),
        });
    };
    let mut opened = Vec::with_capacity(members.len());
    for member in members {
        opened.push((member.name.clone(), column::open_record(file, table, member)?));
    }
    if opened.is_empty() {
        return Err(file.invalid(table, "its records have no members".to_owned()));
    }
    let (index_name, index) = opened.remove(0);
    Ok(Listing {
        index_name,
        index,
        columns: opened,
        warnings: Vec::new(),
    })
}

/// Puts a frame together: the index first, then the columns that could be opened.
fn assemble(file: &Arc<SourceFile>, group: &str, listing: Listing) -> Result<TableSource> {
    let index_name = listing.index_name;
    let mut warnings = listing.warnings;
    let (index, index_field) = match listing.index {
        Opened::Column(column, field) => (column, field),
        Opened::Unknown(why) => return Err(file.invalid(group, format!("its index {index_name} {why}"))),
    };
    let n_rows = index.len();
    let columns_of_listing = without_reserved_name(group, &index_name, listing.columns, &mut warnings);
    let mut field_name = index_name.clone();
    // AnnData reserves `_index`, so that this is nearly always enough.
    while columns_of_listing.iter().any(|(name, _)| *name == field_name) {
        field_name = if field_name == index_name && index_name != "_index" {
            "_index".to_owned()
        } else {
            format!("_{field_name}")
        };
    }
    let mut metadata = index_field.metadata().clone();
    let note = metadata.remove(column::NOTE);
    warnings.extend(note.map(|note| format!("{group}/{index_name} {note}")));
    metadata.insert(ROLE.to_owned(), "index".to_owned());
    metadata.insert(INDEX_NAME.to_owned(), index_name);
    let mut fields: Vec<Field> = vec![index_field.with_name(field_name).with_metadata(metadata)];
    let mut columns = vec![*index];
    for (name, opened) in columns_of_listing {
        match opened {
            Opened::Column(column, field) => {
                let mut metadata = field.metadata().clone();
                let note = metadata.remove(column::NOTE);
                warnings.extend(note.map(|note| format!("{group}/{name} {note}")));
                fields.push(field.with_name(name).with_metadata(metadata));
                columns.push(*column);
            }
            Opened::Unknown(why) => warnings.push(format!("{group}/{name} {why}; the column is skipped")),
        }
    }
    let (rows, place) = (Frame(columns), (file.path(), group));
    Ok(TableSource::new(place, n_rows, fields, rows, warnings))
}

/// The columns, none of which is called `_index`: anndata reserves that name for indexes and refuses to write such a column.
fn without_reserved_name(
    group: &str,
    index_name: &str,
    mut columns: Vec<(String, Opened)>,
    warnings: &mut Vec<String>,
) -> Vec<(String, Opened)> {
    const RESERVED: &str = "_index";
    if index_name == RESERVED {
        columns.retain(|(name, _)| {
            let is_index = name == RESERVED;
            if is_index {
                warnings.push(format!(
                    "{group}/{RESERVED} is the index but also listed in column-order; it is kept as the index only"
                ));
            }
            !is_index
        });
        return columns;
    }
    let candidates = std::iter::once("index".to_owned()).chain((1..).map(|number| format!("index_{number}")));
    let is_free = |wanted: &String| wanted != index_name && columns.iter().all(|(name, _)| name != wanted);
    let free = candidates.into_iter().find(is_free).unwrap_or_default();
    if let Some((name, _)) = columns.iter_mut().find(|(name, _)| name == RESERVED) {
        warnings.push(format!(
            "{group}/{RESERVED} has a name that anndata reserves; the column is renamed to {free}"
        ));
        *name = free;
    }
    columns
}
