//! Stores whose values stay in the file that they come from.

mod cache;
mod linking;

pub use cache::{Opened, open};
pub use linking::{LinkOptions, LinkReport, link};
