//! The columns of a data frame that is read as a matrix.

/// A column of a data frame: what it takes to write it again as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameColumn {
    /// Its name.
    pub name: String,
    /// numpy name of its type.
    pub numpy_name: &'static str,
    /// Its encoding-type: `array`, `nullable-integer`, `nullable-boolean`.
    pub encoding: String,
}
