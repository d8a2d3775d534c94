//! The index of a linked store: how many values each obs has, and where in other files they lie (`FORMAT.md`, section 12).
//!
//! The obs of a matrix are those of one input, or of several, one input after the other. The values of an input are two arrays, columns and
//! values, one obs after the other. An obs is a range of them; the index gives the number of values of each obs, the start of every 64th,
//! and the extents of the arrays.

mod array;
mod bytes;
mod description;
mod extent;
mod file;
mod input;
mod layout;

pub(crate) use array::{ArrayLayout, ArrayRole, LinkedArray};
pub(crate) use description::{Description, Totals};
pub(crate) use extent::{EXTENT_BYTES, Extent};
pub use extent::{SourceChunk, SourceRun};
pub(crate) use file::{LinkedFile, MAX_PIECES_BYTES, Piece};
pub(crate) use input::{ColumnMap, LinkedInput};
pub(crate) use layout::{CHECKSUM_BYTES, GROUP_OBS, LinkedLayout, count_bytes};
