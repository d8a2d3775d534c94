//! Writes `.h5ad` files of any size with bounded memory and without libhdf5.
//!
//! The matrix arrives as pieces of canonical CSR, the tables as Arrow record batches; both go to the file as they come.
//! What [`H5adWriter`] writes are the current encodings of AnnData (`anndata` 0.1.0, `csr_matrix` 0.1.0, `dataframe`
//! 0.2.0), in HDF5 that libhdf5 1.8 and later reads.
//!
//! # Why not an HDF5 crate
//! Two pure-Rust writers were weighed. `hdf5-writer` 0.12 takes every dataset whole and encodes the complete file in
//! memory. `hdf5-pure` 0.47 can grow numeric datasets of an existing file in place, but takes variable-length strings,
//! which is what AnnData makes of an index and of every text column, only whole: tens of millions of cell names would
//! have to be in memory at once, and a matrix in its newer chunk index needs HDF5 1.10. The subset of the format that
//! AnnData needs is small and fixed, so it is written here, in the private module `hdf5`; of the crates only the
//! checksum of `hdf5-core` is used.
//!
//! # Arrow to AnnData
//! The first field is the index, called what its metadata `anndata.index_name` says, or `_index`.
//!
//! | Arrow | AnnData |
//! |---|---|
//! | integers, floats | `array` of the same type; floats: missing is NaN |
//! | Boolean | `array` of the enumeration that h5py uses for bool |
//! | integers, Boolean with missing values, or with `anndata.encoding` = `nullable-...` | `nullable-integer`, `nullable-boolean` |
//! | Utf8, LargeUtf8 | `string-array`; with missing values, or from one: `nullable-string-array` |
//! | Dictionary | `categorical`, ordered if `anndata.ordered` is `true`; missing is code -1 |
//!
//! A name with slashes becomes nested groups, as in files that anndata writes.

mod column;
mod error;
mod hdf5;
mod table;
mod temporary;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytemuck::cast_slice;
use cellring::format::{CsrRows, ValueType};
use cellring::with_values;

pub use error::{ColumnProblem, WriteError, WriteErrorKind};
pub use table::{Axis, TableWriter};

use hdf5::{Attribute, Datatype, Group, Node, Output, Stream};
use temporary::{directory, temporary};

/// Indices are widened in pieces of this many.
const WIDEN_LEN: usize = 1 << 14;

/// Shape and types of the matrix of a new `.h5ad`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MatrixSpec {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Element type of `X/data`.
    pub value_type: ValueType,
    /// Number of stored values, if known: it is verified, and sets the chunk size.
    pub nnz: Option<u64>,
    /// Store `indices` and `indptr` as int64 rather than int32: both, since scipy fails on matrices where they differ.
    pub wide_indices: bool,
}

impl MatrixSpec {
    /// A matrix with an unknown number of values: its indices are int64 unless a full matrix would do with int32.
    pub fn new(n_obs: u64, n_vars: u64, value_type: ValueType) -> Self {
        Self {
            n_obs,
            n_vars,
            value_type,
            nnz: None,
            wide_indices: needs_wide_indices(n_vars, n_obs.saturating_mul(n_vars)),
        }
    }

    /// The same with this number of values, and the narrowest indices that it allows, as scipy has them.
    #[must_use]
    pub fn with_nnz(self, nnz: u64) -> Self {
        Self {
            nnz: Some(nnz),
            wide_indices: needs_wide_indices(self.n_vars, nnz),
            ..self
        }
    }
}

/// Whether int32 cannot express a column index or the end of the last row.
fn needs_wide_indices(n_vars: u64, nnz: u64) -> bool {
    n_vars.max(nnz) > i32::MAX as u64
}

/// Where a matrix lies in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// `X`.
    #[default]
    X,
    /// `raw/X`; its genes are in [`Axis::RawVar`].
    Raw,
    /// `layers/NAME`.
    Layer(String),
    /// `obsm/NAME`: written dense.
    Obsm(String),
}

impl Place {
    /// The place of this path, such as `layers/counts`.
    pub fn of_path(path: &str) -> Option<Self> {
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        match path.split_once('/') {
            None if path == "X" => Some(Self::X),
            Some(("raw", "X")) => Some(Self::Raw),
            Some(("layers", name)) if is_name(name) => Some(Self::Layer(name.to_owned())),
            Some(("obsm", name)) if is_name(name) => Some(Self::Obsm(name.to_owned())),
            _ => None,
        }
    }
}

/// Writes one `.h5ad`: a matrix by [`push_rows`](Self::push_rows), obs and var by [`table`](Self::table) or
/// [`write_table`](Self::write_table), in any order, further matrices each behind [`next_matrix`](Self::next_matrix), then
/// [`finish`](Self::finish).
///
/// The file grows under a temporary name in its final directory and takes its name in `finish`; dropped before
/// that, it is removed. Memory: two chunks of the matrix (at most 2 MiB), 8 bytes for each chunk written, a table's needs
/// (see [`TableWriter`]), and a write buffer of 1 MiB.
pub struct H5adWriter {
    path: PathBuf,
    spec: MatrixSpec,
    out: Output,
    place: Place,
    streams: Streams,
    rows: u64,
    nnz: u64,
    /// Matrices that are complete.
    matrices: Vec<(Place, Node)>,
    obs: Option<Group>,
    var: Option<Group>,
    raw_var: Option<Group>,
}

/// What the rows of a matrix go to.
enum Streams {
    Csr {
        data: Stream,
        indices: Stream,
        indptr: Stream,
    },
    Dense(Stream),
}

impl Streams {
    fn new(out: &mut Output, place: &Place, spec: &MatrixSpec) -> io::Result<Self> {
        let datatype = data_type(spec.value_type);
        if let (Place::Obsm(_), Ok(n_columns)) = (place, u32::try_from(spec.n_vars)) {
            let n_elements = spec.n_obs.saturating_mul(spec.n_vars);
            let chunk_bytes = matrix_chunk_bytes(Some(n_elements), datatype.size_bytes());
            return Ok(Self::Dense(Stream::with_columns(
                datatype,
                chunk_bytes,
                n_columns,
            )));
        }
        let index_type = Datatype::Integer {
            size_bytes: if spec.wide_indices { 8 } else { 4 },
            signed: true,
        };
        let matrix_stream =
            |datatype: Datatype| Stream::new(datatype, matrix_chunk_bytes(spec.nnz, datatype.size_bytes()));
        let chunk_bytes = matrix_chunk_bytes(Some(spec.n_obs), index_type.size_bytes());
        let mut indptr = Stream::new(index_type, chunk_bytes);
        indptr.push(out, &[0; 8][..index_type.size_bytes()])?;
        Ok(Self::Csr {
            data: matrix_stream(datatype),
            indices: matrix_stream(index_type),
            indptr,
        })
    }
}

impl H5adWriter {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// If the shape does not fit the index types, or the temporary file cannot be made.
    pub fn create(path: impl AsRef<Path>, spec: MatrixSpec) -> Result<Self, WriteError> {
        Self::create_with(path, Place::X, spec)
    }

    /// Begins a file whose first matrix lies elsewhere.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(path: impl AsRef<Path>, place: Place, spec: MatrixSpec) -> Result<Self, WriteError> {
        let path = path.as_ref();
        check_spec(path, &spec)?;
        let begin = || -> io::Result<(Output, Streams)> {
            let mut out = Output::new(temporary(path)?)?;
            let streams = Streams::new(&mut out, &place, &spec)?;
            Ok((out, streams))
        };
        let (out, streams) = begin().map_err(|error| WriteError::new(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            spec,
            out,
            place,
            streams,
            rows: 0,
            nnz: 0,
            matrices: Vec::new(),
            obs: None,
            var: None,
            raw_var: None,
        })
    }

    /// Completes the matrix and begins another one.
    ///
    /// # Errors
    /// If rows or values of the former are missing, the shape does not fit the index types, or the file cannot be written.
    ///
    /// # Panics
    /// If the place is taken.
    pub fn next_matrix(&mut self, place: Place, spec: MatrixSpec) -> Result<(), WriteError> {
        check_spec(&self.path, &spec)?;
        self.check_whole().map_err(|kind| self.error(kind))?;
        let taken = self.matrices.iter().map(|(taken, _)| taken);
        assert!(
            taken.chain([&self.place]).all(|taken| *taken != place),
            "each place has one matrix"
        );
        let begun = Streams::new(&mut self.out, &place, &spec).map_err(|error| self.error(error))?;
        let streams = std::mem::replace(&mut self.streams, begun);
        let node =
            close(streams, &self.spec, &mut self.out).map_err(|error| WriteError::new(&self.path, error))?;
        self.matrices
            .push((std::mem::replace(&mut self.place, place), node));
        (self.spec, self.rows, self.nnz) = (spec, 0, 0);
        Ok(())
    }

    /// Compares what came with what was announced.
    fn check_whole(&self) -> Result<(), WriteErrorKind> {
        for (what, expected, found) in [
            ("rows of the matrix", self.spec.n_obs, self.rows),
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

    /// Appends rows of the matrix.
    ///
    /// # Errors
    /// If the rows have another element type, are not CSR within `n_vars` columns, or exceed the announced numbers of
    /// rows or values; then nothing was written. When the file cannot be written; then the writer is of no use any more.
    pub fn push_rows(&mut self, rows: &CsrRows) -> Result<(), WriteError> {
        let (n_rows, nnz) = self.check_rows(rows).map_err(|kind| self.error(kind))?;
        self.write_rows(rows).map_err(|error| self.error(error))?;
        (self.rows, self.nnz) = (n_rows, nnz);
        Ok(())
    }

    fn write_rows(&mut self, rows: &CsrRows) -> io::Result<()> {
        let (spec, out, nnz) = (&self.spec, &mut self.out, self.nnz);
        match &mut self.streams {
            Streams::Dense(data) => with_values!(&rows.values, values => {
                let mut row = vec![Default::default(); spec.n_vars as usize];
                for bounds in rows.indptr.windows(2) {
                    row.fill(Default::default());
                    let range = bounds[0] as usize..bounds[1] as usize;
                    for (&column, &value) in rows.indices[range.clone()].iter().zip(&values[range]) {
                        row[column as usize] = value;
                    }
                    data.push(out, cast_slice(&row))?;
                }
                Ok(())
            }),
            Streams::Csr {
                data,
                indices,
                indptr,
            } => {
                with_values!(&rows.values, values => data.push(out, cast_slice(values)))?;
                if spec.wide_indices {
                    for piece in rows.indices.chunks(WIDEN_LEN) {
                        let wide: Vec<i64> = piece.iter().map(|&index| i64::from(index)).collect();
                        indices.push(out, cast_slice(&wide))?;
                    }
                } else {
                    // Below 2^31 the signed and the unsigned form are the same bytes.
                    indices.push(out, cast_slice(&rows.indices))?;
                }
                let ends = rows.indptr[1..].iter().map(|end| nnz + end);
                if spec.wide_indices {
                    indptr.push(out, cast_slice(&ends.collect::<Vec<u64>>()))
                } else {
                    indptr.push(out, cast_slice(&ends.map(|end| end as u32).collect::<Vec<_>>()))
                }
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
        if rows
            .indices
            .iter()
            .max()
            .is_some_and(|&index| u64::from(index) >= self.spec.n_vars)
        {
            return problem("a column index is not below the number of variables");
        }
        let (all_rows, all_nnz) = (self.rows + rows.n_rows() as u64, self.nnz + nnz as u64);
        if all_rows > self.spec.n_obs {
            let what = "rows of the matrix";
            return Err(WriteErrorKind::Count {
                what,
                expected: self.spec.n_obs,
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

    /// Completes the file, syncs it, and gives it its name, replacing a file of that name.
    ///
    /// # Errors
    /// If rows, values or a table are missing, and when the file cannot be written; then there is no new file.
    pub fn finish(self) -> Result<(), WriteError> {
        self.check_whole().map_err(|kind| self.error(kind))?;
        let Self {
            path,
            spec,
            mut out,
            place,
            streams,
            mut matrices,
            obs,
            var,
            raw_var,
            ..
        } = self;
        let end = || -> Result<(), WriteErrorKind> {
            matrices.push((place, close(streams, &spec, &mut out)?));
            let mut root = Group::encoded("anndata", "0.1.0");
            let dict = || Group::encoded("dict", "0.1.0");
            let (mut layers, mut obsm, mut raw) = (dict(), dict(), None);
            for (place, node) in matrices {
                let is_new = match place {
                    Place::X => root.insert("X", node),
                    Place::Layer(name) => layers.insert(&name, node),
                    Place::Obsm(name) => obsm.insert(&name, node),
                    Place::Raw => raw
                        .get_or_insert_with(|| Group::encoded("raw", "0.1.0"))
                        .insert("X", node),
                };
                assert!(is_new, "each place has one matrix");
            }
            let mut members = vec![("layers", layers), ("obsm", obsm)];
            if let Some(mut raw) = raw {
                let axis = Axis::RawVar;
                let table = raw_var.ok_or(WriteErrorKind::Table { axis, times: 0 })?;
                for (name, group) in [("var", table), ("varm", dict())] {
                    assert!(raw.insert(name, Node::Group(group)), "each name once");
                }
                members.push(("raw", raw));
            }
            for (axis, table) in [(Axis::Obs, obs), (Axis::Var, var)] {
                members.push((
                    axis.name(),
                    table.ok_or(WriteErrorKind::Table { axis, times: 0 })?,
                ));
            }
            for name in ["obsp", "uns", "varm", "varp"] {
                members.push((name, dict()));
            }
            for (name, group) in members {
                assert!(root.insert(name, Node::Group(group)), "each name once");
            }
            let file = out.finish(&root)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            // The name itself is durable once the directory is synced.
            Ok(File::open(directory(&path))?.sync_all()?)
        };
        end().map_err(|kind| WriteError::new(&path, kind))
    }

    fn tables(&self, axis: Axis) -> usize {
        usize::from(match axis {
            Axis::Obs => self.obs.is_some(),
            Axis::Var => self.var.is_some(),
            Axis::RawVar => self.raw_var.is_some(),
        })
    }

    fn set_table(&mut self, axis: Axis, group: Group) {
        match axis {
            Axis::Obs => self.obs = Some(group),
            Axis::Var => self.var = Some(group),
            Axis::RawVar => self.raw_var = Some(group),
        }
    }

    fn error(&self, kind: impl Into<WriteErrorKind>) -> WriteError {
        WriteError::new(&self.path, kind)
    }
}

/// Refuses a shape that does not fit the index types.
fn check_spec(path: &Path, spec: &MatrixSpec) -> Result<(), WriteError> {
    let max = i32::MAX as u64;
    for (what, found) in [
        ("the number of variables", spec.n_vars),
        ("the number of values", spec.nnz.unwrap_or(0)),
    ] {
        if !spec.wide_indices && found > max {
            return Err(WriteError::new(
                path,
                WriteErrorKind::TooLarge { what, found, max },
            ));
        }
    }
    Ok(())
}

/// Completes a matrix.
fn close(streams: Streams, spec: &MatrixSpec, out: &mut Output) -> Result<Node, WriteErrorKind> {
    match streams {
        Streams::Dense(data) => {
            let text = |text: &str| Attribute::Text(text.to_owned());
            let attributes = vec![
                ("encoding-type", text("array")),
                ("encoding-version", text("0.2.0")),
            ];
            Ok(Node::Dataset(data.finish(out, false, attributes)?))
        }
        Streams::Csr {
            data,
            indices,
            indptr,
        } => {
            let mut group = Group::encoded("csr_matrix", "0.1.0");
            group.set(
                "shape",
                Attribute::Integers(vec![spec.n_obs as i64, spec.n_vars as i64]),
            );
            for (name, stream) in [("data", data), ("indices", indices), ("indptr", indptr)] {
                let dataset = stream.finish(out, true, Vec::new())?;
                assert!(group.insert(name, Node::Dataset(dataset)), "each name once");
            }
            Ok(Node::Group(group))
        }
    }
}

fn data_type(value_type: ValueType) -> Datatype {
    let size_bytes = value_type.size_bytes() as u8;
    match value_type {
        ValueType::Bool => Datatype::Bool,
        ValueType::F32 | ValueType::F64 => Datatype::Float { size_bytes },
        ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => Datatype::Integer {
            size_bytes,
            signed: false,
        },
        ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => Datatype::Integer {
            size_bytes,
            signed: true,
        },
    }
}

/// Size of the chunks of a dataset of `len` elements: what h5py guesses for a file that anndata writes, roughly.
///
/// h5py aims at 16 KiB for 1 MiB of data and doubles that with each power of ten, between 8 KiB and 1 MiB. So a
/// reader meets the chunks here that it meets in files from Python. An unknown length counts as a large one.
fn matrix_chunk_bytes(len: Option<u64>, element_bytes: usize) -> usize {
    let mebibytes = len.unwrap_or(1 << 32) as f64 * element_bytes as f64 / (1 << 20) as f64;
    let target = 16384.0 * mebibytes.max(f64::MIN_POSITIVE).log10().exp2();
    // `as` saturates; whole pages keep the addresses of chunks friendly.
    (target.clamp(8192.0, 1_048_576.0) as usize).next_multiple_of(4096)
}
