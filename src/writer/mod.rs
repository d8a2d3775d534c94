//! Writes stores: encodes rows into blocks, packs them into shards, and publishes the whole in one step.
//!
//! The order of use: [`StoreWriter::create`]; [`BlockEncoder::encode`], on as many threads as the caller likes;
//! [`StoreWriter::append`], in the order of the blocks; [`StoreWriter::write_table`] for `obs` and `var`;
//! [`StoreWriter::finish`]. A writer that is dropped before that leaves nothing behind.
//!
//! Other matrices of the same obs have writers of their own ([`StoreWriter::begin_matrix`]), which are filled in the same way and
//! handed back ([`StoreWriter::add_matrix`]) before the store is finished.
//!
//! A [`LinkedWriter`] makes a store whose values stay in the file that they come from; [`relocate`] tells it that the file was moved.
//!
//! A store may be made in parts, each by a writer of its own that ends with [`StoreWriter::finish_part`], and put together by
//! [`merge`]. [`StoreAppender`] adds obs to a store that is there.

mod append;
mod block;
mod complete;
mod error;
mod foreign;
mod link;
mod linked_index;
mod linked_source;
mod linked_writer;
mod lock;
mod merge;
mod options;
mod part;
mod paths;
mod publish;
mod relocate;
mod rename;
mod reorder;
mod shards;
mod sink;
mod spool;
mod store_writer;
mod stripe;
mod sync;
mod table;

pub use crate::format::linked::{SourceChunk, SourceRun};
pub use append::StoreAppender;
#[doc(hidden)]
pub use block::EncodeError;
pub use block::{BlockEncoder, EncodedBlock};
#[doc(hidden)]
pub use cellring_core::{sync_directory, unfinished};
#[doc(hidden)]
pub use error::WriteError;
pub use linked_index::row_checksums;
pub use linked_source::{SourceArray, SourceInput, SourceLayout, SourceMatrix};
pub use linked_writer::LinkedWriter;
#[doc(hidden)]
pub use linked_writer::settle;
#[doc(hidden)]
pub use lock::is_abandoned_directory as is_abandoned;
pub use merge::{Merged, merge};
pub use options::WriterOptions;
pub use part::{Part, PartManifest, part_path};
#[doc(hidden)]
pub use part::{part_table_rows, parts_of};
#[doc(hidden)]
pub use publish::{check_directory, check_target, recover};
pub use relocate::{Relocation, relocate};
#[doc(hidden)]
pub use reorder::RowSorter;
pub use store_writer::StoreWriter;
pub use table::TableKind;
