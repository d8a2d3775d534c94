//! How diverse minibatches are: measured on the plan, expected by theory.

mod labels;
mod measured;
mod report;
mod theory;

pub(crate) use labels::Labels;
pub(crate) use report::{Diversity, Question};
