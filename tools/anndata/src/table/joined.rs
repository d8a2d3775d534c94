//! The rows of several tables, one table after the other.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::{DataType, Field};

use super::source::{TableRows, TableSource};
use crate::error::{ReadError, Result};
use crate::forms;
use crate::join::JoinError;
use crate::join::names::texts_of;
use crate::join::unify::{CastError, cast, coded, recoded};
use crate::open::OpenOptions;

/// The obs of one input.
#[derive(Debug)]
pub(crate) struct JoinedInput {
    pub(crate) path: PathBuf,
    pub(crate) n_rows: u64,
}

/// A column that some inputs have.
#[derive(Debug)]
pub(crate) struct JoinedColumn {
    pub(crate) field: Field,
    pub(crate) kind: JoinedKind,
    /// Of each input, which field of its table it is; `None` where that has no such column.
    pub(crate) places: Vec<Option<usize>>,
}

/// What a joined column holds.
#[derive(Debug)]
pub(crate) enum JoinedKind {
    /// Values of the field's type.
    Plain,
    /// Categories; for each input, what its codes become.
    Categorical { labels: ArrayRef, maps: Vec<Arc<[u32]>> },
    /// The input: each row of input `i` has label `i`.
    Label { labels: ArrayRef },
    /// Names as texts, to which this text of their input is appended.
    Suffixed { suffixes: Vec<String> },
}

impl JoinedColumn {
    /// The column for rows of input `part`, of which `found` is its own column.
    pub(crate) fn bring(
        &self,
        part: usize,
        found: Option<&ArrayRef>,
        n_rows: usize,
    ) -> std::result::Result<ArrayRef, CastError> {
        match (&self.kind, found) {
            (JoinedKind::Label { labels }, _) => {
                coded(std::iter::repeat_n(Some(part as u32), n_rows), labels)
            }
            (_, None) => self.missing(n_rows),
            (JoinedKind::Plain, Some(found)) => cast(found, self.field.data_type()),
            (JoinedKind::Categorical { labels, maps }, Some(found)) => recoded(found, &maps[part], labels),
            (JoinedKind::Suffixed { suffixes }, Some(found)) => texts_of(found, &suffixes[part]),
        }
    }
}

impl JoinedColumn {
    /// Rows without a value.
    pub(crate) fn missing(&self, n_rows: usize) -> std::result::Result<ArrayRef, CastError> {
        match &self.kind {
            JoinedKind::Categorical { labels, .. } | JoinedKind::Label { labels } => {
                coded(std::iter::repeat_n(None, n_rows), labels)
            }
            _ => Ok(new_null_array(self.field.data_type(), n_rows)),
        }
    }
}

/// The tables, of which one is open at a time.
#[derive(Debug)]
struct Joined {
    parts: Vec<JoinedInput>,
    /// What is read of each.
    options: OpenOptions,
    /// First row of each part, then the number of rows.
    starts: Vec<u64>,
    columns: Vec<JoinedColumn>,
    open: Mutex<Option<(usize, TableSource)>>,
}

/// The obs of all parts as one table, in their order.
pub(crate) fn joined(
    parts: Vec<JoinedInput>,
    options: OpenOptions,
    columns: Vec<JoinedColumn>,
    warnings: Vec<String>,
) -> TableSource {
    let fields = columns.iter().map(|column| column.field.clone()).collect();
    let mut starts = vec![0];
    let mut n_rows = 0;
    for part in &parts {
        n_rows += part.n_rows;
        starts.push(n_rows);
    }
    let path = parts.first().map(|part| part.path.clone()).unwrap_or_default();
    let rows = Joined {
        parts,
        options,
        starts,
        columns,
        open: Mutex::new(None),
    };
    TableSource::new((&path, "obs"), n_rows, fields, rows, warnings)
}

impl Joined {
    fn part(&self, number: usize) -> Result<TableSource> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((open, table)) = &*lock()
            && *open == number
        {
            return Ok(table.clone());
        }
        // Not under the lock: that reads on a pool, whose thread might meanwhile take up another read.
        *lock() = None;
        let part = &self.parts[number];
        let table = forms::open(&part.path, &self.options)?.obs()?;
        let is_known = |column: &JoinedColumn| {
            let place = column.places[number];
            place.is_none_or(|place| place < table.schema().fields().len())
        };
        if table.n_rows() != part.n_rows || !self.columns.iter().all(is_known) {
            return Err(self.changed(number));
        }
        *lock() = Some((number, table.clone()));
        Ok(table)
    }

    fn changed(&self, part: usize) -> ReadError {
        let (file, object) = (self.parts[part].path.clone(), "obs".to_owned());
        JoinError::Changed { file, object }.into()
    }

    /// Rows of one part.
    fn read_part(&self, number: usize, rows: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let n_rows = (rows.end - rows.start) as usize;
        let mut wanted: Vec<usize> = columns
            .iter()
            .filter_map(|&column| self.columns[column].places[number])
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let batch = match wanted.is_empty() {
            true => None,
            false => Some(self.part(number)?.project(&wanted).read(rows.clone())?),
        };
        let bring = |column: &usize| {
            let column = &self.columns[*column];
            let found = column.places[number]
                .and_then(|place| wanted.binary_search(&place).ok())
                .zip(batch.as_ref())
                .map(|(place, batch)| batch.column(place));
            if let (JoinedKind::Categorical { maps, .. }, Some(found)) = (&column.kind, found) {
                let categories = found.as_any_dictionary_opt().map(|codes| codes.values().len());
                if categories != Some(maps[number].len()) {
                    return Err(self.changed(number));
                }
            }
            column
                .bring(number, found, n_rows)
                .map_err(|error| self.blame(error, number, rows.start, &column.field))
        };
        columns.iter().map(bring).collect()
    }

    fn blame(&self, error: CastError, part: usize, first_row: u64, field: &Field) -> ReadError {
        blame(error, &self.parts[part].path, "obs", first_row, field)
    }
}

/// Names the place of a value that does not fit.
pub(crate) fn blame(
    error: CastError,
    path: &std::path::Path,
    table: &str,
    first_row: u64,
    field: &Field,
) -> ReadError {
    let (file, object) = (path.to_owned(), format!("{table}/{}", field.name()));
    match error {
        CastError::Inexact { row, value } => {
            let wanted = match field.data_type() {
                DataType::Dictionary(_, values) => values.to_string(),
                other => other.to_string(),
            };
            JoinError::Inexact {
                file,
                object,
                row: first_row + row as u64,
                value,
                wanted,
            }
            .into()
        }
        CastError::Arrow(error) => ReadError::Damaged {
            file,
            object,
            detail: error.to_string(),
        },
    }
}

impl TableRows for Joined {
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut part = self.starts.partition_point(|&start| start <= range.start) - 1;
        // An empty range has its columns too, and be it those of the last part.
        part = part.min(self.parts.len() - 1);
        let mut pieces: Vec<Vec<ArrayRef>> = columns.iter().map(|_| Vec::new()).collect();
        let mut at = range.start;
        loop {
            let (start, end) = (self.starts[part], self.starts[part + 1].min(range.end));
            if at < end || at >= range.end {
                let read = self.read_part(part, at - start..end.max(at) - start, columns)?;
                pieces
                    .iter_mut()
                    .zip(read)
                    .for_each(|(all, piece)| all.push(piece));
                at = end.max(at);
            }
            if at >= range.end {
                break;
            }
            part += 1;
        }
        let join = |(pieces, &column): (Vec<ArrayRef>, &usize)| match pieces.as_slice() {
            [one] => Ok(Arc::clone(one)),
            pieces => {
                // Pieces of a categorical column share their categories, which joining them leaves as they are.
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                arrow_select::concat::concat(&pieces).map_err(|error| ReadError::Damaged {
                    file: self.parts[part].path.clone(),
                    object: format!("obs/{}", self.columns[column].field.name()),
                    detail: error.to_string(),
                })
            }
        };
        pieces.into_iter().zip(columns).map(join).collect()
    }

    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        let maps = self.columns.iter().map(|column| match &column.kind {
            JoinedKind::Categorical { labels, maps } => {
                let codes: usize = maps.iter().map(|map| 4 * map.len()).sum();
                (codes + labels.get_array_memory_size()) as u64
            }
            _ => 0,
        });
        // One table is open, and the pieces of a window are put together.
        maps.sum::<u64>() + (4 << 20)
    }
}
