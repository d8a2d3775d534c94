//! Measures the loader beside what bounds it, and a device alone; draws the results.

pub(crate) mod ceiling;
mod conversion;
pub(crate) mod drive;
pub(crate) mod gpu;
pub(crate) mod page;
mod page_cache;
mod plots;
pub(crate) mod raw;
mod report;
mod request;
pub(crate) mod sweep;
mod too_small;

pub(crate) use request::Request;
pub(crate) use too_small::too_small;
