//! Writing obs and var.

use std::fmt;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{Field, Schema};

use super::column::{ColumnError, ColumnWriter};
use super::error::{ColumnProblem, WriteError, WriteErrorKind};
use super::hdf5::{Attribute, Group};
use super::{H5adWriter, MatrixSpec};

/// Deepest nesting of a column whose name has slashes.
const MAX_NAME_PARTS: usize = 16;

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

    fn rows(self, spec: &MatrixSpec) -> (&'static str, u64) {
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

/// Writes one table, batch by batch; made by [`H5adWriter::table`].
///
/// Memory: per column one chunk (128 KiB) and, for strings, 64 KiB of text; dictionaries are held once; 8 bytes for
/// each chunk written. So a table of any number of rows needs memory only for a batch.
pub struct TableWriter<'a> {
    writer: &'a mut H5adWriter,
    axis: Axis,
    names: Vec<String>,
    columns: Vec<ColumnWriter>,
    schema: Schema,
    rows: u64,
}

impl<'a> TableWriter<'a> {
    pub(super) fn new(
        writer: &'a mut H5adWriter,
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
        let mut names = Vec::with_capacity(schema.fields().len());
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (position, field) in schema.fields().iter().enumerate() {
            let name = if position == 0 {
                index_name(field)
            } else {
                field.name()
            };
            let column = check_name(name, position == 0)
                .and_then(|()| ColumnWriter::new(field))
                .map_err(|problem| {
                    writer.error(WriteErrorKind::Column {
                        axis,
                        column: name.to_owned(),
                        problem,
                    })
                })?;
            names.push(name.to_owned());
            columns.push(column);
        }
        Ok(Self {
            writer,
            axis,
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
        let (what, expected) = axis.rows(&self.writer.spec);
        let found = self.rows + batch.num_rows() as u64;
        if found > expected {
            return Err(self.writer.error(WriteErrorKind::Count {
                what,
                expected,
                found,
            }));
        }
        for (position, array) in batch.columns().iter().enumerate() {
            let done = if position == 0 && array.null_count() > 0 {
                Err(ColumnProblem::NullIndex.into())
            } else {
                self.columns[position].push(&mut self.writer.out, array)
            };
            done.map_err(|error| column_error(self.writer, axis, &self.names[position], error))?;
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
        let (what, expected) = axis.rows(&writer.spec);
        if rows != expected {
            return Err(writer.error(WriteErrorKind::Count {
                what,
                expected,
                found: rows,
            }));
        }
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
        for (name, column) in names.iter().zip(columns) {
            debug_assert_eq!(column.rows(), rows);
            let node = column
                .finish(&mut writer.out)
                .map_err(|error| column_error(writer, axis, name, error))?;
            if !group.insert(name, node) {
                let (column, problem) = (name.clone(), ColumnProblem::Collision);
                return Err(writer.error(WriteErrorKind::Column {
                    axis,
                    column,
                    problem,
                }));
            }
        }
        writer.set_table(axis, group);
        Ok(())
    }
}

fn column_error(writer: &H5adWriter, axis: Axis, column: &str, error: ColumnError) -> WriteError {
    writer.error(match error {
        ColumnError::Problem(problem) => WriteErrorKind::Column {
            axis,
            column: column.to_owned(),
            problem,
        },
        ColumnError::File(kind) => kind,
    })
}

/// The index's name in AnnData, where `_index` stands for an index without name.
fn index_name(field: &Field) -> &str {
    field
        .metadata()
        .get("anndata.index_name")
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("_index")
}

/// A name with slashes nests as groups, as it does when anndata writes it; so every part must be a possible name.
fn check_name(name: &str, is_index: bool) -> Result<(), ColumnProblem> {
    let possible = (is_index || name != "_index")
        && !name.contains('\0')
        && name.split('/').count() <= MAX_NAME_PARTS
        && name.split('/').all(|part| !part.is_empty() && part != ".");
    if possible {
        Ok(())
    } else {
        Err(ColumnProblem::Name)
    }
}
