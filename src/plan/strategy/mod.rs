//! The strategies: one file each, its data inside it.

mod balanced;
mod block_shuffle;
mod custom;
mod grouped;
mod method;
mod sequential;
mod weighted;

pub use balanced::Balanced;
pub use custom::Custom;
pub use grouped::{Controls, Grouped};
pub use weighted::Weighted;

pub(super) use method::{Method, Prepared, check_len};

pub(super) use block_shuffle::BlockShuffle;
pub(super) use sequential::Sequential;
