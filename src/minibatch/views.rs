//! The content of a minibatch as slices.

use half::{bf16, f16};

use super::Value;

/// Values of some type. [`Values::get`] has them where the type is the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "one variant per element type, named alike")]
pub enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    F64(&'a [f64]),
    Bool(&'a [bool]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// Runs `$body` with `$v` bound to the slice inside, whatever its type; `$same` is the variant it came from.
macro_rules! with_slice {
    ($values:expr, $v:ident, $same:ident => $body:expr) => {
        with_slice!(@ $values, $v, $same => $body, F32 F16 Bf16 F64 Bool U8 U16 U32 U64 I8 I16 I32 I64)
    };
    (@ $values:expr, $v:ident, $same:ident => $body:expr, $($variant:ident)*) => {
        match $values {
            $(Values::$variant($v) => {
                #[allow(unused_imports, reason = "not every body makes values again")]
                use Values::$variant as $same;
                $body
            })*
        }
    };
}

impl<'a> Values<'a> {
    /// The values, where they are of type `T`.
    pub fn get<T: Value>(self) -> Option<&'a [T]> {
        T::of_values(self)
    }

    /// Number of values.
    pub fn len(self) -> usize {
        with_slice!(self, values, same => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Name of the type as numpy has it; `bfloat16` for that one, which numpy has not.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F16(_) => "float16",
            Self::Bf16(_) => "bfloat16",
            Self::F64(_) => "float64",
            Self::Bool(_) => "bool",
            Self::U8(_) => "uint8",
            Self::U16(_) => "uint16",
            Self::U32(_) => "uint32",
            Self::U64(_) => "uint64",
            Self::I8(_) => "int8",
            Self::I16(_) => "int16",
            Self::I32(_) => "int32",
            Self::I64(_) => "int64",
        }
    }

    /// Some of the values.
    ///
    /// # Panics
    /// Where the range goes beyond the end.
    pub fn slice(self, range: std::ops::Range<usize>) -> Values<'a> {
        with_slice!(self, values, same => same(&values[range]))
    }
}

/// Indices of some type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "one variant per type, named alike")]
pub enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// The indices, where they have 32 bits.
    pub fn as_i32(self) -> Option<&'a [i32]> {
        match self {
            Self::I32(indices) => Some(indices),
            Self::I64(_) => None,
        }
    }

    /// The indices, where they have 64 bits.
    pub fn as_i64(self) -> Option<&'a [i64]> {
        match self {
            Self::I32(_) => None,
            Self::I64(indices) => Some(indices),
        }
    }

    /// Number of indices.
    pub fn len(self) -> usize {
        match self {
            Self::I32(indices) => indices.len(),
            Self::I64(indices) => indices.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One of them, widened.
    ///
    /// # Panics
    /// Where there is no such place.
    pub fn at(self, place: usize) -> i64 {
        match self {
            Self::I32(indices) => indices[place].into(),
            Self::I64(indices) => indices[place],
        }
    }
}

/// A sparse minibatch: canonical CSR.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CsrView<'a> {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// `n_obs + 1` offsets into `indices` and `values`, the first 0; of the type of `indices`.
    pub indptr: Indices<'a>,
    /// The column of each value, strictly ascending in each row.
    pub indices: Indices<'a>,
    /// The values.
    pub values: Values<'a>,
}

/// A dense minibatch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DenseView<'a> {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// From a value to the one in the next row and to the one in the next column, in values: row-major without gaps.
    pub strides: [usize; 2],
    /// All values, row after row. The first lies at a multiple of 64 bytes.
    pub values: Values<'a>,
}

impl<'a> DenseView<'a> {
    /// One row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn row(self, row: usize) -> Values<'a> {
        let [n_rows, n_columns] = self.shape;
        assert!(row < n_rows, "row {row} of {n_rows}");
        self.values.slice(row * n_columns..(row + 1) * n_columns)
    }
}

/// For each row its `k` highest values, the highest first.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopKView<'a> {
    /// Rows and `k`: the shape of `indices` and `values`, which are row-major.
    pub shape: [usize; 2],
    /// The columns in rank order; after the last -1.
    pub indices: Indices<'a>,
    /// Their values; after the last 0.
    pub values: Values<'a>,
    /// How many each row has, at most `k`.
    pub lens: &'a [u32],
}
