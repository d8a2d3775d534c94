//! The plots of a report, as SVG.

mod axes;
mod ceilings;
mod diversity;
mod groups;
mod label_places;
mod style;
#[cfg(test)]
mod tests;
mod throughput;

pub(super) use axes::binary;
pub(super) use ceilings::ceilings;
pub(super) use diversity::diversity;
pub(super) use style::Plot;
pub(super) use throughput::{bounds, share_of_ceiling, time_split};
