//! Groups of options that several commands share.

mod filter;
mod inputs;
mod join;
mod lists;
mod minibatch;
mod notes;
mod read;
mod sampler;
mod seconds;
mod store;
mod strategy;
mod subset;

pub(crate) use inputs::{InputArgs, MatrixArgs};
pub(crate) use join::JoinArgs;
pub(crate) use minibatch::OutputArgs;
pub(crate) use read::{BackendName, ReadArgs};
pub(crate) use sampler::{OrderArgs, SamplerArgs};
pub(crate) use seconds::parse_seconds;
pub(crate) use store::StoreArg;
pub(crate) use subset::SubsetArgs;
