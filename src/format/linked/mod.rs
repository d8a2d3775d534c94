//! The index of a linked store: how many values each obs has, and where in other files they lie (`FORMAT.md`, section 12).
//!
//! The values of all obs are two arrays of the source, columns and values, one obs after the other. An obs is a range of them; the
//! index gives the number of values of each obs, the start of every 64th, and the extents of both arrays.

mod bytes;
mod description;
mod extent;
mod layout;

pub(crate) use description::{ArrayRole, Description, LinkedArray, LinkedFile, Shape};
pub(crate) use extent::{Chunk, EXTENT_BYTES, Extent, Run};
pub(crate) use layout::{GROUP_OBS, LinkedLayout, count_bytes};
