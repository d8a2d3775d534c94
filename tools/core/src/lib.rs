//! What `cellring` and `cellring-anndata` share, so that neither needs the other.
//!
//! - the table of [element types](ValueType), [buffers](ValueBuffer) of their values and [rows](CsrRows) of a matrix;
//! - [`explain`], which says what is wrong with a path;
//! - [`with_descriptors`], which opens files when many are open;
//! - [`caught`](caught::caught), which keeps panics of other libraries from a terminal;
//! - [`unfinished`], which removes files that were not finished when a process ends;
//! - [`few`], for lists of names in messages;
//! - [`sync_directory`];
//! - setters of configurations.

pub mod caught;
mod descriptors;
mod directory;
mod element;
mod names;
mod path;
mod setters;
pub mod unfinished;
mod value;

pub use descriptors::{allow_most_descriptors, most_descriptors, with_descriptors};
pub use directory::sync_directory;
pub use element::{Element, get, put};
pub use names::{few, few_and_more, first_of};
pub use path::{explain, explain_limit, is_out_of_files, obstacle};
/// What documents of a zarr are called, of version 3 and of 2.
pub const ZARR_DOCUMENTS: [&str; 5] = ["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"];

pub use value::{CsrRows, Number, ValueBuffer, ValueClass, ValueType};
