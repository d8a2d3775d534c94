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

mod axis;
mod check;
mod column;
mod compress;
mod dataframe;
mod error;
mod frame;
mod hdf5;
mod lzf;
mod matrix;
mod options;
mod output;
mod purpose;
mod queue;
mod spec;
mod stream;
mod table;
pub(crate) mod temporary;
mod text;
mod tree;
mod writer;
mod zarr;
mod zarr_names;

pub use axis::Axis;
pub use check::TableCheck;
pub use compress::Compression;
pub use error::{ColumnFault, ColumnProblem, WriteError, WriteErrorKind};
pub use options::{Container, WriteOptions, ZarrFormat};
pub use spec::{Form, MatrixSpec, Place};
pub use table::TableWriter;
pub use writer::AnnDataWriter;

pub(crate) use check::{category_keys, is_column_name};
