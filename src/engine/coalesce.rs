//! Joins neighbouring pieces of files to reads.

/// Reads begin at multiples of this in the file and in the slot.
pub(crate) const CACHE_LINE_BYTES: u64 = 64;

/// Neighbouring obs are read at once where at most this lies between them: reading it costs less than another request.
pub(crate) const GAP_BYTES: u64 = 4096;
/// Longest read of several obs: long enough for full bandwidth, short enough to leave little of a slot unused.
pub(crate) const READ_BYTES: u64 = 512 << 10;

/// How reads are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadShape {
    /// Offsets, lengths and places of reads are multiples of this.
    pub(crate) alignment: u32,
    /// Length of a slot; a read never spans two.
    pub(crate) slot_bytes: u32,
    /// Two neighbouring pieces are read at once where no more than this lies between them.
    pub(crate) gap_bytes: u64,
    /// A read is not extended beyond this length (a single piece may need more).
    pub(crate) read_bytes: u64,
}

/// Consecutive bytes of a file.
pub(crate) trait FileRange {
    /// Number of the file among those of the engine.
    fn file(&self) -> u32;
    /// First byte.
    fn offset_bytes(&self) -> u64;
    /// Length.
    fn len_bytes(&self) -> u32;
}

/// How many of the pieces at the front one read brings, and its range in the file.
///
/// # Panics
/// If there is none.
pub(crate) fn first_read(pieces: &[impl FileRange], shape: &ReadShape) -> (usize, u64, u64) {
    let align = u64::from(shape.alignment);
    // Where reads need no alignment, values are aligned in the slot as they are in the file all the same.
    let down = |at: u64| at - at % align.max(CACHE_LINE_BYTES);
    let first = &pieces[0];
    let start = down(first.offset_bytes());
    let mut end = end_of(first, align);
    let mut n = 1;
    while let Some(piece) = pieces.get(n) {
        let next_end = end_of(piece, align).max(end);
        // Blocks of a damaged index may lie in any order.
        let joins = piece.file() == first.file()
            && piece.offset_bytes() >= start
            && down(piece.offset_bytes()) <= end + shape.gap_bytes
            && next_end - start <= shape.read_bytes;
        if !joins {
            break;
        }
        end = next_end;
        n += 1;
    }
    (n, start, end)
}

fn end_of(piece: &impl FileRange, align: u64) -> u64 {
    (piece.offset_bytes() + u64::from(piece.len_bytes())).next_multiple_of(align)
}
