//! Stores whose values stay in the file that they come from.

mod before;
mod cache;
mod files;
mod linking;
mod relink;

pub(crate) use cache::is_input;
pub use cache::{Opened, open, open_existing};
pub use linking::{LinkOptions, LinkReport, link};
pub use relink::{RelocateReport, refresh, relocate};
