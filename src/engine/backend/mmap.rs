//! Copies from a memory map: for files that are in the page cache already.
#![allow(
    unsafe_code,
    reason = "files are mapped here, and the kernel copies from the map to addresses of slots"
)]

use std::io;
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions};

use super::method::{Method, Settings, Started, Variant};
use crate::engine::file::FileSet;
use crate::engine::piece::Piece;
use crate::engine::port::Port;
use crate::engine::refusal::refusal;
use crate::engine::threads::{self, ReadAt};

/// Default number of threads: copying is work for the CPU, not waiting.
const DEFAULT_THREADS: u32 = 4;

#[derive(Debug)]
struct MapReader {
    files: Arc<FileSet>,
    maps: Vec<Mmap>,
}

/// See [`Backend::Mmap`](crate::engine::Backend::Mmap).
pub(super) struct MmapBackend;

impl Method for MmapBackend {
    fn needs_page_cache(&self) -> Option<&'static str> {
        Some("a memory map is page cache; choose backend uring or pread")
    }

    fn describe(&self, _variant: Variant) -> &'static str {
        "copies from a memory map"
    }

    fn start(&self, _variant: Variant, port: Port, settings: &Settings) -> Started {
        let n_threads = settings.threads.unwrap_or(DEFAULT_THREADS);
        match MapReader::new(&port.files) {
            Ok(reader) => threads::start(&port, reader, n_threads, "process_vm_readv from a memory map"),
            Err(e) => Ok(Err(refusal("mapping the files", &e))),
        }
    }
}

impl MapReader {
    /// Maps every file as long as it was when it was opened.
    fn new(files: &Arc<FileSet>) -> io::Result<MapReader> {
        let maps = files.iter().zip(0..).map(|(file, i)| {
            let len_bytes = usize::try_from(files.len_bytes(i).unwrap_or(0)).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "a file larger than the address space",
                )
            })?;
            // SAFETY: the map is only ever read by the kernel, for `copy`, so that another process that writes to the file or cuts
            // it short breaks no rule of the language.
            let map = unsafe { MmapOptions::new().len(len_bytes).map(file) }?;
            if len_bytes > 0 {
                // Without it every fault reads ahead: over a thousand times the bytes asked for.
                map.advise(Advice::Random)?;
            }
            Ok(map)
        });
        Ok(MapReader {
            files: Arc::clone(files),
            maps: maps.collect::<io::Result<_>>()?,
        })
    }
}

impl ReadAt for MapReader {
    fn read_at(&self, piece: &Piece) -> io::Result<u32> {
        let map = &self.maps[piece.file as usize];
        let left = (map.len() as u64).saturating_sub(piece.offset_bytes);
        let wanted = left.min(u64::from(piece.len_bytes)) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        // SAFETY: the offset is inside the map, which is longer.
        let from = unsafe { map.as_ptr().add(piece.offset_bytes as usize) };
        let copied = copy(from, piece.target.as_ptr(), wanted);
        // Asked for after the copy: the page that a cut file ends in has zeros where its bytes were.
        let now_bytes = self.files.file(piece.file).metadata()?.len();
        let there = now_bytes.saturating_sub(piece.offset_bytes).min(wanted as u64) as usize;
        match copied {
            Ok(copied) => Ok(copied.min(there) as u32),
            // The file ends before the piece.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) && there == 0 => Ok(0),
            // The device does not have the page, or there was no memory for it.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                crate::engine::error::errno(-libc::EIO)
            }
            Err(error) => Err(error),
        }
    }
}

/// Has the kernel copy bytes of this process, as many as it can reach: a page that a file has no more is EFAULT for it, where it would
/// be SIGBUS, and the end of the process, for a copy that is made here.
fn copy(from: *const u8, to: *mut u8, len: usize) -> io::Result<usize> {
    let part = |base: *mut u8| libc::iovec {
        iov_base: base.cast(),
        iov_len: len,
    };
    let (from, to) = (part(from.cast_mut()), part(to));
    // SAFETY: the kernel reads `len` bytes of a map, which may change or be gone meanwhile, and writes at most as many to the target,
    // which has room for them and belongs to the caller alone. A process may always read its own memory in this way.
    let copied = unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}
