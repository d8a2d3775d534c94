//! What arrays are for.

/// What an array is for, which decides its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A column of a table, of which many grow at the same time.
    Column,
    /// A part of a matrix. Its length, if that is known.
    Matrix(Option<u64>),
}
