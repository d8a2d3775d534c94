//! Writing obs and var.

use std::fmt;

use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;

use super::check::{TableCheck, names};
use super::column::{ColumnError, ColumnWriter};
use super::error::{ColumnFault, WriteError, WriteErrorKind};
use super::tree::{Attribute, Group, Node};
use super::{AnnDataWriter, MatrixSpec};

/// One of the tables of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The table of observations (cells), one row for each row of the matrix.
    Obs,
    /// The table of variables (genes), one row for each column of the matrix.
    Var,
    /// The table of the genes of `raw/X`.
    RawVar,
}

impl Axis {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Obs => "obs",
            Self::Var => "var",
            Self::RawVar => "raw/var",
        }
    }

    pub(super) fn rows(self, spec: &MatrixSpec) -> (&'static str, u64) {
        match self {
            Self::Obs => ("rows of obs", spec.n_obs),
            Self::Var => ("rows of var", spec.n_vars),
            Self::RawVar => ("rows of raw/var", spec.n_vars),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

impl<'a> TableWriter<'a> {
    pub(super) fn new(
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

/// An empty data frame of these members, of which the first is the index.
pub(super) fn frame(names: &[String]) -> Group {
    let mut group = Group::encoded("dataframe", "0.2.0");
    group.set("_index", Attribute::Text(names[0].clone()));
    group.set(
        "column-order",
        // An empty list becomes an array of floats in numpy, and so in every file that anndata writes.
        if names.len() == 1 {
            Attribute::NoFloats
        } else {
            Attribute::Texts(names[1..].to_vec())
        },
    );
    group
}

/// Puts a column into a data frame whose names were looked at.
pub(super) fn insert(group: &mut Group, name: &str, node: Node) {
    let is_inserted = group.insert(name, node);
    assert!(is_inserted, "{name} was checked");
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
