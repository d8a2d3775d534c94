//! The raw encoding: a block is a CSR matrix as it is in memory (`FORMAT.md`, section 6).

mod codec;
mod decode;
mod encode;
mod layout;
mod verify;
mod view;

pub(crate) use codec::RawCodec;
pub use layout::{RawLayout, index_bytes};
pub use view::block_view;
