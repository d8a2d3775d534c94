//! Linked stores: their values are in the files that they come from, and are read there.
//!
//! ```text
//!   format::linked    how many values each obs has, and where the file has which of them
//!         |
//!   Link              the open index, its inputs, and their open files          (link, input, array, sources)
//!         |
//!   stored            where which elements of the arrays lie
//!         |
//!   plan              rows that are wanted -> reads in batches, one slot each
//!         |           ... read by an engine, or by pread ...
//!   stage             a batch that is there -> chunks inflated, the wanted pieces of them as parts of rows, narrow
//!         |
//!   rows              parts -> rows; those that are not canonical are made so
//! ```
//!
//! A chunk is inflated once for all rows of a fetch that have values in it, into memory of the thread that does it, and given up when the
//! wanted pieces have been taken. One that is compressed with zstd alone is decoded only as far as the last of them, on average about half
//! of it; of one of blosc only the blocks that hold some of them. So a fetch needs the memory of its rows, narrow, and not that of their chunks.

pub(crate) mod array;
mod canonical;
mod error;
pub(crate) mod identity;
mod input;
mod link;
mod narrow;
pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod sources;
pub(crate) mod stage;
mod stored;

pub(crate) use canonical::Entries;
pub use error::LinkedError;
pub(crate) use link::Link;
pub(crate) use sources::FileId;
