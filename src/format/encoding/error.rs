//! What can be wrong with the bytes of an obs.

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are not those that were written for this obs and this number of values.
    #[error("the checksum is {found:08x} where {expected:08x} is stored")]
    Checksum {
        /// The checksum in the store.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The frame ends before what its parts need.
    #[error("the frame ends after {bytes} bytes, before its {part}")]
    Short {
        /// Length of the frame without its checksum.
        bytes: usize,
        /// The part that is cut off.
        part: &'static str,
    },
    /// Bytes are left over after the last part.
    #[error("{bytes} bytes are left over at the end of the frame")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// The mode byte has no meaning.
    #[error("the mode is {0}, expected 0, 1 or 2")]
    Mode(u8),
    /// A column is not below `n_vars`.
    #[error("a column is {column}, expected below {n_vars}")]
    Column {
        /// The column found.
        column: u64,
        /// Number of columns of the matrix.
        n_vars: u32,
    },
    /// A code has no entry in the dictionary, or there is a code where none belongs.
    #[error("a value code is {code}, expected below {limit}")]
    Code {
        /// The code found.
        code: u32,
        /// Number of codes that have a meaning.
        limit: usize,
    },
    /// A value is none of the store's element type.
    #[error("a value is {value}, which is not of type {value_type}")]
    Value {
        /// The value, as an integer.
        value: u64,
        /// Name of the type.
        value_type: &'static str,
    },
    /// A value is rounded by an `f32`, although the manifest says that none is.
    #[error("a value is not a float32, although the manifest says that all are")]
    Inexact,
    /// Bits that belong to no entry are not zero.
    #[error("the unused bits at the end of a group are not zero")]
    Tail,
    /// An exception's position is out of order or its high part is zero or does not fit.
    #[error("an exception of a group is not in ascending order or does not fit 31 bits")]
    Exception,
    /// The columns of an obs do not ascend, or the parts of a raw block do not lie where they belong.
    #[error("{0}")]
    Layout(&'static str),
}
