#![doc = include_str!("FORMAT.md")]

mod arrow;
#[doc(hidden)]
pub mod caught;
pub mod checksum;
pub(crate) mod column;
pub mod constants;
pub mod element;
pub mod encoding;
mod entries;
pub mod error;
pub mod file;
mod hex;
pub mod index;
pub(crate) mod json;
pub(crate) mod lazy;
pub mod manifest;
mod map;
pub(crate) mod names;
pub mod obs;
mod path;
pub(crate) mod rules;
pub mod shard;
pub mod table;
pub mod value;
mod var_order;
pub(crate) mod window;

pub use element::Element;
pub use encoding::Encoding;
pub use error::FormatError;
pub use index::Index;
pub use manifest::Manifest;
pub use path::explain;
pub(crate) use path::obstacle;
pub use value::{CsrRows, Number, ValueBuffer, ValueClass, ValueType};
pub use var_order::VarOrder;
