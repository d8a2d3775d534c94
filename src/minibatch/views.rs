//! The content of a minibatch as slices.

use std::fmt::Debug;

use half::{bf16, f16};

mod sealed {
    pub trait Sealed {}
}

/// An element type of a minibatch: `f32`, `f16`, `bf16`, or one that a store holds.
pub trait Value: Copy + Default + Debug + PartialEq + Send + Sync + sealed::Sealed + 'static {
    /// The slice inside, where it is of this type.
    #[doc(hidden)]
    fn of_values(values: Values<'_>) -> Option<&[Self]>;
}

macro_rules! define {
    (($($half:ident: $half_type:ident $half_name:literal),*)
     $($(#[$doc:meta])* $stored:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        define!($($half: $half_type $half_name,)* $($stored: $type $numpy,)*);
    };
    ($($Variant:ident: $type:ident $name:literal,)*) => {
        /// Values of some type. [`Values::get`] has them where the type is the one that is asked for.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "one variant per element type, named alike")]
        pub enum Values<'a> {
            $($Variant(&'a [$type]),)*
        }

        impl<'a> Values<'a> {
            /// Number of values.
            pub fn len(self) -> usize {
                match self {
                    $(Self::$Variant(values) => values.len(),)*
                }
            }

            /// Name of the type as numpy has it; `bfloat16` for that one, which numpy lacks.
            pub fn type_name(self) -> &'static str {
                match self {
                    $(Self::$Variant(_) => $name,)*
                }
            }

            /// Some of the values.
            ///
            /// # Panics
            /// If the range goes beyond the end.
            pub fn slice(self, range: std::ops::Range<usize>) -> Values<'a> {
                match self {
                    $(Self::$Variant(values) => Self::$Variant(&values[range]),)*
                }
            }
        }

        $(
            impl sealed::Sealed for $type {}
            impl Value for $type {
                fn of_values(values: Values<'_>) -> Option<&[Self]> {
                    match values {
                        Values::$Variant(values) => Some(values),
                        _ => None,
                    }
                }
            }
        )*
    };
}

// What stores hold, and what a minibatch may be rounded to.
cellring_core::with_element_types!(define, F16: f16 "float16", Bf16: bf16 "bfloat16");

impl<'a> Values<'a> {
    /// The values, where they are of type `T`.
    pub fn get<T: Value>(self) -> Option<&'a [T]> {
        T::of_values(self)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Indices of some type. They are columns and offsets, not values.
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
    /// If there is no such place.
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
    /// If there is no such row.
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
