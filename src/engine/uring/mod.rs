//! io_uring: rings, each with a thread that alone touches it.
//!
//! [`rings`] decides how many rings there are and divides submissions among them. A [`ring`] takes its tasks through an
//! [`inbox`]; its [`thread`] starts the reads that its [`window`] allows, through its [`queues`], and waits for results.
//! [`climb`] finds out how large a window the device wants, and [`busy`] whether a second thread would help.

mod busy;
mod climb;
mod config;
mod inbox;
mod queues;
mod ring;
mod rings;
mod setup;
#[cfg(test)]
mod tests;
mod thread;
mod window;

pub(super) use climb::Pace;
pub(super) use config::RingsConfig;
pub(super) use rings::Rings;
pub(crate) use setup::probe_ring;
pub(super) use window::Window;
