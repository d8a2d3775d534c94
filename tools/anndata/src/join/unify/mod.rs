//! One type for the values of a column that several inputs have, or that a store and what is appended to it have, and values brought
//! into a type: exactly, or not at all.

mod cast;
mod categories;
mod codes;
mod keys;
#[cfg(test)]
mod tests;
mod types;

pub use cast::{CastError, cast};
pub use categories::{Categories, code_type, coded_as, union};
pub use codes::codes_of;
pub use types::value_type;

pub(crate) use categories::{coded, merge, recoded};
pub(crate) use keys::{Key, keys};
pub(crate) use types::unify;
