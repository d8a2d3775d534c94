//! Arrays on the device: an address, a type and a shape.

use super::driver::DevicePtr;

macro_rules! define {
    (($($half:ident $half_bytes:literal $half_code:literal),*)
     $($(#[$doc:meta])* $stored:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        /// Type of the elements of an array: one of the types that stores hold, or one that values are rounded to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "one variant per element type, named alike")]
        pub enum ElementType {
            $($half,)*
            $($stored,)*
        }

        impl ElementType {
            /// Bytes of an element.
            pub fn size_bytes(self) -> usize {
                match self {
                    $(Self::$half => $half_bytes,)*
                    $(Self::$stored => size_of::<$type>(),)*
                }
            }

            /// `DLDataTypeCode`: kDLInt, kDLUInt, kDLFloat, kDLBfloat or kDLBool.
            pub(super) fn dlpack_code(self) -> u8 {
                match self {
                    $(Self::$half => $half_code,)*
                    $(Self::$stored => dlpack_code!($Class),)*
                }
            }
        }
    };
}

macro_rules! dlpack_code {
    (Signed) => {
        0
    };
    (Unsigned) => {
        1
    };
    (Float) => {
        2
    };
    (Boolean) => {
        6
    };
}

cellring_core::with_element_types!(define, F16 2 2, Bf16 2 4);

/// An array in the memory of the device, row-major without gaps. The address is a multiple of 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceArray {
    /// Address of the first element, a `CUdeviceptr`.
    pub address: DevicePtr,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Number of elements along each axis; the second of an array with one axis is 1.
    pub shape: [usize; 2],
    /// Number of axes, 1 or 2.
    pub n_axes: usize,
}

impl DeviceArray {
    /// Number of elements.
    #[allow(clippy::len_without_is_empty, reason = "len == 0 says it")]
    pub fn len(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Bytes of all elements.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.element_type.size_bytes()
    }
}

/// Type and shape of an array, wherever it is. Public only as far as a sealed trait names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraySpec {
    pub(super) element_type: ElementType,
    pub(super) shape: [usize; 2],
    pub(super) n_axes: usize,
}

/// Arrays on the host: what they are, and their bytes, in pieces that follow each other on the device.
pub(crate) type Arrays<'a> = Vec<(ArraySpec, Vec<&'a [u8]>)>;

impl ArraySpec {
    pub(crate) fn line(element_type: ElementType, len: usize) -> Self {
        let (shape, n_axes) = ([len, 1], 1);
        Self {
            element_type,
            shape,
            n_axes,
        }
    }

    pub(crate) fn table(element_type: ElementType, shape: [usize; 2]) -> Self {
        Self {
            element_type,
            shape,
            n_axes: 2,
        }
    }

    pub(crate) fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Number of elements along each axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape[..self.n_axes]
    }

    pub(crate) fn at(self, address: DevicePtr) -> DeviceArray {
        DeviceArray {
            address,
            element_type: self.element_type,
            shape: self.shape,
            n_axes: self.n_axes,
        }
    }
}
