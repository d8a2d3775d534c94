//! Integers of any width, sign and byte order.

use super::element::{Class, ElementType};

/// How the integers of a dataset are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntKind {
    size_bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl IntKind {
    /// The kind of integer of an element, or `None` when it is not an integer of 1, 2, 4 or 8 bytes.
    pub(crate) fn for_element(element: &ElementType) -> Option<Self> {
        match element.class {
            Class::Int { .. } => Self::of_numbered(element),
            _ => None,
        }
    }

    /// The same, also for the integers of an enum.
    pub(crate) fn of_numbered(element: &ElementType) -> Option<Self> {
        let signed = match &element.class {
            Class::Int { signed } => *signed,
            Class::Enum(enumeration) => enumeration.signed,
            _ => return None,
        };
        let size_bytes = element.size_bytes;
        matches!(size_bytes, 1 | 2 | 4 | 8).then_some(Self {
            size_bytes,
            signed,
            big_endian: element.big_endian,
        })
    }

    /// Calls `put` for every item of `place` with the value of its element.
    pub(crate) fn for_each<T>(self, bytes: &[u8], place: &mut [T], put: impl Fn(&mut T, i128)) {
        macro_rules! widen {
            ($type:ty) => {{
                let elements = place
                    .iter_mut()
                    .zip(bytes.as_chunks::<{ size_of::<$type>() }>().0);
                if self.big_endian {
                    elements.for_each(|(place, element)| {
                        put(place, i128::from(<$type>::from_be_bytes(*element)))
                    });
                } else {
                    elements.for_each(|(place, element)| {
                        put(place, i128::from(<$type>::from_le_bytes(*element)))
                    });
                }
            }};
        }
        match (self.size_bytes, self.signed) {
            (1, false) => widen!(u8),
            (1, true) => widen!(i8),
            (2, false) => widen!(u16),
            (2, true) => widen!(i16),
            (4, false) => widen!(u32),
            (4, true) => widen!(i32),
            (8, false) => widen!(u64),
            (8, true) => widen!(i64),
            (size, _) => unreachable!("integers of {size} bytes have no kind"),
        }
    }
}
