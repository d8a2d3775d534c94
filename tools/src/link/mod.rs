//! Stores whose values stay in the file that they come from.

mod again;
mod cache;
mod linking;

pub use again::{RelocateReport, refresh, relocate};
pub use cache::{Opened, open};
pub use linking::{LinkOptions, LinkReport, link};
