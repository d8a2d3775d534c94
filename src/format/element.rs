//! What the codec needs to know about an element type.

use super::value::{ValueBuffer, ValueType};

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

    /// The values themselves where they are `f32`: what the fast loops write.
    #[inline(always)]
    fn as_f32s(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// The value's bits, zero-extended: two values are the same exactly when their bits are.
    fn bits(self) -> u64;

    /// The value with these bits; higher bits are ignored.
    fn from_bits(bits: u64) -> Self;

    /// Reads a value that the store holds as `stored`. An `f32` is read from every type (the nearest one); any other
    /// type only from itself.
    ///
    /// # Panics
    /// Where another type than `f32` is read from a type that is not its own, or `bytes` is too short.
    #[inline]
    fn from_stored(stored: ValueType, bytes: &[u8]) -> Self {
        assert_eq!(stored, Self::VALUE_TYPE, "only f32 is read from another type");
        get(bytes)
    }

    /// The nearest `f32`.
    fn to_f32(self) -> f32;

    /// Whether the nearest `f32`, taken back to this type, is the very same value.
    fn is_f32_exact(self) -> bool;

    /// The vector inside the buffer, where the buffer is of this type.
    fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>>;
}

macro_rules! integer {
    ($type:ty, $unsigned:ty, $variant:ident) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const VALUE_TYPE: ValueType = ValueType::$variant;
            fn as_count(self) -> Option<u32> {
                u32::try_from(self).ok().filter(|&c| c > 0)
            }
            fn from_count(count: u32) -> Self {
                count as Self
            }
            fn bits(self) -> u64 {
                self as $unsigned as u64
            }
            fn from_bits(bits: u64) -> Self {
                bits as Self
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn is_f32_exact(self) -> bool {
                // Through i128, since a saturating cast would take 2^64 for u64::MAX.
                (self as f32) as i128 == self as i128
            }
            fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>> {
                match buffer {
                    ValueBuffer::$variant(v) => Some(v),
                    _ => None,
                }
            }
        }
    };
}

integer!(u8, u8, U8);
integer!(u16, u16, U16);
integer!(u32, u32, U32);
integer!(u64, u64, U64);
integer!(i8, u8, I8);
integer!(i16, u16, I16);
integer!(i32, u32, I32);
integer!(i64, u64, I64);

macro_rules! float {
    ($type:ty, $bits:ty, $variant:ident, { $($own:item)* }) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const VALUE_TYPE: ValueType = ValueType::$variant;
            fn as_count(self) -> Option<u32> {
                // The cast saturates (hence the bound) and maps NaN to 0; the way back tells whether anything was lost.
                let count = self as u32;
                (count > 0 && self < 4_294_967_296.0 && (count as $type) == self).then_some(count)
            }
            fn from_count(count: u32) -> Self {
                count as Self
            }
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn from_bits(bits: u64) -> Self {
                <$type>::from_bits(bits as $bits)
            }
            $($own)*
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn is_f32_exact(self) -> bool {
                (self as f32) as $type == self || self.is_nan()
            }
            fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>> {
                match buffer {
                    ValueBuffer::$variant(v) => Some(v),
                    _ => None,
                }
            }
        }
    };
}

float!(f32, u32, F32, {
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

    #[inline]
    fn from_stored(stored: ValueType, bytes: &[u8]) -> Self {
        crate::with_element!(stored, S => get::<S>(bytes).to_f32())
    }
});
float!(f64, u64, F64, {});

impl sealed::Sealed for bool {}
impl Element for bool {
    const VALUE_TYPE: ValueType = ValueType::Bool;
    fn as_count(self) -> Option<u32> {
        self.then_some(1)
    }
    fn from_count(count: u32) -> Self {
        count != 0
    }
    fn bits(self) -> u64 {
        u64::from(self)
    }
    fn from_bits(bits: u64) -> Self {
        bits & 0xFF != 0
    }
    fn to_f32(self) -> f32 {
        f32::from(u8::from(self))
    }
    fn is_f32_exact(self) -> bool {
        true
    }
    fn vec_mut(buffer: &mut ValueBuffer) -> Option<&mut Vec<Self>> {
        match buffer {
            ValueBuffer::Bool(v) => Some(v),
            _ => None,
        }
    }
}

/// Appends the value's bytes, little endian, in the width of its type.
pub(crate) fn put<T: Element>(value: T, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.bits().to_le_bytes()[..T::VALUE_TYPE.size_bytes()]);
}

/// Reads the value at the start of `bytes`.
///
/// # Panics
/// Where `bytes` is shorter than the type.
#[inline]
pub(crate) fn get<T: Element>(bytes: &[u8]) -> T {
    let width = T::VALUE_TYPE.size_bytes();
    let mut le = [0u8; 8];
    le[..width].copy_from_slice(&bytes[..width]);
    T::from_bits(u64::from_le_bytes(le))
}

/// Runs `$body` with the type `$T` bound to the element type that the [`ValueType`] names.
#[macro_export]
macro_rules! with_element {
    ($value_type:expr, $T:ident => $body:expr) => {
        match $value_type {
            $crate::format::ValueType::Bool => {
                type $T = bool;
                $body
            }
            $crate::format::ValueType::U8 => {
                type $T = u8;
                $body
            }
            $crate::format::ValueType::U16 => {
                type $T = u16;
                $body
            }
            $crate::format::ValueType::U32 => {
                type $T = u32;
                $body
            }
            $crate::format::ValueType::U64 => {
                type $T = u64;
                $body
            }
            $crate::format::ValueType::I8 => {
                type $T = i8;
                $body
            }
            $crate::format::ValueType::I16 => {
                type $T = i16;
                $body
            }
            $crate::format::ValueType::I32 => {
                type $T = i32;
                $body
            }
            $crate::format::ValueType::I64 => {
                type $T = i64;
                $body
            }
            $crate::format::ValueType::F32 => {
                type $T = f32;
                $body
            }
            $crate::format::ValueType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
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
