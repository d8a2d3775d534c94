//! What canonicalising and decoding need of an element type.

use std::ops::Range;

use crate::container::Array;
use crate::error::Result;

/// An element type of the matrix.
pub(super) trait Value: cellring_core::Element + Default {
    /// Reads elements `range` of a dataset of this type.
    fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()>;
    /// Bytes of an element of a dataset of this type.
    const STORED_BYTES: usize;
    /// The value of such an element; `bytes` has [`Self::STORED_BYTES`].
    fn from_file(bytes: &[u8], big_endian: bool) -> Self;
}

macro_rules! stored {
    ($type:ty) => {
        fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()> {
            array.read(range, place)?;
            if array.element().big_endian {
                for value in place {
                    *value = Self::from_be_bytes(value.to_ne_bytes());
                }
            }
            Ok(())
        }

        const STORED_BYTES: usize = size_of::<$type>();

        fn from_file(bytes: &[u8], big_endian: bool) -> Self {
            let mut own = [0; size_of::<$type>()];
            own.copy_from_slice(bytes);
            if big_endian {
                Self::from_be_bytes(own)
            } else {
                Self::from_le_bytes(own)
            }
        }
    };
}

macro_rules! implement {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        $(of_class!($Class $type);)*
    };
}

macro_rules! of_class {
    (Unsigned $type:ident) => {
        of_class!(Signed $type);
    };
    (Signed $type:ident) => {
        impl Value for $type {
            stored!($type);
        }
    };
    (Float $type:ident) => {
        of_class!(Signed $type);
    };
    (Boolean $type:ident) => {
        impl Value for $type {
            fn read(array: &Array, range: Range<u64>, place: &mut [Self]) -> Result<()> {
                array.read_converted(range, place, |bytes, place| {
                    for (value, &byte) in place.iter_mut().zip(bytes) {
                        *value = byte != 0;
                    }
                })
            }

            const STORED_BYTES: usize = 1;

            fn from_file(bytes: &[u8], _: bool) -> Self {
                bytes.first().is_some_and(|&byte| byte != 0)
            }
        }
    };
}

cellring_core::with_element_types!(implement);
