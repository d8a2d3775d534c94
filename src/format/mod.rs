//! The store format.

pub mod value;

pub use value::{CsrRows, ValueBuffer, ValueType};
