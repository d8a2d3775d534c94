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
    /// Prepares the regions of a pool to be registered one by one, beginning with the first, a small one that proves that registering
    /// works. All at once where the kernel knows no empty places in its table (before Linux 5.19), and where memory that may be locked is
    /// short, so that it is refused now.
    ///
    /// # Errors
    /// One clause that says what was refused.
    ///
    /// # Safety
    /// The pool must outlive the registration: until the ring is gone or the buffers are unregistered.
    pub(super) unsafe fn register(submitter: &Submitter<'_>, pool: &Pool) -> Result<Self, String> {
        let (n_regions, bytes) = pool
            .regions()
            .fold((0, 0), |(n, sum), (_, len)| (n + 1, sum + len));
        if may_lock(bytes as u64) && submitter.register_buffers_sparse(n_regions as u32).is_ok() {
            let mut regions = Self::Used {
                is_registered: vec![false; n_regions],
                is_refused: false,
            };
            // SAFETY: as the caller promises.
            if unsafe { regions.holds(0, submitter, pool) } {
                return Ok(regions);
            }
            let _ = submitter.unregister_buffers();
        }
        // SAFETY: as the caller promises.
        match unsafe { register_buffers(submitter, pool) } {
            Ok(()) => Ok(Self::All),
            Err(error) => {
                let kib = bytes.div_ceil(1024);
                let step = format!("registering {kib} KiB of buffers with io_uring");
                Err(refusal(&step, &error))
            }
        }
    }

    /// Whether reads into this region may name a registered buffer. Registers it if that is to be tried.
    ///
    /// # Safety
    /// As [`register`](Self::register).
    pub(super) unsafe fn holds(&mut self, region: u16, submitter: &Submitter<'_>, pool: &Pool) -> bool {
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
                    *is_registered = unsafe { register_region(submitter, pool, region) }.is_ok();
                    *is_refused = !*is_registered;
                }
                *is_registered
            }
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
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
