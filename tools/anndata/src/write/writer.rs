//! The writer of a whole data set.

use std::path::{Path, PathBuf};

use cellring_core::CsrRows;

use super::axis::Axis;
use super::compress::Compression;
use super::dataframe::{frame, insert};
use super::error::{WriteError, WriteErrorKind};
use super::matrix::{Finished, MatrixWriter, check_spec};
use super::options::{Container, WriteOptions};
use super::output::Output;
use super::spec::{MatrixSpec, Place};
use super::tree::{Group, Node};
use super::zarr_names::{check_names, check_zarr_name};

/// Writes one AnnData: a matrix by [`push_rows`](Self::push_rows), obs and var by [`table`](Self::table) or
/// [`write_table`](Self::write_table), in any order, other matrices each after [`next_matrix`](Self::next_matrix), then
/// [`finish`](Self::finish).
///
/// The file or directory grows under a temporary name where it is to be and takes its name in `finish`; dropped before
/// that, it is removed. Memory: two chunks of the matrix (at most 2 MiB; of zarr 16 MiB), 16 bytes for each chunk written, a table's needs
/// (see [`TableWriter`](super::TableWriter)), and a write buffer of 1 MiB. With compression 64 MiB more, for the chunks that are compressed together.
pub struct AnnDataWriter {
    path: PathBuf,
    pub(super) out: Output,
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

    pub(super) fn tables(&self, axis: Axis) -> usize {
        usize::from(match axis {
            Axis::Obs => self.obs.is_some(),
            Axis::Var => self.var.is_some(),
            Axis::RawVar => self.raw_var.is_some(),
        })
    }

    pub(super) fn set_table(&mut self, axis: Axis, group: Group, index: &str) {
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
    pub(super) fn rows_of(&self, axis: Axis) -> (&'static str, u64) {
        axis.rows(&self.matrix.spec)
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), WriteError> {
        match self.is_zarr {
            true => check_zarr_name(name).map_err(|kind| self.error(kind)),
            false => Ok(()),
        }
    }

    pub(super) fn error(&self, kind: impl Into<WriteErrorKind>) -> WriteError {
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
    let mut group = frame(&names);
    insert(&mut group, index, Node::Same(format!("obs/{obs_index}")));
    for (name, node) in columns {
        insert(&mut group, &name, node);
    }
    Node::Group(group)
}
