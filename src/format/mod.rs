#![doc = include_str!("FORMAT.md")]

mod arrow;
#[doc(hidden)]
pub mod caught;
#[doc(hidden)]
pub mod checksum;
pub(crate) mod column;
pub mod constants;
#[doc(hidden)]
pub mod element;
#[doc(hidden)]
pub mod encoding;
mod entries;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod file;
mod hex;
#[doc(hidden)]
pub mod index;
pub(crate) mod json;
pub(crate) mod lazy;
pub mod manifest;
mod map;
pub(crate) mod names;
#[doc(hidden)]
pub mod obs;
mod path;
pub(crate) mod rules;
#[doc(hidden)]
pub mod shard;
pub mod table;
#[doc(hidden)]
pub mod value;
mod var_order;
pub(crate) mod window;

#[doc(hidden)]
pub use element::Element;
pub use encoding::Encoding;
#[doc(hidden)]
pub use error::FormatError;
#[doc(hidden)]
pub use index::Index;
pub use manifest::Manifest;
#[doc(hidden)]
pub use path::explain;
pub(crate) use path::obstacle;
pub use value::{CsrRows, ValueBuffer, ValueType};
#[doc(hidden)]
pub use value::{Number, ValueClass};
pub use var_order::VarOrder;
