//! Memory for values and indices of any type, and what a row needs to know about the types.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::lanes::Lanes;
use super::output::IndexType;
use super::rank::Ranked;
use super::views::{Indices, Value, Values};
use crate::format::Element;
use crate::gpu::{Gpu, Locked};

/// Where values begin in memory, in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// Memory of at least so many bytes begins on a page and has its last page to itself, so that it can be page-locked: shorter arrays are
/// copied to a GPU by way of memory that is.
const PAGED_BYTES: usize = 32 << 10;
const PAGE_BYTES: usize = 4096;

/// Values from an aligned address on, as many as the largest use so far needed.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    // Declared first, so dropped first: the driver lets go of the memory before it is freed.
    locked: Option<Locked>,
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Makes room for `len` values, and where there is not enough, for `spare` more. True where the memory is new: then all
    /// values are zero. Otherwise they are what they were.
    pub(crate) fn reserve(&mut self, len: usize, spare: usize) -> bool {
        if self.len >= len {
            return false;
        }
        let is_paged = (len + spare) * size_of::<T>() >= PAGED_BYTES;
        let alignment = if is_paged { PAGE_BYTES } else { ALIGNMENT };
        let most_skipped = alignment / size_of::<T>();
        let tail = if is_paged { most_skipped } else { 0 };
        // Nothing of the old content is wanted, and the two need not exist at the same time.
        self.locked = None;
        self.memory = Vec::new();
        self.memory = vec![T::default(); len + spare + most_skipped + tail];
        self.start = self.memory.as_ptr().align_offset(alignment).min(most_skipped);
        self.len = len + spare;
        true
    }

    /// Has the memory page-locked, where it is large and is not yet.
    pub(crate) fn pin(&mut self, gpu: &Gpu)
    where
        T: Bytes,
    {
        if self.locked.is_none() && self.len * size_of::<T>() >= PAGED_BYTES {
            let per_page = PAGE_BYTES / size_of::<T>();
            let end = self.start + self.len.next_multiple_of(per_page);
            self.locked = gpu.lock_pages(T::bytes(&self.memory[self.start..end]));
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// The first `len` values, for which room is made.
    pub(crate) fn first_mut(&mut self, len: usize) -> &mut [T] {
        self.reserve(len, len / 8);
        &mut self.as_mut_slice()[..len]
    }
}

/// A type whose values are bytes without gaps.
pub(crate) trait Bytes: Sized {
    /// The bytes of some values.
    fn bytes(values: &[Self]) -> &[u8];
}

macro_rules! bytes {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        $(impl Bytes for $type {
            fn bytes(values: &[Self]) -> &[u8] {
                bytemuck::cast_slice(values)
            }
        })*
    };
}

cellring_core::with_element_types!(bytes);

macro_rules! half_bytes {
    ($($type:ty)*) => {
        $(impl Bytes for $type {
            fn bytes(values: &[Self]) -> &[u8] {
                bytemuck::cast_slice(values.reinterpret_cast())
            }
        })*
    };
}

half_bytes!(f16 bf16);

/// How a [`Value`] is made.
pub(crate) trait DeliveredValue: Value {
    /// What a row is decoded and computed in.
    type ComputedValue: ComputedValue;

    /// The memory inside, which becomes memory of this type if it is of another one.
    fn memory(any: &mut AnyValues) -> &mut Aligned<Self>;

    /// The values themselves, where nothing lies between them and what a row is computed in.
    fn as_computed(values: &mut [Self]) -> Option<&mut [Self::ComputedValue]>;

    /// The nearest values of this type; `memory` holds them where they differ from `work`.
    fn converted<'a>(lanes: Lanes, work: &'a [Self::ComputedValue], memory: &'a mut AnyValues) -> &'a [Self];
}

/// What a row is decoded and computed in.
pub(crate) trait ComputedValue: Element + Ranked + DeliveredValue<ComputedValue = Self> {
    /// Memory for keys, and as much to sort them.
    fn keys(keys: &mut Keys) -> &mut [Vec<Self::Key>; 2];

    /// The values, where they are `f32`.
    fn as_f32(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// Memory for keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    narrow: [Vec<u64>; 2],
    wide: [Vec<u128>; 2],
}

macro_rules! values {
    (($($half:ident: $half_type:ident),*)
     $($(#[$doc:meta])* $stored:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        values!($($half $half_type,)* $($stored $type,)*);
    };
    ($($variant:ident $type:ty,)*) => {
        /// Memory for values of some type.
        #[derive(Debug)]
        pub(crate) enum AnyValues {
            $($variant(Aligned<$type>),)*
        }

        impl AnyValues {
            /// The first `len` values.
            pub(crate) fn values(&self, len: usize) -> Values<'_> {
                match self {
                    $(Self::$variant(values) => Values::$variant(&values.as_slice()[..len]),)*
                }
            }

            /// Has large memory page-locked.
            pub(crate) fn pin(&mut self, gpu: &Gpu) {
                match self {
                    $(Self::$variant(values) => values.pin(gpu),)*
                }
            }

            /// Number of values that there is memory for.
            pub(crate) fn capacity(&self) -> usize {
                match self {
                    $(Self::$variant(values) => values.as_slice().len(),)*
                }
            }

            /// Where the values begin, for those who write to them.
            pub(crate) fn address(&mut self) -> usize {
                match self {
                    $(Self::$variant(values) => values.as_mut_slice().as_mut_ptr().expose_provenance(),)*
                }
            }
        }
    };
}

// A minibatch has values of a type that stores hold, or rounded ones.
cellring_core::with_element_types!(values, F16: f16, Bf16: bf16);

impl Default for AnyValues {
    fn default() -> Self {
        Self::F32(Aligned::default())
    }
}

macro_rules! of {
    ($variant:ident) => {
        fn memory(any: &mut AnyValues) -> &mut Aligned<Self> {
            if !matches!(any, AnyValues::$variant(_)) {
                *any = AnyValues::$variant(Aligned::default());
            }
            match any {
                AnyValues::$variant(values) => values,
                _ => unreachable!("it has just been made"),
            }
        }
    };
}

macro_rules! work {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        $(work!($bits $Variant $type);)*
    };
    // A key holds the bits of a value and a column.
    (u64 $Variant:ident $type:ident) => {
        work!($Variant $type, u64, u128, wide);
    };
    ($bits:ident $Variant:ident $type:ident) => {
        work!($Variant $type, $bits, u64, narrow);
    };
    ($Variant:ident $type:ident, $bits:ident, $key:ty, $keys:ident) => {
        impl DeliveredValue for $type {
            type ComputedValue = Self;
            of!($Variant);
            fn as_computed(values: &mut [Self]) -> Option<&mut [Self]> {
                Some(values)
            }
            fn converted<'a>(_lanes: Lanes, work: &'a [Self], _memory: &'a mut AnyValues) -> &'a [Self] {
                work
            }
        }

        impl Ranked for $type {
            type Key = $key;
            #[inline(always)]
            fn key(self, column: i32) -> $key {
                // The bits of values above 0 are ordered as the values are, for integers and floats alike.
                <$key>::from(!(self.bits() as $bits)) << 32 | <$key>::from(column as u32)
            }
            #[inline(always)]
            fn of_key(key: $key) -> (i32, Self) {
                (key as u32 as i32, <Self as Element>::from_bits(u64::from(!((key >> 32) as $bits))))
            }
        }

        impl ComputedValue for $type {
            fn keys(keys: &mut Keys) -> &mut [Vec<$key>; 2] {
                &mut keys.$keys
            }
            as_f32!($type);
        }
    };
}

macro_rules! as_f32 {
    (f32) => {
        fn as_f32(values: &mut [Self]) -> Option<&mut [f32]> {
            Some(values)
        }
    };
    ($type:ident) => {};
}

cellring_core::with_element_types!(work);

macro_rules! half {
    ($variant:ident $type:ty, $convert:expr) => {
        impl DeliveredValue for $type {
            type ComputedValue = f32;
            of!($variant);
            fn as_computed(_values: &mut [Self]) -> Option<&mut [f32]> {
                None
            }
            fn converted<'a>(lanes: Lanes, work: &'a [f32], memory: &'a mut AnyValues) -> &'a [Self] {
                let values = Self::memory(memory).first_mut(work.len());
                let convert: fn(Lanes, &mut [Self], &[f32]) = $convert;
                convert(lanes, values, work);
                values
            }
        }
    };
}

// The crate chooses the instructions itself.
half!(F16 f16, |_, values, work| values.convert_from_f32_slice(work));
half!(Bf16 bf16, |lanes, values, work| lanes.round_to_bf16(work, values));

/// Memory for indices of some type: columns and offsets, which are not values.
#[derive(Debug)]
pub(crate) enum AnyIndices {
    I32(Aligned<i32>),
    I64(Aligned<i64>),
}

impl Default for AnyIndices {
    fn default() -> Self {
        Self::I32(Aligned::default())
    }
}

impl AnyIndices {
    /// The first `len` indices, for which room is made. The memory becomes that of this type if it is of another one.
    pub(crate) fn first_mut(&mut self, index_type: IndexType, len: usize) -> IndicesMut<'_> {
        match (&*self, index_type) {
            (Self::I32(_), IndexType::I32) | (Self::I64(_), IndexType::I64) => {}
            (_, IndexType::I32) => *self = Self::I32(Aligned::default()),
            (_, IndexType::I64) => *self = Self::I64(Aligned::default()),
        }
        match self {
            Self::I32(indices) => IndicesMut::I32(indices.first_mut(len)),
            Self::I64(indices) => IndicesMut::I64(indices.first_mut(len)),
        }
    }

    /// The first `len` indices.
    pub(crate) fn indices(&self, len: usize) -> Indices<'_> {
        match self {
            Self::I32(indices) => Indices::I32(&indices.as_slice()[..len]),
            Self::I64(indices) => Indices::I64(&indices.as_slice()[..len]),
        }
    }

    /// Has large memory page-locked.
    pub(crate) fn pin(&mut self, gpu: &Gpu) {
        match self {
            Self::I32(indices) => indices.pin(gpu),
            Self::I64(indices) => indices.pin(gpu),
        }
    }

    /// Where the indices begin, for those who write to them.
    pub(crate) fn address(&mut self) -> usize {
        match self {
            Self::I32(indices) => indices.as_mut_slice().as_mut_ptr().expose_provenance(),
            Self::I64(indices) => indices.as_mut_slice().as_mut_ptr().expose_provenance(),
        }
    }
}

/// Indices to be written, of either type. What is done to a row is compiled once for both: they are told apart row by row.
#[derive(Debug)]
pub(crate) enum IndicesMut<'a> {
    I32(&'a mut [i32]),
    I64(&'a mut [i64]),
}

impl IndicesMut<'_> {
    /// Some of the indices.
    pub(crate) fn range(&mut self, range: Range<usize>) -> IndicesMut<'_> {
        match self {
            Self::I32(indices) => IndicesMut::I32(&mut indices[range]),
            Self::I64(indices) => IndicesMut::I64(&mut indices[range]),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::I32(indices) => indices.len(),
            Self::I64(indices) => indices.len(),
        }
    }

    /// The indices themselves, where they are what is decoded.
    pub(crate) fn as_i32(&mut self) -> Option<&mut [i32]> {
        match self {
            Self::I32(indices) => Some(indices),
            Self::I64(_) => None,
        }
    }

    /// Sets the first indices to these columns.
    pub(crate) fn set(&mut self, columns: impl Iterator<Item = i32>) {
        match self {
            Self::I32(indices) => indices.iter_mut().zip(columns).for_each(|(to, from)| *to = from),
            Self::I64(indices) => indices
                .iter_mut()
                .zip(columns)
                .for_each(|(to, from)| *to = from.into()),
        }
    }

    /// Sets an index to an offset, which the caller knows to fit.
    pub(crate) fn set_offset(&mut self, at: usize, offset: usize) {
        match self {
            Self::I32(indices) => indices[at] = offset as i32,
            Self::I64(indices) => indices[at] = offset as i64,
        }
    }

    /// Sets all indices to this column.
    pub(crate) fn fill(&mut self, column: i32) {
        match self {
            Self::I32(indices) => indices.fill(column),
            Self::I64(indices) => indices.fill(column.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    #[test]
    fn memory_is_aligned_and_kept() {
        fn check<T: Value>(lens: [usize; 4]) {
            let mut memory = Aligned::<T>::default();
            let mut most = 0;
            for len in lens {
                assert_eq!(memory.reserve(len, 3), len > most);
                most = memory.as_slice().len();
                assert!(most >= len && memory.as_slice().as_ptr().addr().is_multiple_of(ALIGNMENT));
            }
        }
        check::<f32>([1, 1000, 10, 1001]);
        check::<f16>([7, 8, 9, 100]);
        check::<f64>([2, 5, 6, 1 << 20]);
        check::<bool>([3, 4, 500, 7]);
    }

    #[test]
    fn keys_order_by_falling_value_then_rising_column_and_give_both_back() {
        fn check<T: ComputedValue + Debug>(values: &[T]) {
            for (&large, &small) in values.iter().zip(&values[1..]) {
                assert!(large > small);
                assert!(large.key(i32::MAX - 1) < small.key(0));
                assert!(large.key(4) < large.key(5));
                assert_eq!(T::of_key(large.key(5)), (5, large));
            }
        }
        check(&[f32::INFINITY, 2.5, 1.0, 0.5, f32::from_bits(1)]);
        check(&[f64::INFINITY, 1e300, 1.0, 1e-300]);
        check(&[i64::MAX, i64::MAX - 1, 1 << 40, 1]);
        check(&[u64::MAX, u64::MAX - 1, 3]);
        check(&[u32::MAX, 70_000, 1]);
        check(&[i8::MAX, 1]);
        check(&[u16::MAX, 256, 255]);
    }
}
