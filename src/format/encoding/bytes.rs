//! The bytes of an obs in memory.

use super::prefetch::prefetch;

/// Some bytes, and what may be loaded after them.
///
/// Decoders load whole vectors: 64 readable bytes after the end, whatever they hold, save them a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Padded<'a> {
    pub(super) readable: &'a [u8],
    len: usize,
}

impl<'a> Padded<'a> {
    /// The first `len` bytes of `readable`.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline]
    pub fn new(readable: &'a [u8], len: usize) -> Self {
        assert!(len <= readable.len(), "{len} of {} bytes", readable.len());
        Self { readable, len }
    }

    /// Has the processor fetch the bytes into its cache while it does something else, such as to decode those before.
    ///
    /// What a device has written is in no cache, and frames drawn at random are short for the processor to guess.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.bytes());
    }

    /// The bytes themselves.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        &self.readable[..self.len]
    }
}

impl<'a> From<&'a [u8]> for Padded<'a> {
    /// Bytes with nothing readable after them.
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            readable: bytes,
            len: bytes.len(),
        }
    }
}
