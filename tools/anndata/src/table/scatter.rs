//! Puts the rows of a table into another order, by way of a temporary file.
//!
//! The new rows are cut into ranges of which one fits into memory. The table is read once, in its own order; of each batch
//! the rows of each range are appended to the file, each with its place. A range is read back whole, put into order and
//! kept while it is read from. A table that fits into memory altogether is one range, and needs no file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, UInt32Array, make_array};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::workspace::Workspace;

/// Of the memory limit, the part for a range.
const RANGE_SHARE: u64 = 32;

/// A range is there as it was read, as one, and in order.
const COPIES: u64 = 3;

/// Rows that are read at a time.
pub(super) const BATCH_ROWS: u64 = 1 << 16;

/// Text of one cell of a string column, assumed where no more is known.
const TEXT_BYTES: u64 = 48;

/// What can go wrong with the file.
#[derive(Debug)]
pub enum ScatterError {
    /// The file cannot be written or read.
    Io(io::Error),
    /// A table cannot be made.
    Arrow(ArrowError),
}

impl From<io::Error> for ScatterError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ArrowError> for ScatterError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::Io(error),
            error => Self::Arrow(error),
        }
    }
}

/// Takes the rows of a table in their order, and gives them in another one.
#[derive(Debug)]
pub struct Scatter {
    schema: SchemaRef,
    /// The fields as they are kept: codes instead of categories, and the place in front.
    kept: SchemaRef,
    n_rows: u64,
    workspace: Workspace,
    /// Rows of a range; known once the first batch is.
    range_rows: u64,
    /// Of each categorical column its categories.
    categories: Vec<Option<ArrayRef>>,
    ranges: Vec<Pieces>,
    file: Option<File>,
    end_bytes: u64,
    /// The range that was read last, in order.
    sorted: Mutex<Option<(usize, RecordBatch)>>,
}

/// The rows of a range, in the order in which they came.
#[derive(Debug, Default)]
struct Pieces {
    held: Vec<RecordBatch>,
    in_file: Vec<Range<u64>>,
}

impl Scatter {
    /// For a table of these columns with `n_rows` rows.
    pub fn new(schema: &SchemaRef, n_rows: u64, workspace: &Workspace) -> Self {
        let place = Field::new("place", DataType::UInt32, false);
        let plain = |field: &Arc<Field>| match field.data_type() {
            DataType::Dictionary(key, _) => Field::new(field.name(), (**key).clone(), true),
            other => Field::new(field.name(), other.clone(), true),
        };
        let fields = std::iter::once(place).chain(schema.fields().iter().map(plain));
        Self {
            kept: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            schema: Arc::clone(schema),
            n_rows,
            workspace: workspace.clone(),
            range_rows: 0,
            categories: Vec::new(),
            ranges: Vec::new(),
            file: None,
            end_bytes: 0,
            sorted: Mutex::new(None),
        }
    }

    /// Memory for it, estimated before the first row is known.
    pub fn working_bytes(schema: &Schema, n_rows: u64, memory_bytes: u64) -> u64 {
        let fields = schema.fields().iter();
        let row_bytes: u64 = 4 + fields.map(|field| width_bytes(field.data_type())).sum::<u64>();
        COPIES * (row_bytes * n_rows).min(memory_bytes / RANGE_SHARE + row_bytes * BATCH_ROWS)
    }

    /// Cuts the rows into ranges, by what the first ones take.
    fn begin(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let columns = batch.columns().iter();
        let measured = |column: &ArrayRef| match column.as_any_dictionary_opt() {
            Some(codes) => codes.keys().get_buffer_memory_size() as u64,
            None => column.to_data().get_slice_memory_size().unwrap_or(0) as u64,
        };
        let row_bytes = columns.map(measured).sum::<u64>() / (batch.num_rows() as u64).max(1) + 8;
        let budget_bytes = self.workspace.memory_bytes / RANGE_SHARE;
        self.range_rows = (budget_bytes / row_bytes)
            .clamp(1 << 10, 1 << 31)
            .min(self.n_rows.max(1));
        let n_ranges = self.n_rows.div_ceil(self.range_rows).max(1);
        self.ranges.resize_with(n_ranges as usize, Pieces::default);
        if n_ranges > 1 {
            // Without a name: it is gone with the process, however that ends.
            self.file = Some(tempfile::tempfile_in(&self.workspace.directory)?);
        }
        let categories = |column: &ArrayRef| {
            let codes = column.as_any_dictionary_opt()?;
            Some(Arc::clone(codes.values()))
        };
        self.categories = batch.columns().iter().map(categories).collect();
        Ok(())
    }

    /// Takes the next rows; `places` names for each of them the row that it becomes.
    pub fn push(&mut self, batch: &RecordBatch, places: &[u32]) -> std::result::Result<(), ScatterError> {
        assert_eq!(batch.num_rows(), places.len(), "a place for each row");
        if self.ranges.is_empty() {
            self.begin(batch)?;
        }
        let mut columns = vec![Arc::new(UInt32Array::from(places.to_vec())) as ArrayRef];
        columns.extend(
            batch
                .columns()
                .iter()
                .map(|column| match column.as_any_dictionary_opt() {
                    Some(codes) => make_array(codes.keys().to_data()),
                    None => Arc::clone(column),
                }),
        );
        let plain = RecordBatch::try_new(Arc::clone(&self.kept), columns)?;
        let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); self.ranges.len()];
        for (row, &place) in (0..).zip(places) {
            rows_of[(u64::from(place) / self.range_rows) as usize].push(row);
        }
        for (range, rows) in rows_of.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let piece = arrow_select::take::take_record_batch(&plain, &UInt32Array::from(rows))?;
            let Some(file) = &self.file else {
                self.ranges[range].held.push(piece);
                continue;
            };
            let mut writer = StreamWriter::try_new(Vec::new(), &self.kept)?;
            writer.write(&piece)?;
            let bytes = writer.into_inner()?;
            file.write_all_at(&bytes, self.end_bytes)?;
            let start = self.end_bytes;
            self.end_bytes += bytes.len() as u64;
            self.ranges[range].in_file.push(start..self.end_bytes);
        }
        Ok(())
    }

    /// The rows of a range, in order.
    fn sort(&self, range: usize) -> std::result::Result<RecordBatch, ScatterError> {
        let pieces = &self.ranges[range];
        let mut batches = pieces.held.clone();
        for place in &pieces.in_file {
            let Some(file) = &self.file else { continue };
            let mut bytes = vec![0; (place.end - place.start) as usize];
            file.read_exact_at(&mut bytes, place.start)?;
            for batch in StreamReader::try_new(bytes.as_slice(), None)? {
                batches.push(batch?);
            }
        }
        let all = arrow_select::concat::concat_batches(&self.kept, &batches)?;
        drop(batches);
        let first = range as u64 * self.range_rows;
        let mut row_of = vec![0; all.num_rows()];
        let places = all.column(0).as_primitive::<UInt32Type>().values();
        for (row, &place) in (0..).zip(places) {
            let at = u64::from(place).checked_sub(first);
            let slot = at.and_then(|at| row_of.get_mut(at as usize));
            *slot.ok_or_else(|| ArrowError::ComputeError("rows are missing".to_owned()))? = row;
        }
        Ok(arrow_select::take::take_record_batch(
            &all,
            &UInt32Array::from(row_of),
        )?)
    }

    /// Rows `rows` of these columns, in the new order, once all have come.
    pub fn read(
        &self,
        rows: Range<u64>,
        columns: &[usize],
    ) -> std::result::Result<Vec<ArrayRef>, ScatterError> {
        let mut pieces: Vec<Vec<ArrayRef>> = columns.iter().map(|_| Vec::new()).collect();
        let mut at = rows.start;
        while at < rows.end {
            let range = (at / self.range_rows) as usize;
            let first = range as u64 * self.range_rows;
            let end = rows.end.min(first + self.range_rows);
            let lock = || self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = lock().take().filter(|(known, _)| *known == range);
            let sorted = match kept {
                Some((_, sorted)) => sorted,
                None => self.sort(range)?,
            };
            for (pieces, &column) in pieces.iter_mut().zip(columns) {
                let plain = sorted
                    .column(column + 1)
                    .slice((at - first) as usize, (end - at) as usize);
                pieces.push(self.restore(column, &plain)?);
            }
            at = end;
            // After the last row no thread reads on, and others need the memory.
            if at < self.n_rows {
                *lock() = Some((range, sorted));
            }
        }
        let join = |(pieces, &column): (Vec<ArrayRef>, &usize)| match pieces.as_slice() {
            [] => self.restore(
                column,
                &arrow_array::new_empty_array(self.kept.field(column + 1).data_type()),
            ),
            [one] => Ok(Arc::clone(one)),
            pieces => {
                // Pieces of a categorical column share their categories, which joining them leaves as they are.
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                Ok(arrow_select::concat::concat(&pieces)?)
            }
        };
        pieces.into_iter().zip(columns).map(join).collect()
    }

    /// A column as it was: with its categories, if it had such.
    fn restore(&self, column: usize, plain: &ArrayRef) -> std::result::Result<ArrayRef, ScatterError> {
        let DataType::Dictionary(key, values) = self.schema.field(column).data_type() else {
            return Ok(Arc::clone(plain));
        };
        let categories = match self.categories.get(column).cloned().flatten() {
            Some(categories) => categories,
            // No row ever came.
            None => arrow_array::new_empty_array(values),
        };
        macro_rules! coded {
            ($type:ty) => {{
                let codes = plain.as_primitive::<$type>().clone();
                Arc::new(DictionaryArray::try_new(codes, categories)?) as ArrayRef
            }};
        }
        Ok(match **key {
            DataType::Int8 => coded!(Int8Type),
            DataType::Int16 => coded!(Int16Type),
            DataType::Int32 => coded!(Int32Type),
            DataType::Int64 => coded!(Int64Type),
            DataType::UInt8 => coded!(UInt8Type),
            DataType::UInt16 => coded!(UInt16Type),
            DataType::UInt32 => coded!(UInt32Type),
            _ => coded!(UInt64Type),
        })
    }
}

fn width_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => TEXT_BYTES,
        DataType::Dictionary(key, _) => width_bytes(key),
        other => other.primitive_width().unwrap_or(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float32Array, Int16Array, StringArray};

    use super::*;

    /// The same rows whether they pass through a file or not.
    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let n = 20_000usize;
        let labels: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let codes: Int16Array = (0..n as i16).map(|i| (i % 7 != 0).then_some(i % 3)).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "name",
                Arc::new((0..n).map(|i| Some(format!("cell {i}"))).collect::<StringArray>()),
            ),
            (
                "kind",
                Arc::new(DictionaryArray::<Int16Type>::try_new(codes, labels).unwrap()),
            ),
            (
                "score",
                Arc::new(
                    (0..n)
                        .map(|i| (i % 5 != 0).then_some(i as f32))
                        .collect::<Float32Array>(),
                ),
            ),
        ];
        let table =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        // 7919 and 20,000 have no common divisor, and it is not its own inverse.
        let places: Vec<u32> = (0..n as u32).map(|row| row * 7_919 % n as u32).collect();
        let mut row_of = vec![0; n];
        (0..)
            .zip(&places)
            .for_each(|(row, &place)| row_of[place as usize] = row);
        let expected = arrow_select::take::take_record_batch(&table, &UInt32Array::from(row_of)).unwrap();
        for (memory_bytes, n_ranges) in [(1 << 30, 1), (1 << 20, 20)] {
            let workspace = Workspace {
                memory_bytes,
                ..Workspace::default()
            };
            let mut scatter = Scatter::new(&table.schema(), n as u64, &workspace);
            for start in (0..n).step_by(3_000) {
                let end = n.min(start + 3_000);
                scatter
                    .push(&table.slice(start, end - start), &places[start..end])
                    .unwrap();
            }
            assert_eq!(scatter.ranges.len(), n_ranges);
            assert_eq!(scatter.file.is_some(), n_ranges > 1);
            for range in [0..n, 0..1, 999..1_030, 19_999..n, 5..5, 500..12_000] {
                let rows = range.start as u64..range.end as u64;
                let found = scatter.read(rows, &[2, 0, 1]).unwrap();
                let expected = expected.slice(range.start, range.len());
                for (found, column) in found.iter().zip([2, 0, 1]) {
                    assert_eq!(found, expected.column(column), "{range:?}");
                }
            }
        }
    }
}
