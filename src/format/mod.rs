#![doc = include_str!("FORMAT.md")]

pub mod checksum;
pub mod constants;
pub mod element;
pub mod error;
pub mod index;
pub mod manifest;
pub(crate) mod names;
pub mod obs;
pub mod packed;
pub mod raw;
mod readahead;
pub mod shard;
pub mod table;
pub mod value;

pub use element::Element;
pub use error::FormatError;
pub use index::Index;
pub use manifest::{Encoding, Manifest, VarOrder};
pub use value::{CsrRows, ValueBuffer, ValueType};
