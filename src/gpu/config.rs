//! How data is copied to the device, and what has been copied.

use cellring_core::setters;

/// How data is copied to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagerConfig {
    /// Stages, each with its own memory on the device: while one is used, the next are filled. 2 or 3 hide the copies.
    pub n_stages: usize,
    /// Copies are not shorter than this many bytes, unless a stage is. Arrays that are shorter are gathered on the host first,
    /// and so are several minibatches to one stage. (Arrays of less than 32 KiB are not page-locked: units below that gain nothing.)
    pub unit_bytes: usize,
    /// Whether another stage is made while all are in use, rather than refused: for consumers that keep what they get as long as they
    /// like. Only the device's memory bounds it.
    pub grow: bool,
}

impl StagerConfig {
    setters! {
        n_stages: as usize,
        unit_bytes: as usize,
        grow: as bool,
    }

    /// 3 stages and no more, units of 1 MiB.
    pub const DEFAULT: Self = Self {
        n_stages: 3,
        unit_bytes: 1 << 20,
        grow: false,
    };
}

impl Default for StagerConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What has been copied so far, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyStats {
    /// Copies that the driver was asked for.
    pub copies: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes that were gathered on the host first.
    pub gathered_bytes: u64,
    /// Stages filled.
    pub stages: u64,
    /// Nanoseconds from the begin of the first to the end of the last copy of a stage, by the device's clock, summed over stages
    /// that are done.
    pub copy_ns: u64,
    /// Nanoseconds in which the caller waited for a stage's earlier copy.
    pub wait_ns: u64,
}
