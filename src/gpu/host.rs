//! Host memory to copy from.

use std::fmt;
use std::sync::Arc;

use super::array::{ArraySpec, Arrays, ElementType};
use super::device::{Gpu, Locked};
use super::source::{CopySource, private};

const PAGE_BYTES: usize = 4096;

/// Bytes on the host: page-locked where they can be. An `Arc` of it can be copied to the device, as often as wanted.
pub struct HostBuffer {
    // Declared first, so dropped first: the driver lets go of the memory before it is freed.
    locked: Option<Locked>,
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl HostBuffer {
    /// So many bytes, all 0, page-locked where the driver does that.
    pub fn pinned(gpu: &Gpu, len_bytes: usize) -> Self {
        let mut buffer = Self::pageable(len_bytes);
        let pages = buffer.start..buffer.start + len_bytes.next_multiple_of(PAGE_BYTES);
        // Whole pages, that hold nothing else.
        buffer.locked = gpu.lock_pages(&buffer.memory[pages]);
        buffer
    }

    /// So many bytes, all 0, that the system may move.
    pub fn pageable(len_bytes: usize) -> Self {
        let memory = vec![0; len_bytes.next_multiple_of(PAGE_BYTES) + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self {
            locked: None,
            memory,
            start,
            len: len_bytes,
        }
    }

    /// Whether the memory is page-locked.
    pub fn is_pinned(&self) -> bool {
        self.locked.is_some()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl private::CopySource for Arc<HostBuffer> {
    type HostPart = ();
    const IS_SCARCE: bool = false;

    fn take_host_part(&mut self) {}

    fn arrays(&self) -> Arrays<'_> {
        vec![(ArraySpec::line(ElementType::U8, self.len), vec![self.as_slice()])]
    }
}

impl CopySource for Arc<HostBuffer> {}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuffer")
            .field("len", &self.len)
            .field("is_pinned", &self.is_pinned())
            .finish_non_exhaustive()
    }
}
