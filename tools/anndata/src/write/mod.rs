//! Writes AnnData of any size, as `.h5ad` or zarr, with bounded memory and without libhdf5.
//!
//! The matrix arrives as pieces of canonical CSR, the tables as Arrow record batches; both go to the file as they come.
//! What [`AnnDataWriter`] writes are the current encodings of AnnData (`anndata` 0.1.0, `csr_matrix` 0.1.0, `dataframe`
//! 0.2.0), in HDF5 that libhdf5 1.8 and later reads.
//!
//! Tables, columns and matrices are written by the same code whatever the container: arrays grow as streams of chunks, and
//! the tree of groups, arrays and attributes is kept until the end. What differs is in the private modules `output`, `hdf5` and
//! `zarr`.
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
//! | Utf8, LargeUtf8 | `string-array`; with missing values, or from one: `nullable-string-array`, its na-value that of `anndata.na_value` |
//! | Dictionary | `categorical`, ordered if `anndata.ordered` is `true`; missing is code -1 |
//!
//! A name with slashes becomes nested groups, as in files that anndata writes. A column that has the name and the values of the
//! index is the same object of the file.

mod check;
mod column;
mod compress;
mod error;
mod frame;
mod hdf5;
mod lzf;
mod matrix;
mod output;
mod queue;
mod spec;
mod stream;
mod table;
pub(crate) mod temporary;
mod text;
mod tree;
mod zarr;

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use cellring::format::CsrRows;

pub use check::TableCheck;
pub(crate) use check::{category_keys, is_column_name};
pub use compress::Compression;
pub use error::{ColumnFault, ColumnProblem, WriteError, WriteErrorKind};
pub use output::{Container, WriteOptions, ZarrFormat};
pub use spec::{Form, MatrixSpec, Place};
pub use table::{Axis, TableWriter};

use matrix::{Finished, MatrixWriter, check_spec};
use output::Output;
use tree::{Group, Node};

/// Writes one AnnData: a matrix by [`push_rows`](Self::push_rows), obs and var by [`table`](Self::table) or
/// [`write_table`](Self::write_table), in any order, further matrices each behind [`next_matrix`](Self::next_matrix), then
/// [`finish`](Self::finish).
///
/// The file or directory grows under a temporary name where it is to be and takes its name in `finish`; dropped before
/// that, it is removed. Memory: two chunks of the matrix (at most 2 MiB; of zarr 16 MiB), 16 bytes for each chunk written, a table's needs
/// (see [`TableWriter`]), and a write buffer of 1 MiB. With compression 64 MiB more, for the chunks that are compressed together.
pub struct AnnDataWriter {
    path: PathBuf,
    out: Output,
    matrix: MatrixWriter,
    is_zarr: bool,
    /// Matrices that are complete.
    matrices: Vec<(Place, Finished)>,
    obs: Option<Group>,
    var: Option<Group>,
    raw_var: Option<Group>,
    /// Name of the index of obs.
    obs_index: String,
}

impl AnnDataWriter {
    /// Begins a file, HDF5 without compression, that will be called `path`.
    ///
    /// # Errors
    /// If the shape does not fit the index types, or the temporary file cannot be made.
    pub fn create(path: impl AsRef<Path>, spec: MatrixSpec) -> Result<Self, WriteError> {
        Self::create_with(path, WriteOptions::default(), Place::X, spec)
    }

    /// Begins a data set whose first matrix lies at `place`.
    ///
    /// # Errors
    /// As [`create`](Self::create); and if zarr does not have the compression.
    pub fn create_with(
        path: impl AsRef<Path>,
        options: WriteOptions,
        place: Place,
        spec: MatrixSpec,
    ) -> Result<Self, WriteError> {
        let path = path.as_ref();
        let is_zarr = matches!(options.container, Container::Zarr(_));
        let begin = || -> Result<(Output, MatrixWriter), WriteErrorKind> {
            check_spec(&spec)?;
            if is_zarr && options.compression() == Compression::Lzf {
                return Err(WriteErrorKind::ZarrLzf);
            }
            check_names(&place, &spec, is_zarr)?;
            let mut out = Output::create(path, options)?;
            let matrix = MatrixWriter::new(&mut out, place, spec)?;
            Ok((out, matrix))
        };
        let (out, matrix) = begin().map_err(|error| WriteError::new(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            out,
            matrix,
            is_zarr,
            matrices: Vec::new(),
            obs: None,
            var: None,
            raw_var: None,
            obs_index: String::new(),
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
        let taken = self.matrices.iter().map(|(taken, _)| taken);
        assert!(
            taken.chain([&self.matrix.place]).all(|taken| *taken != place),
            "each place has one matrix"
        );
        self.change_matrix(place, spec).map_err(|kind| self.error(kind))
    }

    fn change_matrix(&mut self, place: Place, spec: MatrixSpec) -> Result<(), WriteErrorKind> {
        check_spec(&spec)?;
        check_names(&place, &spec, self.is_zarr)?;
        self.matrix.check_whole()?;
        let next = MatrixWriter::new(&mut self.out, place, spec)?;
        let done = std::mem::replace(&mut self.matrix, next);
        let place = done.place.clone();
        self.matrices.push((place, done.finish(&mut self.out)?));
        Ok(())
    }

    /// Appends rows of the matrix; of a matrix that is stored by columns, its columns.
    ///
    /// # Errors
    /// If the rows have another element type, are not CSR within `n_vars` columns, or exceed the announced numbers of
    /// rows or values; then nothing was written. When the file cannot be written; then the writer is of no use any more.
    pub fn push_rows(&mut self, rows: &CsrRows) -> Result<(), WriteError> {
        let pushed = self.matrix.push(&mut self.out, rows);
        pushed.map_err(|error| self.error(error))
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

    /// Completes the file, syncs it, and gives it its name, replacing a file of that name; a zarr directory replaces only another one.
    ///
    /// # Errors
    /// If rows, values or a table are missing, and when the file cannot be written; then there is no new file.
    pub fn finish(self) -> Result<(), WriteError> {
        let path = self.path.clone();
        self.end().map_err(|kind| WriteError::new(&path, kind))
    }

    fn end(self) -> Result<(), WriteErrorKind> {
        self.matrix.check_whole()?;
        let Self {
            path,
            mut out,
            matrix,
            mut matrices,
            obs,
            var,
            raw_var,
            obs_index,
            ..
        } = self;
        matrices.push((matrix.place.clone(), matrix.finish(&mut out)?));
        let mut root = Group::encoded("anndata", "0.1.0");
        let dict = || Group::encoded("dict", "0.1.0");
        let (mut layers, mut obsm, mut raw) = (dict(), dict(), None);
        for (place, finished) in matrices {
            let node = match finished {
                Finished::Node(node) => node,
                Finished::Frame(columns) => frame_node(columns, &obs_index),
            };
            let (is_new, path) = match &place {
                Place::X => (root.insert("X", node), "X"),
                Place::Layer(name) => (layers.insert(name, node), name.as_str()),
                Place::Obsm(name) => (obsm.insert(name, node), name.as_str()),
                Place::Raw => {
                    let raw = raw.get_or_insert_with(|| Group::encoded("raw", "0.1.0"));
                    (raw.insert("X", node), "raw/X")
                }
            };
            if !is_new {
                let path = path.to_owned();
                return Err(WriteErrorKind::Nested { path });
            }
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
        out.publish(&root, &path)
    }

    fn tables(&self, axis: Axis) -> usize {
        usize::from(match axis {
            Axis::Obs => self.obs.is_some(),
            Axis::Var => self.var.is_some(),
            Axis::RawVar => self.raw_var.is_some(),
        })
    }

    fn set_table(&mut self, axis: Axis, group: Group, index: &str) {
        match axis {
            Axis::Obs => {
                self.obs = Some(group);
                self.obs_index = index.to_owned();
            }
            Axis::Var => self.var = Some(group),
            Axis::RawVar => self.raw_var = Some(group),
        }
    }

    /// The number of rows of a table.
    fn rows_of(&self, axis: Axis) -> (&'static str, u64) {
        axis.rows(&self.matrix.spec)
    }

    fn check_name(&self, name: &str) -> Result<(), WriteError> {
        match self.is_zarr {
            true => check_zarr_name(name).map_err(|kind| self.error(kind)),
            false => Ok(()),
        }
    }

    fn error(&self, kind: impl Into<WriteErrorKind>) -> WriteError {
        WriteError::new(&self.path, kind)
    }
}

/// A data frame of these columns, whose index is that of obs.
fn frame_node(columns: Vec<(String, Node)>, obs_index: &str) -> Node {
    // Under another name if a column has that of the index, or lies above or below it.
    let first = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let is_apart = |name: &str| first(name) != first(obs_index);
    let index = match columns.iter().all(|(name, _)| is_apart(name)) {
        true => obs_index,
        false => "_index",
    };
    let names: Vec<String> = std::iter::once(index.to_owned())
        .chain(columns.iter().map(|(name, _)| name.clone()))
        .collect();
    let mut group = table::frame(&names);
    table::insert(&mut group, index, Node::Same(format!("obs/{obs_index}")));
    for (name, node) in columns {
        table::insert(&mut group, &name, node);
    }
    Node::Group(group)
}

fn check_names(place: &Place, spec: &MatrixSpec, is_zarr: bool) -> Result<(), WriteErrorKind> {
    if !is_zarr {
        return Ok(());
    }
    if let Form::Frame(fields) = &spec.form {
        fields
            .iter()
            .try_for_each(|field| check_zarr_name(field.name()))?;
    }
    check_zarr_name(&place.path())
}

/// Refuses names of zarr's own files, those that lead elsewhere, and those that its library in Python rewrites: in zarr a name is that of a
/// directory.
fn check_zarr_name(name: &str) -> Result<(), WriteErrorKind> {
    const RESERVED: [&str; 7] = [
        ".",
        "..",
        "zarr.json",
        ".zgroup",
        ".zarray",
        ".zattrs",
        ".zmetadata",
    ];
    match name.contains('\\') || name.split('/').any(|part| RESERVED.contains(&part)) {
        true => Err(WriteErrorKind::ZarrName {
            name: name.to_owned(),
        }),
        false => Ok(()),
    }
}
