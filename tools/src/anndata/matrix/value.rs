//! What canonicalising and decoding need of an element type.

use std::ops::Range;

use crate::anndata::error::Result;
use crate::anndata::hdf5::Array;

/// An element type of the matrix.
pub(super) trait Value: Copy + Default + Send + Sync {
    /// Whether the value is exactly +0: every bit zero.
    fn is_plus_zero(self) -> bool;
    /// The sum, or `None` when it leaves the type's range. Booleans are or-ed, as scipy does.
    fn sum(self, other: Self) -> Option<Self>;
    /// Reads elements `range` of a dataset of this type.
    fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()>;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn is_plus_zero(self) -> bool {
                self == 0
            }

            fn sum(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }

            fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()> {
                array.read(range, place)
            }
        }
    )*};
}

macro_rules! float {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn is_plus_zero(self) -> bool {
                self.to_bits() == 0
            }

            fn sum(self, other: Self) -> Option<Self> {
                let sum = self + other;
                (sum.is_finite() || !self.is_finite() || !other.is_finite()).then_some(sum)
            }

            fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()> {
                array.read(range, place)
            }
        }
    )*};
}

integer!(u8, u16, u32, u64, i8, i16, i32, i64);
float!(f32, f64);

impl Value for bool {
    fn is_plus_zero(self) -> bool {
        !self
    }

    fn sum(self, other: Self) -> Option<Self> {
        Some(self | other)
    }

    fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()> {
        array.read_converted(range, place, |bytes, place| {
            for (value, &byte) in place.iter_mut().zip(bytes) {
                *value = byte != 0;
            }
        })
    }
}
