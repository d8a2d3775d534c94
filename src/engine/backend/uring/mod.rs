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
mod regions;
mod ring;
mod rings;
mod setup;
#[cfg(test)]
mod tests;
mod thread;
mod window;

use super::method::{Method, Settings, Started, Variant};
use crate::engine::port::{Io, Port};
use climb::Pace;
use config::RingsConfig;
use rings::Rings;
use window::Window;

pub(crate) use setup::probe_ring;

/// See [`Backend::Uring`](crate::engine::Backend::Uring).
pub(super) struct UringBackend;

impl Method for UringBackend {
    fn variants(&self, direct: bool, settings: &Settings) -> Vec<Variant> {
        let with = |registered_buffers| Variant {
            direct,
            registered_buffers,
        };
        if settings.no_registered_buffers {
            vec![with(false)]
        } else {
            vec![with(true), with(false)]
        }
    }

    fn describe(&self, variant: Variant) -> &'static str {
        if variant.registered_buffers {
            "io_uring with registered buffers"
        } else {
            "io_uring without registered buffers"
        }
    }

    fn start(&self, variant: Variant, port: Port, settings: &Settings) -> Started {
        let config = RingsConfig {
            window: Window::new(settings.depth),
            pace: pace(settings),
            registered_buffers: variant.registered_buffers,
            rings: settings.rings,
            #[cfg(any(test, feature = "sim"))]
            panics_after: settings.panics_after,
        };
        Ok(Rings::start(port, config)?.map(|rings| Box::new(rings) as Box<dyn Io>))
    }
}

fn pace(settings: &Settings) -> Pace {
    #[cfg(any(test, feature = "sim"))]
    if settings.is_hasty {
        return Pace::HASTY;
    }
    let _ = settings;
    Pace::USUAL
}
