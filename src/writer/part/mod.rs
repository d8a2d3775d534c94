//! A part of a store: a stretch of its blocks, written apart from the others, and what is needed to put them together.
//!
//! A part is a directory of its own: shards whose headers are still zero, `index.part` (the index's records, then its ends, then
//! its details, 4 bytes each; shards counted from 0), `var.arrow` whole, and `obs.arrow` with those record batches of the store's
//! table that begin within the part. `part.json` tells about them and ends with a checksum as a manifest does.

mod finish;
mod manifest;
pub(super) mod names;

pub use manifest::{Part, PartManifest, part_table_rows};
pub(super) use names::is_part_of;
pub use names::{part_path, parts_of};
