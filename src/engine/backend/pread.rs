//! pread(2), past or through the page cache.
#![allow(
    unsafe_code,
    reason = "the standard library reads into slices, and a target is an address"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::method::{Method, Settings, Started, Variant};
use crate::engine::file::FileSet;
use crate::engine::piece::Piece;
use crate::engine::port::Port;
use crate::engine::threads::{self, ReadAt};

/// Default number of threads: each waits for one read at a time, so that this is the queue depth too.
const DEFAULT_THREADS: u32 = 8;

#[derive(Debug)]
pub(in crate::engine) struct Pread {
    pub(in crate::engine) files: Arc<FileSet>,
    /// Reads that are left until one panics.
    #[cfg(any(test, feature = "sim"))]
    pub(in crate::engine) panics_after: Option<std::sync::atomic::AtomicI64>,
}

/// See [`Backend::Pread`](crate::engine::Backend::Pread).
pub(super) struct PreadBackend;

impl Method for PreadBackend {
    fn describe(&self, _variant: Variant) -> &'static str {
        "pread by several threads"
    }

    fn start(&self, variant: Variant, port: Port, settings: &Settings) -> Started {
        let reader = Pread {
            files: Arc::clone(&port.files),
            #[cfg(any(test, feature = "sim"))]
            panics_after: settings
                .panics_after
                .map(|n| n.try_into().unwrap_or(i64::MAX).into()),
        };
        let step = if variant.direct {
            "pread with O_DIRECT"
        } else {
            "pread"
        };
        threads::start(&port, reader, settings.threads.unwrap_or(DEFAULT_THREADS), step)
    }
}

impl ReadAt for Pread {
    fn read_at(&self, piece: &Piece) -> io::Result<u32> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(left) = &self.panics_after {
            let left = left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            assert!(left > 0, "as the test wants it");
        }
        let fd = self.files.file(piece.file).as_raw_fd();
        let offset = libc::off_t::try_from(piece.offset_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an offset beyond 2^63"))?;
        // SAFETY: the target is `len_bytes` of a slot that `InFlight` owns and lends to this call alone.
        let read = unsafe { libc::pread(fd, piece.target.as_ptr().cast(), piece.len_bytes as usize, offset) };
        // A count fits 32 bits because the length does; only -1 does not.
        u32::try_from(read).map_err(|_| io::Error::last_os_error())
    }
}
