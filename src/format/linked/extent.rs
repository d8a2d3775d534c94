//! The records of extents: what is stored together of an array.

/// Bytes of a record.
pub(crate) const EXTENT_BYTES: usize = 24;

/// Elements of an array that lie in a file as they are, up to where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRun {
    /// The first of them, of those of the array.
    pub first: u64,
    /// Where it is in its file, in bytes.
    pub offset_bytes: u64,
    /// Number of the file.
    pub file: u32,
}

/// One of the chunks that an array is cut into, all of the same number of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceChunk {
    /// Where it is in its file, in bytes.
    pub offset_bytes: u64,
    /// Its length there; 0 if it was never written, and every element is the fill value.
    pub stored_bytes: u32,
    /// Number of the file.
    pub file: u32,
    /// Bit i: filter i was not applied to it.
    pub filter_mask: u32,
}

/// A record of 24 bytes.
pub(crate) trait Extent: Sized {
    /// Its bytes.
    fn to_bytes(self) -> [u8; EXTENT_BYTES];
    /// The extent of these bytes; `None` where what belongs to nothing is not zero.
    fn from_bytes(bytes: [u8; EXTENT_BYTES]) -> Option<Self>;
}

/// Three numbers of 8 bytes.
fn words(bytes: [u8; EXTENT_BYTES]) -> [u64; 3] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|k| u64::from_le_bytes(words[k]))
}

fn of_words(words: [u64; 3]) -> [u8; EXTENT_BYTES] {
    let mut bytes = [0; EXTENT_BYTES];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

impl Extent for SourceRun {
    fn to_bytes(self) -> [u8; EXTENT_BYTES] {
        of_words([self.first, self.offset_bytes, u64::from(self.file)])
    }

    fn from_bytes(bytes: [u8; EXTENT_BYTES]) -> Option<Self> {
        let [first, offset_bytes, file] = words(bytes);
        let file = u32::try_from(file).ok()?;
        Some(Self {
            first,
            offset_bytes,
            file,
        })
    }
}

impl Extent for SourceChunk {
    fn to_bytes(self) -> [u8; EXTENT_BYTES] {
        let high = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        of_words([
            self.offset_bytes,
            high(self.file, self.stored_bytes),
            u64::from(self.filter_mask),
        ])
    }

    fn from_bytes(bytes: [u8; EXTENT_BYTES]) -> Option<Self> {
        let [offset_bytes, file_and_length, filter_mask] = words(bytes);
        Some(Self {
            offset_bytes,
            stored_bytes: file_and_length as u32,
            file: (file_and_length >> 32) as u32,
            filter_mask: u32::try_from(filter_mask).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way_back() {
        let run = SourceRun {
            first: 1 << 40,
            offset_bytes: 77,
            file: 3,
        };
        assert_eq!(SourceRun::from_bytes(run.to_bytes()), Some(run));
        let chunk = SourceChunk {
            offset_bytes: u64::MAX,
            stored_bytes: 9,
            file: u32::MAX,
            filter_mask: 5,
        };
        assert_eq!(SourceChunk::from_bytes(chunk.to_bytes()), Some(chunk));
        let mut bytes = run.to_bytes();
        bytes[23] = 1;
        assert_eq!(SourceRun::from_bytes(bytes), None);
        assert_eq!(SourceChunk::from_bytes(bytes), None);
    }
}
