//! Several inputs as one: the obs of all, one after the other, over one list of genes.
//!
//! - **Genes** are identified by their names, or by a column of var. With [`VarJoin::Same`] all inputs must have the same ones,
//!   in any order; [`VarJoin::Inner`] takes those that all have, [`VarJoin::Outer`] those that any has. They come in the
//!   order in which they are met. A gene that an input lacks is zero in its rows. Where all inputs have equal lists, nothing
//!   is matched, so that names may repeat; else a gene that is taken must occur once in each input.
//! - **Values** of the matrix become the narrowest type that holds those of all inputs: `u8` and `i8` are `i16`, `i32` and
//!   `f32` are `f64`. 64-bit integers beside floats become `f64`, `u64` beside signed integers `i64`; a value that these do
//!   not hold exactly is refused by its place.
//! - **Columns of obs**: all that any input has, in the order in which they are met; missing values where an input has none
//!   (so integers and booleans become nullable; floats and categories have missing values as they are). Types are
//!   united as those of the matrix; numbers, booleans and texts are never mixed, but refused (but for the index, whose names
//!   become texts then, as in anndata). Categories are merged in the
//!   order in which they are met; ordered ones stay ordered where one input's list holds all others in its order, else
//!   they lose the order, with a warning. Categories beside plain values become plain, with a warning.
//! - **Columns of var**: all that any input has, where the inputs agree on the values of the genes they share. Others are
//!   left out, with a warning that names them: they tell of an input, not of a gene. (`anndata.concat` leaves out all but
//!   what `merge` asks for.)
//! - Names of obs may repeat, with a warning; a suffix makes them unique.
//!
//! Inputs are opened when their rows are read, and closed again: hundreds cost no more memory than their category labels,
//! lists of genes and four bytes per obs.

mod columns;
mod error;
mod joined;
pub(crate) mod names;
mod options;
mod repeats;
mod shared;
pub(crate) mod unify;
mod vars;

pub use error::JoinError;
pub use options::{JoinOptions, VarJoin};

pub(crate) use joined::Joined;
pub(crate) use vars::NOT_KEPT;
