//! The type that holds the values of two.

use arrow_schema::DataType;

/// Bits of an integer type, and whether it is signed.
pub(super) fn integer(data_type: &DataType) -> Option<(u32, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

/// Bits of a float type.
pub(super) fn float(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Float16 => 16,
        DataType::Float32 => 32,
        DataType::Float64 => 64,
        _ => return None,
    })
}

pub(super) fn float_of(bits: u32) -> DataType {
    match bits {
        16 => DataType::Float16,
        32 => DataType::Float32,
        _ => DataType::Float64,
    }
}

/// The values of a column: those of its categories, where it has such.
pub fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// The narrowest type for the values of both, or `None` where they are of different kinds (numbers, booleans, texts).
///
/// It holds them exactly, but for 64-bit integers beside floats or beside integers of the other sign: those are taken for
/// `Float64` or `Int64`, and `cast` refuses a value that these do not hold.
pub(crate) fn unify(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (integer(a), integer(b), float(a), float(b)) {
        (Some((a_bits, a_signed)), Some((b_bits, b_signed)), ..) => {
            let bits = match (a_signed, b_signed) {
                (true, false) => a_bits.max(2 * b_bits),
                (false, true) => b_bits.max(2 * a_bits),
                _ => a_bits.max(b_bits),
            };
            Some(match (a_signed || b_signed, bits) {
                (true, 8) => DataType::Int8,
                (true, 16) => DataType::Int16,
                (true, 32) => DataType::Int32,
                (true, _) => DataType::Int64,
                (false, 8) => DataType::UInt8,
                (false, 16) => DataType::UInt16,
                (false, 32) => DataType::UInt32,
                (false, _) => DataType::UInt64,
            })
        }
        (None, None, Some(a), Some(b)) => Some(float_of(a.max(b))),
        // Floats of 16, 32 and 64 bits hold all integers of 11, 24 and 53.
        (Some((bits, _)), None, None, Some(float)) | (None, Some((bits, _)), Some(float), None) => {
            let needed = match bits {
                8 => 16,
                16 => 32,
                _ => 64,
            };
            Some(float_of(float.max(needed)))
        }
        _ => None,
    }
}
