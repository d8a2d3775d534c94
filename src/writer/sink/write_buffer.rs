//! Buffers for direct writes.

/// Length of one write. Large enough that a device reaches its full speed with a few of them in flight.
pub(in crate::writer) const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Alignment of memory, offset and length of a direct write.
const DIRECT_ALIGNMENT: usize = 4096;

/// A buffer of up to [`WRITE_BUFFER_BYTES`], aligned for direct writes.
#[derive(Debug)]
pub(in crate::writer) struct WriteBuffer {
    pub(super) memory: Vec<u8>,
    pub(super) start: usize,
}

impl WriteBuffer {
    pub(super) fn new() -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(WRITE_BUFFER_BYTES + DIRECT_ALIGNMENT);
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        memory.resize(start, 0);
        Self { memory, start }
    }

    /// Takes as many bytes as there is room for; gives the rest.
    pub(in crate::writer) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(WRITE_BUFFER_BYTES - self.len()));
        // Within the capacity that `new` reserved, so the memory does not move and stays aligned.
        self.memory.extend_from_slice(now);
        rest
    }

    pub(in crate::writer) fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    pub(super) fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}
