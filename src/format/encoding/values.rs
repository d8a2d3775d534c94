//! What values may be: those of the store's element type, and, where the manifest says that an `f32` rounds none, those of an `f32`.

use super::error::FrameError;
use cellring_core::{Element, get};
use cellring_core::{ValueClass, ValueType};

/// Whether an output of type `T` may round values of this type.
pub(crate) fn may_round<T: Element>(value_type: ValueType) -> bool {
    let most_exact = match value_type.class() {
        ValueClass::Boolean => 1,
        ValueClass::Unsigned | ValueClass::Signed => 2,
        ValueClass::Float => 4,
    };
    T::VALUE_TYPE == ValueType::F32 && value_type.size_bytes() > most_exact
}

/// Checks that no value, as it is stored, is rounded by an `f32`.
pub(crate) fn check_exact(values: &[u8], value_type: ValueType) -> Result<(), FrameError> {
    let exact = cellring_core::with_element!(value_type, S => {
        let each = values.chunks_exact(value_type.size_bytes());
        each.fold(true, |all, bytes| all & get::<S>(bytes).is_f32_exact())
    });
    match exact {
        true => Ok(()),
        false => Err(FrameError::Inexact),
    }
}

/// Counts of codes below this are values of the type. A power of two, so that the bits of all codes together tell.
pub(crate) const fn safe_codes(value_type: ValueType) -> u32 {
    let bits = 8 * value_type.size_bytes() as u32;
    let exponent = match value_type.class() {
        ValueClass::Boolean => 0,
        ValueClass::Unsigned => bits - 1,
        ValueClass::Signed => bits - 2,
        // Those that the significand holds.
        ValueClass::Float if bits == 32 => 24,
        ValueClass::Float => 53,
    };
    1 << if exponent < 31 { exponent } else { 31 }
}

/// Checks that every count is a value of the store's type, and one that the output does not round where it must not.
#[inline(always)]
pub(super) fn check_counts(
    codes: &[u32],
    value_type: ValueType,
    safe_codes: u32,
    must_be_exact: bool,
) -> Result<(), FrameError> {
    match codes.iter().fold(0, |all, &code| all | code) < safe_codes {
        true => Ok(()),
        false => codes
            .iter()
            .try_for_each(|&code| check_large_count(code + 1, value_type, must_be_exact)),
    }
}

/// Checks a count.
#[cold]
pub(crate) fn check_large_count(
    count: u32,
    value_type: ValueType,
    must_be_exact: bool,
) -> Result<(), FrameError> {
    let (fits, exact) = cellring_core::with_element!(value_type, S => {
        let value = S::from_count(count);
        (value.as_count() == Some(count), value.is_f32_exact())
    });
    match (fits, exact || !must_be_exact) {
        (true, true) => Ok(()),
        (true, false) => Err(FrameError::Inexact),
        (false, _) => Err(FrameError::Value {
            value: u64::from(count),
            value_type: value_type.numpy_name(),
        }),
    }
}

/// Checks values as they lie in a frame: every pattern of bits is a value, but for `bool`.
pub(crate) fn check_bools(values: &[u8], value_type: ValueType) -> Result<(), FrameError> {
    match values
        .iter()
        .find(|&&byte| value_type == ValueType::Bool && byte > 1)
    {
        None => Ok(()),
        Some(&byte) => Err(FrameError::Value {
            value: u64::from(byte),
            value_type: "bool",
        }),
    }
}
