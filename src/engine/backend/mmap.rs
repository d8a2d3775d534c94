//! Copies from a memory map: for files that are in the page cache already.
#![allow(
    unsafe_code,
    reason = "files are mapped here, and copied from the map to addresses of slots"
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
            Ok(reader) => threads::start(&port, reader, n_threads, "reading from a memory map"),
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
            // SAFETY: the map is only ever read by the copy in `read_at`, which makes no reference to it, so
            // that another process that writes to the file breaks no rule of the language. One that cuts it
            // short is dealt with there.
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
        let now_bytes = self
            .files
            .file(piece.file)
            .metadata()?
            .len()
            .min(map.len() as u64);
        let len = u64::from(piece.len_bytes).min(now_bytes.saturating_sub(piece.offset_bytes)) as usize;
        if len == 0 {
            return Ok(0);
        }
        let offset = piece.offset_bytes as usize;
        // Touching a page that the file or the device does not have ends the process with SIGBUS; populating
        // it first fails instead, and costs less than a fault for every few pages. A file that is cut short
        // between this and the copy still does: the price of a map, which `Backend::Mmap` states. Kernels
        // before 5.14 do not know the call.
        match map.advise_range(Advice::PopulateRead, offset, len) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => (),
            Err(e) if e.raw_os_error() == Some(libc::EFAULT) => {
                let cut = self.files.file(piece.file).metadata()?.len() < (offset + len) as u64;
                return if cut {
                    Ok(0)
                } else {
                    crate::engine::error::errno(-libc::EIO)
                };
            }
            other => other?,
        }
        // SAFETY: `offset + len` lies inside the map, and the target has room for the piece's length, belongs
        // to this call alone, and is no part of the map.
        unsafe {
            map.as_ptr()
                .add(offset)
                .copy_to_nonoverlapping(piece.target.as_ptr(), len)
        };
        Ok(len as u32)
    }
}
