//! What can go wrong while AnnData is written.

use std::io;
use std::path::{Path, PathBuf};

use arrow_schema::DataType;
use cellring_core::ValueType;

use super::axis::Axis;

/// An error of [`AnnDataWriter`](super::AnnDataWriter), with the file it was writing.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {kind}", path.display())]
pub struct WriteError {
    path: PathBuf,
    kind: Box<WriteErrorKind>,
}

impl WriteError {
    pub(super) fn new(path: &Path, kind: impl Into<WriteErrorKind>) -> Self {
        Self {
            path: path.to_owned(),
            kind: Box::new(kind.into()),
        }
    }

    /// The file that was to be written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What went wrong.
    pub fn kind(&self) -> &WriteErrorKind {
        &self.kind
    }
}

/// What went wrong while AnnData was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteErrorKind {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),

    /// A name or a list of names is too long for the file format.
    #[error("{what} needs {bytes} bytes, but HDF5 allows 65535; use fewer or shorter column names")]
    TooLong {
        /// The offending part.
        what: String,
        /// Its size in bytes.
        bytes: usize,
    },

    /// The shape does not fit the index type.
    #[error("{what} is {found}, more than 32-bit indices can express ({max}); ask for 64-bit ones")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The largest value possible.
        max: u64,
    },

    /// Rows of another element type than the matrix was created with.
    #[error("rows of {found} values were pushed to a matrix of {expected}", found = found.numpy_name(), expected = expected.numpy_name())]
    ValueType {
        /// Type of the matrix.
        expected: ValueType,
        /// Type of the rows.
        found: ValueType,
    },

    /// A piece of the matrix contradicts itself.
    #[error("the {n_rows} rows pushed after row {row} are not CSR: {problem}")]
    Rows {
        /// Rows written before.
        row: u64,
        /// Rows in the piece.
        n_rows: usize,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The number of rows or values is not the announced one.
    #[error("{what}: {expected} announced, {found} given")]
    Count {
        /// What was counted.
        what: &'static str,
        /// The announced number.
        expected: u64,
        /// The number found (so far, if it is too large).
        found: u64,
    },

    /// A table was not written, or more than once.
    #[error("{axis} was written {times} times instead of once")]
    Table {
        /// Which table.
        axis: Axis,
        /// How often it was written.
        times: usize,
    },

    /// A batch has other columns than the schema of its table.
    #[error("a record batch of {axis} does not have the columns of its schema")]
    Batch {
        /// Which table.
        axis: Axis,
    },

    /// A column that AnnData cannot hold.
    #[error("column {:?} of {axis} {}", fault.column, fault.problem)]
    Column {
        /// Which table.
        axis: Axis,
        /// The column, and what is wrong with it.
        fault: ColumnFault,
    },

    /// A column of a data frame in obsm that AnnData cannot hold.
    #[error("column {:?} of {frame} {}", fault.column, fault.problem)]
    Frame {
        /// Path of the data frame.
        frame: String,
        /// The column, and what is wrong with it.
        fault: ColumnFault,
    },

    /// The name of one matrix continues that of another.
    #[error("{path} lies within another matrix; rename one of them")]
    Nested {
        /// Path of the matrix.
        path: String,
    },

    /// A data frame cannot hold a value of its matrix.
    #[error(
        "{frame} has a value in column {column:?} that does not fit the type of the column; convert the source again"
    )]
    FrameValue {
        /// Path of the data frame.
        frame: String,
        /// Name of the column.
        column: String,
    },

    /// A name that zarr reserves, or that leads out of the directory.
    #[error("{name:?} cannot be a name in zarr; export to .h5ad")]
    ZarrName {
        /// The name.
        name: String,
    },

    /// zarr knows no LZF.
    #[error("zarr has no lzf compression; choose none, gzip or zstd")]
    ZarrLzf,
}

/// A column that AnnData cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} {problem}")]
pub struct ColumnFault {
    /// Name of the column.
    pub column: String,
    /// What is wrong with it.
    pub problem: ColumnProblem,
}

impl ColumnFault {
    pub(super) fn new(column: &str, problem: ColumnProblem) -> Self {
        Self {
            column: column.to_owned(),
            problem,
        }
    }
}

/// Why AnnData cannot hold a column.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnProblem {
    /// No AnnData encoding for this type.
    #[error("has type {0}, for which AnnData has no encoding; convert it to numbers, strings or categories")]
    Type(DataType),
    /// The name cannot be a path in the file.
    #[error(
        "has a name that cannot be stored: `_index`, empty names, NUL characters, and empty, `.` or more than 16 parts between slashes are not allowed; rename it"
    )]
    Name,
    /// Two members of one name, or one name that is a parent of another.
    #[error("collides with another column; rename one of them")]
    Collision,
    /// A column has the name of the index but other values.
    #[error("has the name of the index but other values; rename one of them")]
    UnlikeIndex,
    /// The index has missing values.
    #[error("is the index and has missing values; fill them")]
    NullIndex,
    /// Text with a NUL byte, where every reader of HDF5 would cut it.
    #[error("has a NUL character in row {row}, which HDF5 strings cannot hold; remove it")]
    Nul {
        /// Row of the table, or number of the category.
        row: u64,
    },
    /// A batch whose categories are not those of the batches before it, nor an extension of them.
    #[error("has other categories at row {row} than before; unify the dictionaries")]
    CategoriesChanged {
        /// First row of the batch.
        row: u64,
    },
    /// Pandas refuses categories that repeat or are missing.
    #[error("has a missing or repeated category; make the categories unique")]
    BadCategories,
    /// A code without category.
    #[error("has the code {code} in row {row}, but only {n_categories} categories")]
    Code {
        /// Row of the table.
        row: u64,
        /// The code found.
        code: i64,
        /// Number of categories.
        n_categories: usize,
    },
}
