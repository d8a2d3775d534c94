//! What the codec needs to know about an element type.

use super::value::{Number, ValueBuffer, ValueType};

mod sealed {
    pub trait Sealed {}
}

/// An element type of the matrix: one for each [`ValueType`].
pub trait Element: Copy + PartialEq + Send + Sync + sealed::Sealed + 'static {
    /// The type's name in the format.
    const VALUE_TYPE: ValueType;

    /// The value as a count, where it is an integer from 1 to 2^32 - 1 and nothing is lost by taking it as one.
    fn as_count(self) -> Option<u32>;

    /// The value of a count. Exact for every count that [`Element::as_count`] gave for this type.
    fn from_count(count: u32) -> Self;

    /// Fills `out` with the values of the counts `code + 1`.
    #[inline(always)]
    fn fill_counts(codes: &[u32], out: &mut [Self]) {
        out.iter_mut()
            .zip(codes)
            .for_each(|(value, &code)| *value = Self::from_count(code + 1));
    }

    /// Fills `codes` with `count - 1` of each value, if all are counts: what [`Element::fill_counts`] takes back. Otherwise gives
    /// `false`, and `codes` is unspecified.
    #[inline(always)]
    fn codes(values: &[Self], codes: &mut Vec<u32>) -> bool {
        codes.clear();
        let mut are_counts = true;
        codes.extend(values.iter().map(|value| {
            let count = value.as_count().unwrap_or(0);
            are_counts &= count > 0;
            count.wrapping_sub(1)
        }));
        are_counts
    }

    /// The values themselves where they are `f32`: what the fast loops write.
    #[inline(always)]
    fn as_f32s(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// The value's bits, zero-extended: two values are the same exactly when their bits are.
    fn bits(self) -> u64;

    /// The value with these bits; higher bits are ignored.
    fn from_bits(bits: u64) -> Self;

    /// Whether the value is exactly +0: every bit zero.
    #[inline(always)]
    fn is_plus_zero(self) -> bool {
        self.bits() == 0
    }

    /// The sum, or `None` when it leaves the type's range. Booleans are or-ed, as scipy does.
    fn sum(self, other: Self) -> Option<Self>;

    /// Reads a value that the store holds as `stored`. An `f32` is read from every type (the nearest one); any other
    /// type only from itself.
    ///
    /// # Panics
    /// If another type than `f32` is read from a type that is not its own, or `bytes` is too short.
    #[inline]
    fn from_stored(stored: ValueType, bytes: &[u8]) -> Self {
        assert_eq!(stored, Self::VALUE_TYPE, "only f32 is read from another type");
        get(bytes)
    }

    /// The value as a number, exactly.
    fn number(self) -> Number;

    /// The value of this type that a number is, if there is one.
    fn from_number(number: Number) -> Option<Self>;

    /// The nearest `f32`.
    fn to_f32(self) -> f32;

    /// Whether the nearest `f32`, taken back to this type, is the very same value.
    fn is_f32_exact(self) -> bool;

    /// The vector inside the buffer, where the buffer is of this type.
    fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>>;
}

macro_rules! implement {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Element for $type {
                const VALUE_TYPE: ValueType = ValueType::$Variant;
                #[inline]
                fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>> {
                    match buffer {
                        ValueBuffer::$Variant(v) => Some(v),
                        _ => None,
                    }
                }
                of_class!($Class $type $bits);
            }
        )*
    };
}

/// What the types of a class have in common, and what is faster for a type of its own.
macro_rules! of_class {
    (Unsigned $type:ident $bits:ident) => {
        of_class!(Signed $type $bits);
    };
    (Signed $type:ident $bits:ident) => {
        #[inline]
        fn as_count(self) -> Option<u32> {
            u32::try_from(self).ok().filter(|&c| c > 0)
        }
        #[inline]
        fn from_count(count: u32) -> Self {
            count as Self
        }
        #[inline]
        fn bits(self) -> u64 {
            self as $bits as u64
        }
        #[inline]
        fn from_bits(bits: u64) -> Self {
            bits as Self
        }
        #[inline]
        fn sum(self, other: Self) -> Option<Self> {
            self.checked_add(other)
        }
        #[inline]
        fn number(self) -> Number {
            Number::Integer(self.into())
        }
        #[inline]
        fn from_number(number: Number) -> Option<Self> {
            match number {
                Number::Integer(value) => value.try_into().ok(),
                Number::Float(value) => Some(value as Self).filter(|&integer| integer as f64 == value && integer as i128 == value as i128),
            }
        }
        #[inline]
        fn to_f32(self) -> f32 {
            self as f32
        }
        #[inline]
        fn is_f32_exact(self) -> bool {
            // Through i128, since a saturating cast would take 2^64 for u64::MAX.
            (self as f32) as i128 == self as i128
        }
    };
    (Float $type:ident $bits:ident) => {
        #[inline]
        fn as_count(self) -> Option<u32> {
            // The cast saturates (hence the bound) and maps NaN to 0; the way back tells whether anything was lost.
            let count = self as u32;
            (count > 0 && self < 4_294_967_296.0 && (count as $type) == self).then_some(count)
        }
        #[inline]
        fn from_count(count: u32) -> Self {
            count as Self
        }
        #[inline]
        fn bits(self) -> u64 {
            u64::from(self.to_bits())
        }
        #[inline]
        fn from_bits(bits: u64) -> Self {
            <$type>::from_bits(bits as $bits)
        }
        #[inline]
        fn sum(self, other: Self) -> Option<Self> {
            let sum = self + other;
            (sum.is_finite() || !self.is_finite() || !other.is_finite()).then_some(sum)
        }
        #[inline]
        fn number(self) -> Number {
            Number::Float(self.into())
        }
        #[inline]
        fn from_number(number: Number) -> Option<Self> {
            match number {
                Number::Integer(value) => Some(value as Self).filter(|&float| float as i128 == value),
                Number::Float(value) => Some(value as Self).filter(|&float| f64::from(float) == value || value.is_nan()),
            }
        }
        #[inline]
        fn to_f32(self) -> f32 {
            self as f32
        }
        #[inline]
        fn is_f32_exact(self) -> bool {
            (self as f32) as $type == self || self.is_nan()
        }
        of_float!($type);
    };
    (Boolean $type:ident $bits:ident) => {
        #[inline]
        fn as_count(self) -> Option<u32> {
            self.then_some(1)
        }
        #[inline]
        fn from_count(count: u32) -> Self {
            count != 0
        }
        #[inline]
        fn bits(self) -> u64 {
            u64::from(self)
        }
        #[inline]
        fn from_bits(bits: u64) -> Self {
            bits & 0xFF != 0
        }
        #[inline]
        fn sum(self, other: Self) -> Option<Self> {
            Some(self | other)
        }
        #[inline]
        fn number(self) -> Number {
            Number::Integer(self.into())
        }
        #[inline]
        fn from_number(number: Number) -> Option<Self> {
            match number {
                Number::Integer(value) => [false, true].into_iter().find(|&bool| i128::from(bool) == value),
                Number::Float(value) => [false, true].into_iter().find(|&bool| f64::from(u8::from(bool)) == value),
            }
        }
        #[inline]
        fn to_f32(self) -> f32 {
            f32::from(u8::from(self))
        }
        #[inline]
        fn is_f32_exact(self) -> bool {
            true
        }
    };
}

macro_rules! of_float {
    (f32) => {
        #[inline(always)]
        fn as_f32s(values: &mut [Self]) -> Option<&mut [f32]> {
            Some(values)
        }

        #[inline(always)]
        fn fill_counts(codes: &[u32], out: &mut [Self]) {
            // Processors convert signed integers at once, unsigned ones in several steps.
            if codes.iter().fold(0, |all, &code| all | code) < 1 << 30 {
                out.iter_mut()
                    .zip(codes)
                    .for_each(|(value, &code)| *value = (code as i32 + 1) as Self);
            } else {
                out.iter_mut()
                    .zip(codes)
                    .for_each(|(value, &code)| *value = Self::from_count(code + 1));
            }
        }

        #[inline(always)]
        fn codes(values: &[Self], codes: &mut Vec<u32>) -> bool {
            codes.clear();
            let mut are_counts = true;
            // As above: signed integers. A cast of 2^31 and more gives the largest of them, which is not an `f32`.
            codes.extend(values.iter().map(|&value| {
                let count = value as i32;
                are_counts &= (count as Self == value) & (count > 0) & (count < i32::MAX);
                (count as u32).wrapping_sub(1)
            }));
            are_counts
        }

        #[inline]
        fn from_stored(stored: ValueType, bytes: &[u8]) -> Self {
            crate::with_element!(stored, S => get::<S>(bytes).to_f32())
        }
    };
    ($type:ident) => {};
}

crate::with_element_types!(implement);

impl ValueBuffer {
    /// Moves all values of `more`, which is of the same type, to the end of this buffer.
    ///
    /// # Panics
    /// If the types differ.
    pub fn append(&mut self, more: &mut Self) {
        let types = (self.value_type(), more.value_type());
        crate::with_element!(types.0, T => match (T::vec_mut(self), T::vec_mut(more)) {
            (Some(values), Some(more)) => values.append(more),
            _ => panic!("values of {:?} after those of {:?}", types.1, types.0),
        });
    }
}

/// Appends the value's bytes, little endian, in the width of its type.
#[inline]
pub fn put<T: Element>(value: T, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.bits().to_le_bytes()[..T::VALUE_TYPE.size_bytes()]);
}

/// Reads the value at the start of `bytes`.
///
/// # Panics
/// If `bytes` is shorter than the type.
#[inline]
pub fn get<T: Element>(bytes: &[u8]) -> T {
    let width = T::VALUE_TYPE.size_bytes();
    let mut le = [0u8; 8];
    le[..width].copy_from_slice(&bytes[..width]);
    T::from_bits(u64::from_le_bytes(le))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_positive_integers_that_survive_the_way_back() {
        assert_eq!(1.0f32.as_count(), Some(1));
        assert_eq!(16_777_216.0f32.as_count(), Some(16_777_216));
        for x in [0.0f32, -0.0, -1.0, 0.5, f32::NAN, f32::INFINITY, 4_294_967_296.0] {
            assert_eq!(x.as_count(), None, "{x}");
        }
        assert_eq!(4_294_967_295.0f64.as_count(), Some(u32::MAX));
        assert_eq!((-1i64).as_count(), None);
        assert_eq!((1i64 << 32).as_count(), None);
        assert_eq!((true.as_count(), false.as_count()), (Some(1), None));
    }

    #[test]
    fn codes_are_those_of_the_counts() {
        fn check<T: Element>(values: &[T]) {
            let mut codes = vec![7];
            for values in [values, &[]] {
                let expected: Option<Vec<u32>> =
                    values.iter().map(|value| Some(value.as_count()? - 1)).collect();
                let are_counts = T::codes(values, &mut codes);
                // A large count may be taken for none.
                let is_large = values
                    .iter()
                    .any(|value| value.as_count().is_some_and(|count| count >= 1 << 31));
                assert!(are_counts == expected.is_some() || is_large && !are_counts);
                if are_counts {
                    assert_eq!(Some(&codes), expected.as_ref());
                }
            }
        }
        for value in [
            1.0,
            255.0,
            65_536.0,
            16_777_216.0,
            2_147_483_520.0,
            2_147_483_648.0,
            4_294_967_040.0,
        ] {
            check(&[1.0f32, value, 3.0]);
            check(&[1.0f64, f64::from(value), 3.0]);
        }
        for value in [
            0.0,
            -0.0,
            0.5,
            -1.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            4_294_967_296.0,
            1e38,
        ] {
            check(&[1.0f32, value, 3.0]);
            check(&[1.0f64, f64::from(value), 3.0]);
        }
        check(&[1u8, 0]);
        check(&[1u64, u64::from(u32::MAX)]);
        check(&[1u64, 1 << 32]);
        check(&[true, true]);
        check(&[true, false]);
        check(&[-1i16, 3]);
    }

    #[test]
    fn numbers_become_a_type_exactly_or_not_at_all() {
        use crate::Number::{Float, Integer};
        assert_eq!(i8::from_number(Integer(-128)), Some(-128));
        assert_eq!(
            (i8::from_number(Integer(128)), u8::from_number(Integer(-1))),
            (None, None)
        );
        assert_eq!(
            (i32::from_number(Float(7.0)), i32::from_number(Float(7.5))),
            (Some(7), None)
        );
        assert_eq!(
            (i64::from_number(Float(9.3e18)), u8::from_number(Float(f64::NAN))),
            (None, None)
        );
        assert_eq!(u64::from_number(Float(18_446_744_073_709_551_616.0)), None);
        assert_eq!(f64::from_number(Integer(1 << 53)), Some(9_007_199_254_740_992.0));
        assert_eq!(f64::from_number(Integer((1 << 53) + 1)), None);
        assert_eq!(
            (f32::from_number(Float(0.5)), f32::from_number(Float(0.1))),
            (Some(0.5), None)
        );
        assert!(f32::from_number(Float(f64::NAN)).is_some_and(f32::is_nan));
        assert_eq!(f32::from_number(Float(f64::INFINITY)), Some(f32::INFINITY));
        assert_eq!(
            (bool::from_number(Integer(1)), bool::from_number(Integer(2))),
            (Some(true), None)
        );
    }

    #[test]
    fn booleans_are_the_numbers_0_and_1() {
        use crate::Number::Float;
        assert_eq!(
            (bool::from_number(Float(1.0)), bool::from_number(Float(0.0))),
            (Some(true), Some(false))
        );
        assert_eq!(
            (bool::from_number(Float(0.5)), bool::from_number(Float(f64::NAN))),
            (None, None)
        );
    }

    #[test]
    fn f32_exactness() {
        assert!(0.1f32.is_f32_exact() && f32::NAN.is_f32_exact());
        assert!(0.5f64.is_f32_exact() && !0.1f64.is_f32_exact() && f64::INFINITY.is_f32_exact());
        assert!(16_777_216u32.is_f32_exact() && !16_777_217u32.is_f32_exact());
        assert!(!u64::MAX.is_f32_exact() && i64::MIN.is_f32_exact() && !i64::MAX.is_f32_exact());
    }

    #[test]
    fn bytes_round_trip() {
        fn check<T: Element + std::fmt::Debug>(value: T) {
            let mut out = vec![];
            put(value, &mut out);
            assert_eq!(out.len(), T::VALUE_TYPE.size_bytes());
            assert_eq!(get::<T>(&out).bits(), value.bits());
        }
        check(-3i8);
        check(-30_000i16);
        check(i64::MIN);
        check(f64::from_bits(0x7FF8_0000_0000_1234));
        check(f32::NEG_INFINITY);
        check(true);
    }
}
