//! What can be wrong with an AnnData file.

use std::path::PathBuf;

/// Why an AnnData file, or a part of it, was refused.
///
/// `file` is the path on disk, `object` the HDF5 path inside it (`X/indices`, `obs/cell_type/codes`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused a read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// Path of the file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The operating system refused a read of an array.
    #[error("cannot read {object} at offset {offset_bytes} of {}: {source}; copy or download it again if the disk is sound", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// Where in the file.
        offset_bytes: u64,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file does not begin with the HDF5 signature.
    #[error("{} is not an HDF5 file; expected AnnData as .h5ad or zarr, a 10x Genomics .h5 file or a Matrix Market directory", file.display())]
    NotHdf5 {
        /// Path of the file.
        file: PathBuf,
    },
    /// The file is shorter than its own header says.
    #[error(
        "{} is truncated: its header says {expected_bytes} bytes, but it has {found_bytes}; copy or download it again",
        file.display()
    )]
    Truncated {
        /// Path of the file.
        file: PathBuf,
        /// End-of-file address in the superblock.
        expected_bytes: u64,
        /// Length of the file.
        found_bytes: u64,
    },
    /// A structure of the file contradicts itself.
    #[error("{object} in {} cannot be read: {detail}; the file is damaged, so copy or download it again", file.display())]
    Damaged {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the object.
        object: String,
        /// What was found, and what was expected.
        detail: String,
    },
    /// The file is sound, but a part of it is not what AnnData has there.
    #[error("{object} in {} does not follow AnnData's format: {detail}; correct it in the program that wrote the file", file.display())]
    Invalid {
        /// Path of the file.
        file: PathBuf,
        /// Path of the object inside it.
        object: String,
        /// What was found, and what was expected.
        detail: String,
    },
    /// A writer has the file open and holds HDF5's lock on it.
    #[error(
        "{} is locked by another program or a notebook, which may have it open for writing: close it there, or read it as it is with `force_read`, which may miss what was written last",
        file.display()
    )]
    Locked {
        /// Path of the file.
        file: PathBuf,
    },
    /// A writer has the file open, or was killed while it had.
    #[error(
        "{} is still open for writing: a program is writing to it, or was killed while writing; wait until it is done, or if there is none, run `h5clear -s {}` (from hdf5-tools), which may lose what was written last, or read it as it is with `force_read`",
        file.display(), file.display()
    )]
    OpenForWriting {
        /// Path of the file.
        file: PathBuf,
    },
    /// A feature of HDF5 or zarr that is not read.
    #[error("{object} in {} cannot be read: {detail}; {remedy}", file.display())]
    Unsupported {
        /// Path of the file.
        file: PathBuf,
        /// Path of the object inside it.
        object: String,
        /// The feature.
        detail: String,
        /// What to do about it.
        remedy: String,
    },
    /// A group or dataset that must exist does not.
    #[error("{} has no {object}; expected {expected}", file.display())]
    Missing {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the object.
        object: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The selected matrix does not exist.
    #[error("{} has no {wanted}; {available}", file.display())]
    NoMatrix {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the selected matrix.
        wanted: String,
        /// A clause that lists the matrices that do exist.
        available: String,
    },
    /// The matrix is stored in a form that is not read.
    #[error("{object} in {} is {form}, but only csr_matrix, csc_matrix and dense arrays are read; {remedy}", file.display())]
    UnsupportedMatrix {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the matrix.
        object: String,
        /// The form that was found.
        form: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A data frame of `obsm` that is not a matrix because of one of its columns.
    #[error(
        "column {column:?} of {object} in {} {problem}, so the data frame cannot be read as a matrix; drop or convert the column in anndata, or leave {object} out",
        file.display()
    )]
    FrameColumn {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the data frame.
        object: String,
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A data frame of `obsm` that is not a matrix.
    #[error("{object} in {} is a data frame that cannot be read as a matrix: {problem}", file.display())]
    Frame {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the data frame.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A data frame is stored in a form that is not read.
    #[error(
        "{object} in {} is {form}, but only data frames of encoding 0.1.0 and 0.2.0 and tables of records are read; write it again as a pandas DataFrame with a current anndata",
        file.display()
    )]
    UnsupportedTable {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the data frame.
        object: String,
        /// The form that was found.
        form: String,
    },
    /// A dataset is compressed with a filter that is not read.
    #[error(
        "{object} in {} is stored with HDF5 filter {id} ({name}), but only deflate (gzip), lzf, zstd, lz4, blosc, bitshuffle, shuffle and fletcher32 are read; open it with anndata (after import hdf5plugin, if h5py lacks the filter) and write it again with compression=\"gzip\"",
        file.display()
    )]
    UnsupportedFilter {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// Registered number of the filter.
        id: u16,
        /// Name of the filter.
        name: String,
    },
    /// A dataset has an element type that its role does not allow.
    #[error("{object} in {} holds {found}, expected {expected}; convert it with numpy's astype and write the file again", file.display())]
    UnsupportedElement {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// The element type that was found.
        found: String,
        /// The element types that are read.
        expected: &'static str,
    },
    /// `indptr` does not describe the rows of the matrix.
    #[error("{object} in {} is not a valid indptr: element {position} is {found}, expected {expected}; the matrix is damaged, or was written with integers too narrow for it; write it again from its source", file.display())]
    Indptr {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// Element that breaks the rule.
        position: u64,
        /// Its value.
        found: i128,
        /// The rule.
        expected: String,
    },
    /// A column index is not a column of the matrix.
    #[error("{object} in {} is out of range: element {position} (row {row}) is {found}, expected 0 to {}; the matrix is damaged", file.display(), n_vars.saturating_sub(1))]
    IndexRange {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// Row (obs) of the matrix.
        row: u64,
        /// Element of the dataset.
        position: u64,
        /// Its value.
        found: i128,
        /// Number of columns of the matrix.
        n_vars: u64,
    },
    /// The input is not what it was when the conversion began.
    #[error("{} changed while it was read, so what was read does not fit together; do it again when nothing is writing to it", file.display())]
    Changed {
        /// The input.
        file: PathBuf,
    },
    /// An array has more dimensions than are read.
    #[error("{object} in {} has {found} dimensions, at most {limit} are read; convert it as a layer", file.display())]
    Dimensions {
        /// The input.
        file: PathBuf,
        /// Path of the array.
        object: String,
        /// Its dimensions.
        found: u64,
        /// What is read.
        limit: u64,
    },
    /// A row index of a matrix that is stored by columns is not a row of it.
    #[error("{object} in {} is out of range: element {position} (column {column}) is {found}, expected 0 to {}; the matrix is damaged", file.display(), n_obs.saturating_sub(1))]
    RowIndexRange {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the dataset.
        object: String,
        /// Column (var) of the matrix.
        column: u64,
        /// Element of the dataset.
        position: u64,
        /// Its value.
        found: i128,
        /// Number of rows of the matrix.
        n_obs: u64,
    },
    /// The disk has no room for the temporary file that a matrix stored by columns is turned in.
    #[error(
        "{} has {} MiB free, but a temporary file there of at least {} MiB is needed to turn the matrix into rows; free some space or choose another disk for the output",
        directory.display(), free_bytes >> 20, needed_bytes.div_ceil(1 << 20)
    )]
    NoRoom {
        /// Where the temporary file was to be.
        directory: PathBuf,
        /// What it takes at least.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The temporary file that a matrix is turned in cannot be written or read.
    #[error("a temporary file in {} failed while rows were put into order: {source}; free some space or choose another disk for the output", directory.display())]
    Spill {
        /// Where the temporary file is.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Summing the duplicate entries of one cell of the matrix left the range of the value type.
    #[error("{object} in {} has duplicate entries at row {row}, column {column} whose sum does not fit {value_type}; sum them in a wider type first", file.display())]
    DuplicateOverflow {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the matrix.
        object: String,
        /// Row (obs).
        row: u64,
        /// Column (var).
        column: u32,
        /// numpy name of the value type.
        value_type: &'static str,
    },
    /// A row has more stored entries than are read at once.
    #[error("{object} in {} has {nnz} stored entries in row {row}, expected at most {limit}; the matrix is damaged or not cells by genes", file.display())]
    RowTooLong {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the matrix.
        object: String,
        /// Row (obs).
        row: u64,
        /// Its stored entries.
        nnz: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A code of a categorical column names no category.
    #[error("{object} in {} has code {found} in row {row}, expected -1 (missing) to {}; the column is damaged: repair its categories, or leave it out with `obs_columns`", file.display(), *n_categories as i128 - 1)]
    CategoryCode {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the codes.
        object: String,
        /// Row of the table.
        row: u64,
        /// The code.
        found: i128,
        /// Number of categories.
        n_categories: u64,
    },
    /// A string is not valid UTF-8.
    #[error("{object} in {} is not UTF-8 in row {row}; f[\"{object}\"].asstr(\"latin-1\")[:] of h5py decodes it if that is its encoding, so that it can be written again", file.display())]
    NotUtf8 {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the strings.
        object: String,
        /// Row of the table, or position of the category.
        row: u64,
    },
    /// The strings of one column exceed what one record batch holds.
    #[error("{object} in {} has more than 2 GiB of text in rows {start} to {end}; read fewer rows at a time", file.display())]
    TextTooLong {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the strings.
        object: String,
        /// First row.
        start: u64,
        /// Row after the last one.
        end: u64,
    },
    /// Rows that come from elsewhere than a file cannot be read.
    #[error(transparent)]
    Rows(Box<dyn std::error::Error + Send + Sync>),
    /// Several inputs make no one.
    #[error(transparent)]
    Join(Box<super::join::JoinError>),
    /// Rows were asked for that do not exist.
    #[error("rows {start} to {end} of {object} in {} were asked for, but it has {n_rows} rows", file.display())]
    RowRange {
        /// Path of the file.
        file: PathBuf,
        /// HDF5 path of the table or matrix.
        object: String,
        /// First row.
        start: u64,
        /// Row after the last one.
        end: u64,
        /// Number of rows.
        n_rows: u64,
    },
    /// The input is of a kind that is known, but not read.
    #[error("{} is {form}; {remedy}", file.display())]
    Foreign {
        /// The input.
        file: PathBuf,
        /// What it is.
        form: String,
        /// What to do about it.
        remedy: String,
    },
    /// The input holds several things of which one must be chosen.
    #[error("{} holds {found}; {remedy}", file.display())]
    Choice {
        /// The input.
        file: PathBuf,
        /// What there is to choose from.
        found: String,
        /// How to choose.
        remedy: String,
    },
    /// An option does not apply to the input, or names nothing in it.
    #[error("{option} does not apply to {}: {detail}", file.display())]
    Inapplicable {
        /// The input.
        file: PathBuf,
        /// The field of [`OpenOptions`](crate::OpenOptions), in backticks.
        option: &'static str,
        /// Why not, and what there is.
        detail: String,
    },
    /// A line of a text file cannot be read.
    #[error("line {number} of {} cannot be read: {detail}; correct it, or download the file again if it was cut off", file.display())]
    Line {
        /// Path of the file.
        file: PathBuf,
        /// Number of the line, from 1 on.
        number: u64,
        /// What was found, and what was expected.
        detail: String,
    },
}

impl From<super::join::JoinError> for ReadError {
    fn from(error: super::join::JoinError) -> Self {
        Self::Join(Box::new(error))
    }
}

/// Result of reading an AnnData file.
pub type Result<T> = std::result::Result<T, ReadError>;
