//! Element types of the matrix and owned buffers of its values.

use serde::{Deserialize, Serialize};

/// Element type of the source matrix, as AnnData stores it.
///
/// The store records it so that an export gives back the very dtype that came in, whatever the encoding of the
/// values on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl ValueType {
    /// Width of one value in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// The name numpy gives this type (`float32`, `uint16`, `bool`, ...).
    pub const fn numpy_name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

/// Values of a piece of the matrix, in the element type of the source.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "one variant per ValueType, named alike")]
pub enum ValueBuffer {
    Bool(Vec<bool>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
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

/// Runs `$body` with `$v` bound to the vector inside a [`ValueBuffer`], whatever its type.
#[macro_export]
macro_rules! with_values {
    ($buffer:expr, $v:ident => $body:expr) => {
        match $buffer {
            $crate::format::ValueBuffer::Bool($v) => $body,
            $crate::format::ValueBuffer::U8($v) => $body,
            $crate::format::ValueBuffer::U16($v) => $body,
            $crate::format::ValueBuffer::U32($v) => $body,
            $crate::format::ValueBuffer::U64($v) => $body,
            $crate::format::ValueBuffer::I8($v) => $body,
            $crate::format::ValueBuffer::I16($v) => $body,
            $crate::format::ValueBuffer::I32($v) => $body,
            $crate::format::ValueBuffer::I64($v) => $body,
            $crate::format::ValueBuffer::F32($v) => $body,
            $crate::format::ValueBuffer::F64($v) => $body,
        }
    };
}

impl ValueBuffer {
    /// An empty buffer of the given element type with room for `capacity` values.
    pub fn with_capacity(value_type: ValueType, capacity: usize) -> Self {
        match value_type {
            ValueType::Bool => Self::Bool(Vec::with_capacity(capacity)),
            ValueType::U8 => Self::U8(Vec::with_capacity(capacity)),
            ValueType::U16 => Self::U16(Vec::with_capacity(capacity)),
            ValueType::U32 => Self::U32(Vec::with_capacity(capacity)),
            ValueType::U64 => Self::U64(Vec::with_capacity(capacity)),
            ValueType::I8 => Self::I8(Vec::with_capacity(capacity)),
            ValueType::I16 => Self::I16(Vec::with_capacity(capacity)),
            ValueType::I32 => Self::I32(Vec::with_capacity(capacity)),
            ValueType::I64 => Self::I64(Vec::with_capacity(capacity)),
            ValueType::F32 => Self::F32(Vec::with_capacity(capacity)),
            ValueType::F64 => Self::F64(Vec::with_capacity(capacity)),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        with_values!(self, v => v.len())
    }

    /// Whether the buffer holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type of the values.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Bool(_) => ValueType::Bool,
            Self::U8(_) => ValueType::U8,
            Self::U16(_) => ValueType::U16,
            Self::U32(_) => ValueType::U32,
            Self::U64(_) => ValueType::U64,
            Self::I8(_) => ValueType::I8,
            Self::I16(_) => ValueType::I16,
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
        }
    }
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
