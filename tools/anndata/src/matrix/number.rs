//! Values of one element type in another one: exactly, or not at all.

use cellring_core::{Element, Number, ValueBuffer, ValueClass, ValueType};
use cellring_core::{with_element, with_values};

/// The narrowest type for the values of both.
///
/// It holds them exactly, but for `u64` beside signed integers (`i64`) and 64-bit integers beside floats (`f64`): there
/// [`widen`] refuses what is not held.
pub(super) fn promote(a: ValueType, b: ValueType) -> ValueType {
    use ValueType::*;
    let is_float = |t: ValueType| t.class() == ValueClass::Float;
    let is_signed = |t: ValueType| t.class() == ValueClass::Signed;
    let bits = |t: ValueType| 8 * t.size_bytes();
    match (a, b) {
        _ if a == b => a,
        (Bool, other) | (other, Bool) => other,
        _ if is_float(a) && is_float(b) => F64,
        _ if is_float(a) || is_float(b) => {
            let (float, integer) = if is_float(a) { (a, b) } else { (b, a) };
            // Integers of up to 24 bits are f32.
            if bits(integer) > 16 { F64 } else { float }
        }
        _ => {
            let width = match (is_signed(a), is_signed(b)) {
                (true, false) => bits(a).max(2 * bits(b)),
                (false, true) => bits(b).max(2 * bits(a)),
                _ => bits(a).max(bits(b)),
            };
            let class = match is_signed(a) || is_signed(b) {
                true => ValueClass::Signed,
                false => ValueClass::Unsigned,
            };
            // The widest there is, if none is wide enough.
            let of_class = ValueType::ALL.iter().copied().filter(|t| t.class() == class);
            let (fitting, widest) = (
                of_class.clone().find(|t| bits(*t) == width),
                of_class.max_by_key(|t| bits(*t)),
            );
            fitting.or(widest).unwrap_or(a)
        }
    }
}

/// The values as those of the type that [`promote`] gave, or the place of one that it does not hold, and that value.
pub(super) fn widen(
    values: &ValueBuffer,
    wanted: ValueType,
) -> std::result::Result<ValueBuffer, (usize, String)> {
    let mut widened = ValueBuffer::with_capacity(wanted, 0);
    with_element!(wanted, T => {
        if let Some(out) = T::vec_mut(&mut widened) {
            with_values!(values, values => all(values, out)?);
        }
    });
    Ok(widened)
}

fn all<S: Element, T: Element>(values: &[S], out: &mut Vec<T>) -> std::result::Result<(), (usize, String)> {
    out.reserve_exact(values.len());
    for (at, value) in values.iter().enumerate() {
        let number = value.number();
        let refused = || match number {
            Number::Integer(value) => (at, value.to_string()),
            Number::Float(value) => (at, value.to_string()),
        };
        out.push(T::from_number(number).ok_or_else(refused)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_hold_both() {
        use ValueType::*;
        for (a, b, both) in [
            (F32, I32, F64),
            (F32, U16, F32),
            (F32, F64, F64),
            (F32, I64, F64),
            (Bool, F32, F32),
            (Bool, U8, U8),
            (U8, I8, I16),
            (U16, I16, I32),
            (U32, I8, I64),
            (U64, I8, I64),
            (U8, U32, U32),
            (I8, I64, I64),
        ] {
            assert_eq!((promote(a, b), promote(b, a)), (both, both), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn values_are_exact_or_refused() {
        let wide = widen(&ValueBuffer::I32(vec![i32::MIN, 0, i32::MAX]), ValueType::F64).unwrap();
        assert_eq!(
            wide,
            ValueBuffer::F64(vec![-2_147_483_648.0, 0.0, 2_147_483_647.0])
        );
        let wide = widen(&ValueBuffer::F32(vec![0.1, -0.0]), ValueType::F64).unwrap();
        match wide {
            ValueBuffer::F64(v) => assert!(v[0] == f64::from(0.1f32) && v[1].is_sign_negative()),
            other => panic!("{other:?}"),
        }
        let error = widen(&ValueBuffer::I64(vec![1, (1 << 53) + 1]), ValueType::F64).unwrap_err();
        assert_eq!(error, (1, "9007199254740993".to_owned()));
        let error = widen(&ValueBuffer::U64(vec![u64::MAX]), ValueType::I64).unwrap_err();
        assert_eq!(error, (0, u64::MAX.to_string()));
        let wide = widen(&ValueBuffer::Bool(vec![true, false]), ValueType::U8).unwrap();
        assert_eq!(wide, ValueBuffer::U8(vec![1, 0]));
    }
}
