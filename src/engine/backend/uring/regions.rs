//! Which parts of a pool's memory are registered with a ring.
//!
//! Registering pins the pages of a buffer, and has the kernel allocate and clear those that were never touched: tens of milliseconds
//! for the whole budget of a loader. So a ring registers a region when it first reads into it: an epoch starts sooner, and memory
//! that is never used is never taken.
#![allow(
    unsafe_code,
    reason = "registering memory with a ring is unsafe wherever it is done"
)]

use std::io;

use io_uring::Submitter;

use crate::buffer::Pool;
use crate::engine::refusal::{may_lock, refusal};

/// The kernel counts whole huge pages, and the ring itself.
const SPARE_BYTES: usize = 4 << 20;

/// What is registered.
pub(super) enum Regions {
    None,
    /// All of the pool, from the start.
    All,
    /// Those that have been read into.
    Used {
        is_registered: Vec<bool>,
        /// The kernel has refused one: no other is tried, and reads into them go without.
        is_refused: bool,
    },
}

impl Regions {
    /// Registers the first region of a pool, a small one that proves that it works; the others follow `as_used`. All at once if not, where
    /// the kernel knows no empty places in its table (before Linux 5.19), and where memory that may be locked is short, so that it
    /// is refused now.
    ///
    /// # Errors
    /// One clause that says what was refused.
    ///
    /// # Safety
    /// The pool must outlive the registration: until the ring is gone or the buffers are unregistered.
    pub(super) unsafe fn register(
        submitter: &Submitter<'_>,
        pool: &Pool,
        as_used: bool,
    ) -> Result<Self, String> {
        let (n_regions, bytes) = pool
            .regions()
            .fold((0, 0), |(n, sum), (_, len)| (n + 1, sum + len));
        if as_used
            && may_lock((bytes + SPARE_BYTES) as u64)
            && submitter.register_buffers_sparse(n_regions as u32).is_ok()
        {
            let mut regions = Self::Used {
                is_registered: vec![false; n_regions],
                is_refused: false,
            };
            // SAFETY: as the caller promises.
            if unsafe { regions.ensure(0, submitter, pool) } {
                return Ok(regions);
            }
            let _ = submitter.unregister_buffers();
        }
        // SAFETY: as the caller promises.
        unsafe { register_buffers(submitter, pool) }
            .map(|()| Self::All)
            .map_err(|error| refused(bytes, &error))
    }

    /// Registers a region if it is to be, and is not yet. Whether reads into it may name a registered buffer.
    ///
    /// # Safety
    /// As [`register`](Self::register), whose ring and pool these must be.
    pub(super) unsafe fn ensure(&mut self, region: u16, submitter: &Submitter<'_>, pool: &Pool) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Used {
                is_registered,
                is_refused,
            } => {
                let is_registered = &mut is_registered[usize::from(region)];
                if !*is_registered && !*is_refused {
                    // SAFETY: as the caller promises.
                    match unsafe { register_region(submitter, pool, region) } {
                        Ok(()) => *is_registered = true,
                        Err(error) => {
                            *is_refused = true;
                            let bytes = pool.slot_bytes();
                            tracing::warn!("{}; reads go on without", refused(bytes, &error));
                        }
                    }
                }
                *is_registered
            }
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

fn refused(bytes: usize, error: &io::Error) -> String {
    let kib = bytes.div_ceil(1024);
    refusal(&format!("registering {kib} KiB of buffers with io_uring"), error)
}

/// Registers the memory of a pool, region by region, so that a target's region is the index of its buffer.
///
/// # Safety
/// The pool must outlive the registration: until the ring is gone or the buffers are unregistered.
pub(super) unsafe fn register_buffers(submitter: &Submitter<'_>, pool: &Pool) -> io::Result<()> {
    let regions: Vec<_> = (pool.regions())
        .map(|(start, len)| libc::iovec {
            iov_base: start.as_ptr().cast(),
            iov_len: len,
        })
        .collect();
    // SAFETY: the regions are parts of the pool's mapping, which the caller promises to keep.
    unsafe { submitter.register_buffers(&regions) }
}

/// Registers one region of a pool, in its place of a table that was empty there.
///
/// # Safety
/// As [`register_buffers`].
unsafe fn register_region(submitter: &Submitter<'_>, pool: &Pool, region: u16) -> io::Result<()> {
    let found = pool.regions().nth(region.into());
    let (start, len) = found.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let buffer = libc::iovec {
        iov_base: start.as_ptr().cast(),
        iov_len: len,
    };
    // SAFETY: the region is a part of the pool's mapping, which the caller promises to keep.
    unsafe { submitter.register_buffers_update(region.into(), &[buffer], None) }
}
