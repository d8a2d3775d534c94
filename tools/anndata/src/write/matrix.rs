//! Writing one matrix, rows by rows.

use std::io;

use arrow_schema::{DataType, Field, Schema};
use bytemuck::cast_slice;
use cellring_core::with_values;
use cellring_core::{CsrRows, ValueClass, ValueType};

use super::check::TableCheck;
use super::column::array_encoding;
use super::error::WriteErrorKind;
use super::frame::Columns;
use super::output::Output;
use super::purpose::Purpose;
use super::spec::{Form, MatrixSpec, Place};
use super::stream::Stream;
use super::tree::{Attribute, Datatype, Group, Node};

/// A matrix that is being written.
pub(super) struct MatrixWriter {
    pub(super) place: Place,
    pub(super) spec: MatrixSpec,
    streams: Streams,
    rows: u64,
    nnz: u64,
}

/// What the rows of a matrix go to.
enum Streams {
    Sparse(Box<SparseStreams>),
    Dense(Stream),
    Frame(Columns),
}

/// The arrays of a sparse matrix.
struct SparseStreams {
    data: Stream,
    indices: Stream,
    indptr: Stream,
}

impl Streams {
    fn new(out: &mut Output, place: &Place, spec: &MatrixSpec) -> Result<Self, WriteErrorKind> {
        let datatype = data_type(spec.value_type);
        match &spec.form {
            Form::Frame(fields) => {
                let index = Field::new("_index", DataType::Utf8, false);
                let fields_of_table: Vec<Field> =
                    std::iter::once(index).chain(fields.iter().cloned()).collect();
                TableCheck::new(&Schema::new(fields_of_table)).map_err(|fault| WriteErrorKind::Frame {
                    frame: place.path(),
                    fault,
                })?;
                Ok(Self::Frame(Columns::new(out, place.path(), fields)?))
            }
            Form::Dense => {
                let n_columns = u32::try_from(spec.n_vars).map_err(|_| WriteErrorKind::TooLarge {
                    what: "the number of columns of a dense matrix",
                    found: spec.n_vars,
                    max: u32::MAX.into(),
                })?;
                let purpose = Purpose::Matrix(Some(spec.n_obs.saturating_mul(spec.n_vars)));
                Ok(Self::Dense(Stream::with_columns(
                    out, datatype, purpose, n_columns,
                )))
            }
            Form::Csr | Form::Csc => {
                let index_type = Datatype::Integer {
                    size_bytes: if spec.wide_indices { 8 } else { 4 },
                    signed: true,
                };
                let mut indptr = Stream::new(out, index_type, Purpose::Matrix(Some(spec.n_major() + 1)));
                indptr.push(out, &[0; 8][..index_type.size_bytes()])?;
                Ok(Self::Sparse(Box::new(SparseStreams {
                    data: Stream::new(out, datatype, Purpose::Matrix(spec.nnz)),
                    indices: Stream::new(out, index_type, Purpose::Matrix(spec.nnz)),
                    indptr,
                })))
            }
        }
    }
}

impl MatrixWriter {
    pub(super) fn new(out: &mut Output, place: Place, spec: MatrixSpec) -> Result<Self, WriteErrorKind> {
        let streams = Streams::new(out, &place, &spec)?;
        Ok(Self {
            place,
            spec,
            streams,
            rows: 0,
            nnz: 0,
        })
    }

    /// Appends rows, which nothing is written of if they do not fit.
    pub(super) fn push(&mut self, out: &mut Output, rows: &CsrRows) -> Result<(), WriteErrorKind> {
        let (n_rows, nnz) = self.check_rows(rows)?;
        self.write(out, rows)?;
        (self.rows, self.nnz) = (n_rows, nnz);
        Ok(())
    }

    fn write(&mut self, out: &mut Output, rows: &CsrRows) -> Result<(), WriteErrorKind> {
        let (spec, nnz) = (&self.spec, self.nnz);
        match &mut self.streams {
            Streams::Frame(columns) => columns.push(out, rows),
            Streams::Dense(data) => Ok(with_values!(&rows.values, values => {
                let mut row = vec![Default::default(); spec.n_vars as usize];
                for bounds in rows.indptr.windows(2) {
                    row.fill(Default::default());
                    let range = bounds[0] as usize..bounds[1] as usize;
                    for (&column, &value) in rows.indices[range.clone()].iter().zip(&values[range]) {
                        row[column as usize] = value;
                    }
                    data.push(out, cast_slice(&row))?;
                }
                Ok::<(), io::Error>(())
            })?),
            Streams::Sparse(streams) => {
                let SparseStreams {
                    data,
                    indices,
                    indptr,
                } = &mut **streams;
                with_values!(&rows.values, values => data.push(out, cast_slice(values)))?;
                if spec.wide_indices {
                    let wide: Vec<i64> = rows.indices.iter().map(|&index| i64::from(index)).collect();
                    indices.push(out, cast_slice(&wide))?;
                } else {
                    // Below 2^31 the signed and the unsigned form are the same bytes.
                    indices.push(out, cast_slice(&rows.indices))?;
                }
                let ends = rows.indptr[1..].iter().map(|end| nnz + end);
                if spec.wide_indices {
                    indptr.push(out, cast_slice(&ends.collect::<Vec<u64>>()))?;
                } else {
                    indptr.push(out, cast_slice(&ends.map(|end| end as u32).collect::<Vec<_>>()))?;
                }
                Ok(())
            }
        }
    }

    /// The numbers of rows and of values after these rows, if they may be appended.
    fn check_rows(&self, rows: &CsrRows) -> Result<(u64, u64), WriteErrorKind> {
        let problem = |problem| {
            let n_rows = rows.indptr.len().saturating_sub(1);
            Err(WriteErrorKind::Rows {
                row: self.rows,
                n_rows,
                problem,
            })
        };
        let found = rows.values.value_type();
        if found != self.spec.value_type {
            return Err(WriteErrorKind::ValueType {
                expected: self.spec.value_type,
                found,
            });
        }
        let nnz = rows.indices.len();
        if rows.indptr.first() != Some(&0) || rows.indptr.last() != Some(&(nnz as u64)) {
            return problem("indptr does not lead from 0 to the number of indices");
        }
        if rows.values.len() != nnz {
            return problem("there are not as many values as indices");
        }
        if !rows.indptr.is_sorted() {
            return problem("indptr descends");
        }
        let n_minor = self.spec.n_minor();
        if rows
            .indices
            .iter()
            .max()
            .is_some_and(|&index| u64::from(index) >= n_minor)
        {
            return problem("a column index is not below the number of variables");
        }
        let (all_rows, all_nnz) = (self.rows + rows.n_rows() as u64, self.nnz + nnz as u64);
        let expected = self.spec.n_major();
        if all_rows > expected {
            let what = "rows of the matrix";
            return Err(WriteErrorKind::Count {
                what,
                expected,
                found: all_rows,
            });
        }
        match self.spec.nnz {
            Some(expected) if all_nnz > expected => Err(WriteErrorKind::Count {
                what: "values of the matrix",
                expected,
                found: all_nnz,
            }),
            _ if !self.spec.wide_indices && all_nnz > i32::MAX as u64 => {
                let what = "the number of values";
                Err(WriteErrorKind::TooLarge {
                    what,
                    found: all_nnz,
                    max: i32::MAX as u64,
                })
            }
            _ => Ok((all_rows, all_nnz)),
        }
    }

    /// Compares what came with what was announced.
    pub(super) fn check_whole(&self) -> Result<(), WriteErrorKind> {
        for (what, expected, found) in [
            ("rows of the matrix", self.spec.n_major(), self.rows),
            (
                "values of the matrix",
                self.spec.nnz.unwrap_or(self.nnz),
                self.nnz,
            ),
        ] {
            if expected != found {
                return Err(WriteErrorKind::Count {
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Completes the matrix. `obs_index` is the name of the index of obs.
    pub(super) fn finish(self, out: &mut Output) -> Result<Finished, WriteErrorKind> {
        let node = match self.streams {
            Streams::Frame(columns) => return Ok(Finished::Frame(columns.finish(out)?)),
            Streams::Dense(data) => {
                Node::Dataset(data.finish_rows(out, self.spec.n_obs, array_encoding())?)
            }
            Streams::Sparse(streams) => {
                let SparseStreams {
                    data,
                    indices,
                    indptr,
                } = *streams;
                let mut group = Group::encoded(self.spec.form.encoding(), "0.1.0");
                group.set(
                    "shape",
                    Attribute::Integers(vec![self.spec.n_obs as i64, self.spec.n_vars as i64]),
                );
                for (name, stream) in [("data", data), ("indices", indices), ("indptr", indptr)] {
                    let dataset = stream.finish(out, true, Vec::new())?;
                    assert!(group.insert(name, Node::Dataset(dataset)), "each name once");
                }
                Node::Group(group)
            }
        };
        Ok(Finished::Node(node))
    }
}

/// A matrix whose data are written.
pub(super) enum Finished {
    Node(Node),
    /// A data frame that lacks its index.
    Frame(Vec<(String, Node)>),
}

/// Refuses a shape that does not fit the index types.
pub(super) fn check_spec(spec: &MatrixSpec) -> Result<(), WriteErrorKind> {
    let max = i32::MAX as u64;
    let (minor, is_sparse) = match spec.form {
        Form::Csr => ("the number of variables", true),
        Form::Csc => ("the number of observations", true),
        Form::Dense | Form::Frame(_) => ("", false),
    };
    for (what, found) in [
        (minor, spec.n_minor()),
        ("the number of values", spec.nnz.unwrap_or(0)),
    ] {
        if is_sparse && !spec.wide_indices && found > max {
            return Err(WriteErrorKind::TooLarge { what, found, max });
        }
    }
    Ok(())
}

fn data_type(value_type: ValueType) -> Datatype {
    let size_bytes = value_type.size_bytes() as u8;
    match value_type.class() {
        ValueClass::Boolean => Datatype::Bool,
        ValueClass::Float => Datatype::Float { size_bytes },
        ValueClass::Unsigned => Datatype::Integer {
            size_bytes,
            signed: false,
        },
        ValueClass::Signed => Datatype::Integer {
            size_bytes,
            signed: true,
        },
    }
}
