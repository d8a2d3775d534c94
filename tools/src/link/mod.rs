//! Stores whose values stay in the file that they come from.

mod cache;
mod linking;
mod relink;

pub use cache::{Opened, open, open_existing};
pub use linking::{LinkOptions, LinkReport, link};
pub use relink::{RelocateReport, refresh, relocate};
