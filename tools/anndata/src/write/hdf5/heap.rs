//! Variable-length strings: the bytes go to collections of the global heap, the dataset holds references to them.

use std::io;

use super::output::Output;

/// A collection is written once it holds this much.
const COLLECTION_BYTES: usize = 1 << 16;
/// Readers load at least this much of a collection.
const MIN_COLLECTION_BYTES: usize = 4096;
/// Header of a collection, and of each object in it.
const HEADER_BYTES: usize = 16;
/// An object's index has 16 bits, and 0 means free space.
const MAX_OBJECTS: usize = u16::MAX as usize;
/// Gathers strings into collections and yields their references, in order.
#[derive(Default)]
pub(in super::super) struct StringHeap {
    objects: Vec<u8>,
    /// Lengths of the strings whose references are not made yet: they need the collection's address.
    lengths: Vec<u32>,
    n_objects: usize,
}

impl StringHeap {
    /// Adds a string; appends references that have become known to `references`.
    pub(in super::super) fn push(
        &mut self,
        out: &mut Output,
        text: &str,
        references: &mut Vec<u8>,
    ) -> io::Result<()> {
        let length = u32::try_from(text.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a string exceeds 4 GiB"))?;
        if self.n_objects == MAX_OBJECTS
            || self.lengths.len() == MAX_OBJECTS
            || self.objects.len() + text.len() > COLLECTION_BYTES
        {
            self.flush(out, references)?;
        }
        self.lengths.push(length);
        // The empty string is a reference to nothing, as libhdf5 writes a null pointer.
        if length > 0 {
            self.n_objects += 1;
            self.objects
                .extend_from_slice(&(self.n_objects as u16).to_le_bytes());
            self.objects.extend_from_slice(&[0; 6]); // reference count (unused), reserved
            self.objects.extend_from_slice(&u64::from(length).to_le_bytes());
            self.objects.extend_from_slice(text.as_bytes());
            self.objects.resize(self.objects.len().next_multiple_of(8), 0);
        }
        Ok(())
    }

    /// Writes the collection (III.E) and appends the references that were waiting for its address.
    pub(in super::super) fn flush(&mut self, out: &mut Output, references: &mut Vec<u8>) -> io::Result<()> {
        let mut address = 0;
        if self.n_objects > 0 {
            let used_bytes = HEADER_BYTES + self.objects.len();
            // The rest is object 0, free space, whose size counts its own header.
            let size_bytes = (used_bytes + HEADER_BYTES).max(MIN_COLLECTION_BYTES);
            let mut collection = Vec::with_capacity(size_bytes);
            collection.extend_from_slice(b"GCOL\x01\0\0\0");
            collection.extend_from_slice(&(size_bytes as u64).to_le_bytes());
            collection.append(&mut self.objects);
            collection.extend_from_slice(&[0; 8]);
            collection.extend_from_slice(&((size_bytes - used_bytes) as u64).to_le_bytes());
            collection.resize(size_bytes, 0);
            address = out.append(&collection)?;
        }
        let mut index = 0u32;
        for length in self.lengths.drain(..) {
            references.extend_from_slice(&length.to_le_bytes());
            if length == 0 {
                references.extend_from_slice(&[0; 12]);
            } else {
                index += 1;
                references.extend_from_slice(&address.to_le_bytes());
                references.extend_from_slice(&index.to_le_bytes());
            }
        }
        self.n_objects = 0;
        Ok(())
    }
}
