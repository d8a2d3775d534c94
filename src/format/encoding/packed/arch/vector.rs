//! What the generic loops ask of an instruction set.
#![allow(unsafe_code, reason = "vector instructions ask for a processor that has them")]

/// A vector register of some instruction set, and what the loops of [`generic`](super::generic) do with it.
///
/// It is seen as lanes of 16 bits (words) or of 32 bits (integers, or floats by their bits).
///
/// # Safety
/// Every function may only be called if the processor has the instruction set, and from code that is compiled for it:
/// each is taken into its caller. Loads and stores need no alignment.
pub(super) trait Vector: Copy {
    /// Number of words: the entries of a block.
    const WORDS: usize;
    /// The widest entries that [`Vector::unpack_words`] can have.
    const MAX_WORD_WIDTH: u32;
    /// The widest entries that [`Vector::look_up`] can have: 2 to the power of it are as many as a vector has integers.
    const MAX_TABLE_WIDTH: u32;

    /// What is the same for all sums: see [`Vector::sum_words`].
    type Sums: Copy;

    /// Loads a vector.
    ///
    /// # Safety
    /// Its bytes can be read.
    unsafe fn load(from: *const u8) -> Self;

    /// Stores the vector.
    ///
    /// # Safety
    /// Its bytes can be written.
    unsafe fn store(self, to: *mut u8);

    /// Number of integers.
    const INTEGERS: usize = Self::WORDS / 2;

    /// The same integer in all lanes.
    unsafe fn splat(integer: u32) -> Self;

    /// The first integer.
    unsafe fn first(self) -> u32;

    /// The bits of both.
    unsafe fn or(self, other: Self) -> Self;

    /// Whether some integer has some of these bits.
    unsafe fn any(self, bits: u32) -> bool;

    /// Sums of words.
    unsafe fn add_words(self, other: Self) -> Self;

    /// Sums of integers.
    unsafe fn add_integers(self, other: Self) -> Self;

    /// Checks the first eight exceptions of the gaps and the codes of a group, whose high parts are one byte each, and writes
    /// them to `into`. Gives the sum of the high parts of the gaps, or `None` if some position or high part is wrong.
    ///
    /// # Safety
    /// 8 bytes can be read from the positions and the high parts of both, and `into` can be written.
    unsafe fn eights(gap: ExceptionsAt, code: ExceptionsAt, into: *mut Eights) -> Option<u32>;

    /// Constants for sums, held in registers while a frame is decoded.
    unsafe fn sums() -> Self::Sums;

    /// Each word with all before it added.
    unsafe fn sum_words(self, sums: Self::Sums) -> Self;

    /// Each integer with all before it added.
    unsafe fn sum_integers(self) -> Self;

    /// The last integer in all lanes.
    unsafe fn last(self, sums: Self::Sums) -> Self;

    /// Words as integers, the lower half of them first.
    unsafe fn widen(self) -> [Self; 2];

    /// Integers below 2^31 as floats.
    unsafe fn to_floats(self) -> Self;

    /// Constants for [`Vector::unpack_words`] of a width up to [`Vector::MAX_WORD_WIDTH`].
    unsafe fn word_unpacker(width: usize) -> [Self; 3];

    /// As many packed entries as there are words.
    ///
    /// # Safety
    /// [`OVER_READ`] bytes can be read.
    unsafe fn unpack_words(from: *const u8, width: usize, unpacker: [Self; 3]) -> Self;

    /// Constants for [`Vector::unpack_integers`] of a width up to [`MAX_INTEGER_WIDTH`].
    unsafe fn integer_unpacker(width: usize) -> [Self; 3];

    /// As many packed entries as there are integers.
    ///
    /// # Safety
    /// [`OVER_READ`] bytes can be read.
    unsafe fn unpack_integers(from: *const u8, width: usize, unpacker: [Self; 3]) -> Self;

    /// Constants for [`Vector::look_up`] of entries of a width up to [`Vector::MAX_TABLE_WIDTH`] in `table`, of which the
    /// first 2^width count.
    unsafe fn table(table: Self, width: usize) -> [Self; 2];

    /// The values of as many packed entries as there are integers.
    ///
    /// # Safety
    /// 8 bytes can be read.
    unsafe fn look_up(from: *const u8, table: [Self; 2]) -> Self;
}

/// Bytes from the start of a block of packed entries that may be read, whatever they hold.
pub(super) const OVER_READ: usize = 64;

/// Entry widths for which 4 bytes hold an entry wherever its first bit is within a byte: 7 + 25 = 32.
pub(super) const MAX_INTEGER_WIDTH: usize = 25;

/// Exceptions that are dealt with whether there are as many or not: nine of ten groups have no more.
pub(super) const EIGHT: usize = 8;

/// Where the exceptions of a stream are.
#[derive(Clone, Copy)]
pub(super) struct ExceptionsAt {
    /// The positions; the high parts follow.
    pub(super) at: *const u8,
    /// How many.
    pub(super) n: usize,
    /// The width of the stream.
    pub(super) width: u32,
}

/// The first eight exceptions of the gaps and of the codes of a group. If there are fewer, the others have high parts of 0
/// and places of their own: after the gaps, or among the first codes.
#[repr(C)]
pub(super) struct Eights {
    /// Of the gaps, then of the codes.
    pub(super) places: [[u8; EIGHT]; 2],
    /// Of the gaps, then of the codes.
    pub(super) highs: [[u8; EIGHT]; 2],
    /// For each of the gaps, the step to its column without its packed part: the low 16 bits of `1 + (high << width)`.
    pub(super) steps: [u16; EIGHT],
    /// For each of the codes, what it adds to a count.
    pub(super) adds: [f32; EIGHT],
}
