#![doc = include_str!("FORMAT.md")]

mod arrow;
#[doc(hidden)]
pub mod caught;
pub mod checksum;
pub mod constants;
pub mod element;
pub mod error;
pub mod file;
pub mod index;
pub(crate) mod json;
pub mod manifest;
pub(crate) mod names;
pub mod obs;
pub mod packed;
mod path;
pub mod raw;
mod readahead;
pub(crate) mod rules;
pub mod shard;
pub mod table;
pub mod value;

pub use element::Element;
pub use error::FormatError;
pub use index::Index;
pub use manifest::{Encoding, Manifest, VarOrder};
pub use path::explain;
pub(crate) use path::obstacle;
pub use value::{CsrRows, ValueBuffer, ValueType};
