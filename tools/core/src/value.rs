//! Element types of the matrix and owned buffers of its values.

use serde::{Deserialize, Serialize};

/// The table of the element types that a store can hold. Everything else that lists them is made of its rows: an enum's variant, the
/// type, the unsigned integer of the same width, the class, numpy's name, and the type of Arrow arrays of it.
///
/// Hands the rows to the macro `$rule`, after `$arguments` in parentheses. Other types of values are not in it: what a minibatch may
/// be rounded to, indices, and columns of obs.
#[doc(hidden)]
#[macro_export]
macro_rules! with_element_types {
    ($($rule:ident)::+ $(, $($arguments:tt)*)?) => {
        $($rule)::+! {
            ($($($arguments)*)?)
            /// One byte, 0 or 1.
            Bool: bool, u8, Boolean, "bool", BooleanType;
            /// Unsigned 8-bit integer.
            U8: u8, u8, Unsigned, "uint8", UInt8Type;
            /// Unsigned 16-bit integer.
            U16: u16, u16, Unsigned, "uint16", UInt16Type;
            /// Unsigned 32-bit integer.
            U32: u32, u32, Unsigned, "uint32", UInt32Type;
            /// Unsigned 64-bit integer.
            U64: u64, u64, Unsigned, "uint64", UInt64Type;
            /// Signed 8-bit integer.
            I8: i8, u8, Signed, "int8", Int8Type;
            /// Signed 16-bit integer.
            I16: i16, u16, Signed, "int16", Int16Type;
            /// Signed 32-bit integer.
            I32: i32, u32, Signed, "int32", Int32Type;
            /// Signed 64-bit integer.
            I64: i64, u64, Signed, "int64", Int64Type;
            /// IEEE 754 binary32.
            F32: f32, u32, Float, "float32", Float32Type;
            /// IEEE 754 binary64.
            F64: f64, u64, Float, "float64", Float64Type;
        }
    };
}

/// What the values of an element type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueClass {
    /// 0 and 1.
    Boolean,
    /// Integers from 0 up.
    Unsigned,
    /// Integers.
    Signed,
    /// IEEE 754.
    Float,
}

/// A value of any element type, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer or a boolean.
    Integer(i128),
    /// A float.
    Float(f64),
}

impl Number {
    /// The integer that it is.
    pub fn as_integer(self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(value),
            // Beyond 2^64 no type has it; the cast is exact within.
            Self::Float(value) if value.fract() == 0.0 && value.abs() <= u64::MAX as f64 => {
                Some(value as i128)
            }
            Self::Float(_) => None,
        }
    }

    /// The number as a float, if that holds it exactly.
    pub fn as_float(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            Self::Integer(value) => Some(value as f64).filter(|float| *float as i128 == value),
        }
    }
}

macro_rules! define {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        /// Element type of the source matrix, as AnnData stores it.
        ///
        /// The store records it so that an export gives back the very dtype that came in, whatever the encoding of the
        /// values on disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum ValueType {
            $($(#[$doc])* $Variant,)*
        }

        impl ValueType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$Variant),*];

            /// Width of one value in bytes.
            #[inline]
            pub const fn size_bytes(self) -> usize {
                match self {
                    $(Self::$Variant => size_of::<$type>(),)*
                }
            }

            /// The name in the manifest.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => stringify!($type),)*
                }
            }

            /// The name numpy gives this type (`float32`, `uint16`, `bool`, ...).
            pub const fn numpy_name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $numpy,)*
                }
            }

            /// What the values are.
            pub const fn class(self) -> ValueClass {
                match self {
                    $(Self::$Variant => ValueClass::$Class,)*
                }
            }
        }

        /// Values of a piece of the matrix, in the element type of the source.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "one variant per ValueType, named alike")]
        pub enum ValueBuffer {
            $($Variant(Vec<$type>),)*
        }

        impl ValueBuffer {
            /// An empty buffer of the given element type with room for `capacity` values.
            pub fn with_capacity(value_type: ValueType, capacity: usize) -> Self {
                match value_type {
                    $(ValueType::$Variant => Self::$Variant(Vec::with_capacity(capacity)),)*
                }
            }

            /// Element type of the values.
            #[inline]
            pub fn value_type(&self) -> ValueType {
                match self {
                    $(Self::$Variant(_) => ValueType::$Variant,)*
                }
            }
        }
    };
}

with_element_types!(define);

impl ValueType {
    /// The narrowest type that holds counts up to this one.
    #[doc(hidden)]
    pub const fn narrowest_for_counts(largest: u32) -> Self {
        match largest {
            0..=0xFF => Self::U8,
            0x100..=0xFFFF => Self::U16,
            _ => Self::U32,
        }
    }
}

impl ValueBuffer {
    /// Number of values.
    pub fn len(&self) -> usize {
        crate::with_values!(self, v => v.len())
    }

    /// Whether the buffer holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Runs `$body` with `$v` bound to the vector inside a [`ValueBuffer`], whatever its type.
#[doc(hidden)]
#[macro_export]
macro_rules! with_values {
    ($buffer:expr, $v:ident => $body:expr) => {
        $crate::with_element_types!($crate::with_values_in_rows, $buffer, $v, $body)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_values_in_rows {
    (($buffer:expr, $v:ident, $body:expr)
     $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        match $buffer {
            $($crate::ValueBuffer::$Variant($v) => $body,)*
        }
    };
}

/// Runs `$body` with the type `$T` bound to the element type that the [`ValueType`] names.
#[doc(hidden)]
#[macro_export]
macro_rules! with_element {
    ($value_type:expr, $T:ident => $body:expr) => {
        $crate::with_element_types!($crate::with_element_in_rows, $value_type, $T, $body)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_element_in_rows {
    (($value_type:expr, $T:ident, $body:expr)
     $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        match $value_type {
            $($crate::ValueType::$Variant => {
                type $T = $type;
                $body
            })*
        }
    };
}

/// Consecutive rows of a matrix as canonical CSR: in each row the column indices ascend strictly.
#[derive(Clone, Debug, PartialEq)]
pub struct CsrRows {
    /// `n_rows + 1` offsets into `indices` and `values`; the first is 0.
    pub indptr: Vec<u64>,
    /// Column of each stored value.
    pub indices: Vec<u32>,
    /// The stored values, in the source's element type.
    pub values: ValueBuffer,
}

impl CsrRows {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Number of stored values.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }
}
