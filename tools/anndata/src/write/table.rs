//! Writing obs and var.

use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;

use super::axis::Axis;
use super::check::{TableCheck, names};
use super::column::{ColumnError, ColumnWriter};
use super::dataframe::{frame, insert};
use super::error::{ColumnFault, WriteError, WriteErrorKind};
use super::writer::AnnDataWriter;

/// Writes one table, batch by batch; made by [`AnnDataWriter::table`].
///
/// Memory: per column one chunk (128 KiB) and, for strings, 64 KiB of text; dictionaries are held once; 8 bytes for
/// each chunk written. So a table of any number of rows needs memory only for a batch.
pub struct TableWriter<'a> {
    writer: &'a mut AnnDataWriter,
    axis: Axis,
    check: TableCheck,
    names: Vec<String>,
    /// The index and the columns, but that which is the index once more.
    columns: Vec<Option<ColumnWriter>>,
    schema: Schema,
    rows: u64,
}

impl AnnDataWriter {
    /// Begins a table; it is in the file once [`TableWriter::finish`] was called.
    ///
    /// # Errors
    /// If the table was written before, or has a column or name that AnnData cannot hold.
    pub fn table(&mut self, axis: Axis, schema: &Schema) -> Result<TableWriter<'_>, WriteError> {
        TableWriter::new(self, axis, schema)
    }

    /// Writes a whole table.
    ///
    /// # Errors
    /// As [`table`](Self::table), [`TableWriter::push`] and [`TableWriter::finish`].
    pub fn write_table(
        &mut self,
        axis: Axis,
        schema: &Schema,
        batches: impl IntoIterator<Item = RecordBatch>,
    ) -> Result<(), WriteError> {
        let mut table = self.table(axis, schema)?;
        batches.into_iter().try_for_each(|batch| table.push(&batch))?;
        table.finish()
    }
}

impl<'a> TableWriter<'a> {
    fn new(
        writer: &'a mut AnnDataWriter,
        axis: Axis,
        schema: &Schema,
    ) -> Result<TableWriter<'a>, WriteError> {
        let times = writer.tables(axis);
        if times > 0 {
            return Err(writer.error(WriteErrorKind::Table {
                axis,
                times: times + 1,
            }));
        }
        if schema.fields().is_empty() {
            return Err(writer.error(WriteErrorKind::Batch { axis }));
        }
        let of_column = |fault| WriteErrorKind::Column { axis, fault };
        let check = TableCheck::new(schema).map_err(|fault| writer.error(of_column(fault)))?;
        let names = names(schema);
        let mut columns = Vec::with_capacity(names.len());
        for (place, (name, field)) in names.iter().zip(schema.fields()).enumerate() {
            writer.check_name(name)?;
            let column = match check.twin() {
                Some(twin) if place == twin => None,
                _ => Some(ColumnWriter::new(&mut writer.out, field)),
            };
            let column = column
                .transpose()
                .map_err(|problem| writer.error(of_column(ColumnFault::new(name, problem))))?;
            columns.push(column);
        }
        Ok(Self {
            writer,
            axis,
            check,
            names,
            columns,
            schema: schema.clone(),
            rows: 0,
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// If the batch does not have the columns of the table's schema, has more rows than the matrix has room for, or
    /// holds what AnnData cannot; and when the file cannot be written. The writer is of no use afterwards.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let axis = self.axis;
        let alike = batch.num_columns() == self.columns.len()
            && batch
                .columns()
                .iter()
                .zip(self.schema.fields())
                .all(|(a, b)| a.data_type() == b.data_type());
        if !alike {
            return Err(self.writer.error(WriteErrorKind::Batch { axis }));
        }
        let (what, expected) = self.writer.rows_of(axis);
        let found = self.rows + batch.num_rows() as u64;
        if found > expected {
            return Err(self.writer.error(WriteErrorKind::Count {
                what,
                expected,
                found,
            }));
        }
        self.check
            .batch(batch)
            .map_err(|fault| self.writer.error(WriteErrorKind::Column { axis, fault }))?;
        for ((array, column), name) in batch.columns().iter().zip(&mut self.columns).zip(&self.names) {
            if let Some(column) = column {
                column
                    .push(&mut self.writer.out, array)
                    .map_err(|error| column_error(self.writer, axis, name, error))?;
            }
        }
        self.rows = found;
        Ok(())
    }

    /// Completes the table.
    ///
    /// # Errors
    /// If it has fewer rows than the matrix asks for, if two names collide, and when the file cannot be written.
    pub fn finish(self) -> Result<(), WriteError> {
        let Self {
            writer,
            axis,
            names,
            columns,
            rows,
            ..
        } = self;
        let (what, expected) = writer.rows_of(axis);
        if rows != expected {
            return Err(writer.error(WriteErrorKind::Count {
                what,
                expected,
                found: rows,
            }));
        }
        let mut group = frame(&names);
        for (name, column) in names.iter().zip(columns) {
            let Some(column) = column else { continue };
            debug_assert_eq!(column.rows(), rows);
            let node = column
                .finish(&mut writer.out)
                .map_err(|error| column_error(writer, axis, name, error))?;
            insert(&mut group, name, node);
        }
        writer.set_table(axis, group, &names[0]);
        Ok(())
    }
}

fn column_error(writer: &AnnDataWriter, axis: Axis, column: &str, error: ColumnError) -> WriteError {
    writer.error(match error {
        ColumnError::Problem(problem) => WriteErrorKind::Column {
            axis,
            fault: ColumnFault::new(column, problem),
        },
        ColumnError::File(kind) => kind,
    })
}
