//! How a ring is to read, and what the rings of one device have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI8};

use super::climb::Pace;
use super::setup::SharedRegistration;
use super::window::Window;

/// What rings on the same device have in common.
#[derive(Debug, Default)]
pub(super) struct DeviceState {
    /// The level of the window. The first ring of the device finds it out by its own share of the reads; those
    /// that follow take it over, so that none gains by taking reads from another.
    pub(super) level: AtomicI8,
    /// A thread had more to do than it could.
    pub(super) saturated: AtomicBool,
}

/// What the caller wants of the rings.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingsConfig {
    pub(super) window: Window,
    pub(super) pace: Pace,
    pub(super) registered_buffers: bool,
    /// So many rings, and never more.
    pub(super) rings: Option<u32>,
    #[cfg(any(test, feature = "sim"))]
    pub(super) panics_after: Option<u64>,
}

/// What one ring is to do among the others.
#[derive(Clone)]
pub(super) struct RingConfig {
    pub(super) window: Window,
    pub(super) pace: Pace,
    pub(super) registered_buffers: bool,
    /// Has the buffers registered already, for this ring to share.
    pub(super) registration: Option<Arc<SharedRegistration>>,
    pub(super) device: Arc<DeviceState>,
    /// Whether buffers are registered when they are first read into. Not with several rings: each counts what it has registered, and the
    /// limit is to be met before one of them is relied on.
    pub(super) registers_as_used: bool,
    /// The `st_dev` of the files that the ring must be able to read; `None` for any.
    pub(super) device_number: Option<u64>,
    /// Whether this ring decides on the level of its device.
    pub(super) leads: bool,
    /// Has the thread panic after so many reads.
    #[cfg(any(test, feature = "sim"))]
    pub(super) panics_after: Option<u64>,
}
