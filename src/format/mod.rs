#![doc = include_str!("FORMAT.md")]

mod arrow;
#[doc(hidden)]
pub mod checksum;
pub(crate) mod column;
pub mod constants;
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
pub(crate) mod linked;
pub(crate) mod linked_id;
pub mod manifest;
pub(crate) mod names;
#[doc(hidden)]
pub mod obs;
pub(crate) mod pieces;
pub(crate) mod rules;
#[doc(hidden)]
pub mod shard;
pub mod table;
#[doc(hidden)]
pub mod table_writer;
mod var_order;
pub(crate) mod window;

#[doc(inline)]
pub use cellring_core::{CsrRows, ValueBuffer, ValueType};
#[doc(hidden)]
pub use cellring_core::{Element, Number, ValueClass, caught, explain};
pub use encoding::Encoding;
#[doc(hidden)]
pub use error::FormatError;
#[doc(hidden)]
pub use index::Index;
pub use manifest::Manifest;
pub use var_order::VarOrder;
