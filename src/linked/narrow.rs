//! Elements as a file has them, to elements as rows are kept: columns checked and narrow, values little-endian and narrow where nothing is
//! lost.

use cellring_core::{Element, ValueClass, ValueType, get, put};

/// Appends columns, 2 or 4 bytes each. On failure the place of one that is not below `n_vars`.
///
/// # Panics
/// If `value_type` is not an integer.
pub(super) fn columns(
    bytes: &[u8],
    value_type: ValueType,
    big_endian: bool,
    n_vars: u64,
    column_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), usize> {
    use ValueType::{I32, I64, U32, U64};
    match (value_type, big_endian) {
        (I32 | U32, false) => {
            let elements = bytes.as_chunks::<4>().0;
            // A negative number is a large one.
            put_columns(
                elements,
                |&element| u32::from_le_bytes(element).into(),
                n_vars,
                column_bytes,
                out,
            )
        }
        (I64 | U64, false) => {
            let elements = bytes.as_chunks::<8>().0;
            put_columns(
                elements,
                |&element| u64::from_le_bytes(element),
                n_vars,
                column_bytes,
                out,
            )
        }
        _ => {
            let elements: Vec<u64> = bytes
                .chunks_exact(value_type.size_bytes())
                .map(|element| integer(element, value_type, big_endian) as u64)
                .collect();
            put_columns(&elements, |&element| element, n_vars, column_bytes, out)
        }
    }
}

/// The integer of these bytes, sign-extended.
pub(super) fn integer(element: &[u8], value_type: ValueType, big_endian: bool) -> i128 {
    let width = element.len();
    let mut le = [0; 8];
    for (k, &byte) in element.iter().enumerate() {
        le[if big_endian { width - 1 - k } else { k }] = byte;
    }
    let unused = 64 - 8 * width as u32;
    match value_type.class() {
        ValueClass::Signed => i128::from(i64::from_le_bytes(le) << unused >> unused),
        _ => u64::from_le_bytes(le).into(),
    }
}

#[inline(always)]
fn put_columns<E>(
    elements: &[E],
    column: impl Fn(&E) -> u64 + Copy,
    n_vars: u64,
    column_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), usize> {
    let start = out.len();
    out.resize(start + elements.len() * column_bytes, 0);
    let mut largest = 0;
    match column_bytes {
        2 => {
            let places = out[start..].as_chunks_mut::<2>().0;
            for (place, element) in places.iter_mut().zip(elements) {
                let column = column(element);
                largest = largest.max(column);
                *place = (column as u16).to_le_bytes();
            }
        }
        _ => {
            let places = out[start..].as_chunks_mut::<4>().0;
            for (place, element) in places.iter_mut().zip(elements) {
                let column = column(element);
                largest = largest.max(column);
                *place = (column as u32).to_le_bytes();
            }
        }
    }
    match largest < n_vars || elements.is_empty() {
        true => Ok(()),
        false => Err(elements
            .iter()
            .position(|element| column(element) >= n_vars)
            .unwrap_or(0)),
    }
}

/// Memory for counts.
pub(super) type Counts = Vec<u16>;

/// Appends values: as `u8` or `u16` where all of them are such counts, else in their own type.
pub(super) fn values(
    bytes: &[u8],
    value_type: ValueType,
    big_endian: bool,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let width = value_type.size_bytes();
    if value_type == ValueType::Bool {
        out.extend(bytes.iter().map(|&byte| u8::from(byte != 0)));
        return;
    }
    let start = out.len();
    if big_endian && width > 1 {
        out.extend_from_slice(bytes);
        out[start..].chunks_exact_mut(width).for_each(<[u8]>::reverse);
        if width >= 4 {
            let swapped = out.split_off(start);
            narrow(&swapped, value_type, counts, out);
        }
        return;
    }
    match width >= 4 {
        true => narrow(bytes, value_type, counts, out),
        false => out.extend_from_slice(bytes),
    }
}

/// Appends little-endian values as narrow as they can be.
fn narrow(bytes: &[u8], value_type: ValueType, counts: &mut Counts, out: &mut Vec<u8>) {
    let all_bits = match value_type {
        ValueType::F32 => take_counts(
            bytes.as_chunks::<4>().0,
            |&le| f32::from_le_bytes(le).to_bits(),
            // Processors convert to signed integers at once.
            |bits| f32::from_bits(bits) as i32 as u16,
            |count| f32::from(count).to_bits(),
            counts,
        ),
        ValueType::F64 => take_counts(
            bytes.as_chunks::<8>().0,
            |&le| f64::from_le_bytes(le).to_bits(),
            |bits| f64::from_bits(bits) as i32 as u16,
            |count| f64::from(count).to_bits(),
            counts,
        ),
        _ if value_type.size_bytes() == 4 => take_counts(
            bytes.as_chunks::<4>().0,
            |&le| u32::from_le_bytes(le),
            |bits| bits as u16,
            u32::from,
            counts,
        ),
        _ => take_counts(
            bytes.as_chunks::<8>().0,
            |&le| u64::from_le_bytes(le),
            |bits| bits as u16,
            u64::from,
            counts,
        ),
    };
    match all_bits {
        None => out.extend_from_slice(bytes),
        Some(bits) if bits <= 0xFF => out.extend(counts.iter().map(|&count| count as u8)),
        Some(_) => out.extend_from_slice(bytemuck::cast_slice(counts)),
    }
}

/// Fills `counts` with the values, as integers: all bits of them together, or `None` if one is no such integer.
#[inline(always)]
fn take_counts<L, B: Copy + PartialEq>(
    elements: &[L],
    bits: impl Fn(&L) -> B,
    count: impl Fn(B) -> u16,
    back: impl Fn(u16) -> B,
    counts: &mut Counts,
) -> Option<u16> {
    counts.clear();
    counts.resize(elements.len(), 0);
    let (mut all, mut exact) = (0, true);
    for (place, element) in counts.iter_mut().zip(elements) {
        let bits = bits(element);
        let count = count(bits);
        exact &= back(count) == bits;
        all |= count;
        *place = count;
    }
    exact.then_some(all)
}

/// Whether columns, 2 or 4 bytes each, ascend strictly.
pub(super) fn ascend(columns: &[u8], column_bytes: usize) -> bool {
    #[inline(always)]
    fn all<L, C: PartialOrd>(columns: &[L], column: impl Fn(&L) -> C) -> bool {
        let pairs = columns.iter().zip(columns.iter().skip(1));
        pairs.fold(true, |all, (a, b)| all & (column(a) < column(b)))
    }
    match column_bytes {
        2 => all(columns.as_chunks::<2>().0, |&le| u16::from_le_bytes(le)),
        _ => all(columns.as_chunks::<4>().0, |&le| u32::from_le_bytes(le)),
    }
}

/// Whether one of the values, which have this type, is exactly +0.
pub(super) fn has_zeros(values: &[u8], kept: ValueType) -> bool {
    match kept.size_bytes() {
        1 => values.contains(&0),
        2 => values
            .as_chunks::<2>()
            .0
            .iter()
            .fold(false, |any, &le| any | (le == [0; 2])),
        4 => values
            .as_chunks::<4>()
            .0
            .iter()
            .fold(false, |any, &le| any | (le == [0; 4])),
        _ => values
            .as_chunks::<8>()
            .0
            .iter()
            .fold(false, |any, &le| any | (le == [0; 8])),
    }
}

/// The values as they are kept, in their own type.
pub(super) fn widened<T: Element>(values: &[u8], kept: ValueType) -> Vec<T> {
    let each = values.chunks_exact(kept.size_bytes());
    match kept == T::VALUE_TYPE {
        true => each.map(get::<T>).collect(),
        false => each.map(|bytes| T::from_count(number(bytes))).collect(),
    }
}

/// Appends values that are kept in a type as they are kept in a wider one.
pub(super) fn widen(values: &[u8], kept: ValueType, to: ValueType, out: &mut Vec<u8>) {
    if kept == to {
        return out.extend_from_slice(values);
    }
    let counts = values.chunks_exact(kept.size_bytes()).map(number);
    cellring_core::with_element!(to, T => counts.for_each(|count| put(T::from_count(count), out)));
}

/// The columns of a row as they are kept, of so many bytes each.
pub(super) fn wide_columns(columns: &[u8], column_bytes: usize) -> impl Iterator<Item = u32> {
    columns.chunks_exact(column_bytes).map(number)
}

/// The number of at most 4 bytes, the lowest first.
#[inline]
pub(super) fn number(le: &[u8]) -> u32 {
    le.iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values_bytes: &[u8], value_type: ValueType, big_endian: bool) -> Vec<u8> {
        let mut out = vec![77];
        values(values_bytes, value_type, big_endian, &mut vec![1, 2, 3], &mut out);
        out.split_off(1)
    }

    #[test]
    fn values_are_as_narrow_as_nothing_is_lost() {
        let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let plain = f32s(&[1.0, 255.0, 0.0]);
        assert_eq!(kept(&plain, ValueType::F32, false), [1, 255, 0]);
        assert_eq!(kept(&f32s(&[1.0, 256.0]), ValueType::F32, false), [1, 0, 0, 1]);
        for odd in [0.5, -0.0, -1.0, 65_536.0, f32::NAN, f32::INFINITY, 1e30] {
            let bytes = f32s(&[3.0, odd]);
            assert_eq!(kept(&bytes, ValueType::F32, false), bytes, "{odd}");
        }
        let swapped: Vec<u8> = [7.0f64, 9.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(kept(&swapped, ValueType::F64, true), [7, 9]);
        let i64s: Vec<u8> = [-1i64, 3].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(kept(&i64s, ValueType::I64, false), i64s);
        assert_eq!(kept(&[2, 0, 1], ValueType::Bool, false), [1, 0, 1]);
        assert_eq!(kept(&[1, 2], ValueType::I16, true), [2, 1]);
    }

    #[test]
    fn narrow_values_are_made_wide_again() {
        let wide = |values: &[u8], kept, to| {
            let mut out = vec![77];
            widen(values, kept, to, &mut out);
            out.split_off(1)
        };
        assert_eq!(wide(&[1, 255], ValueType::U8, ValueType::U16), [1, 0, 255, 0]);
        let f64s = [1.0f64.to_le_bytes(), 258.0f64.to_le_bytes()].concat();
        assert_eq!(wide(&[1, 0, 2, 1], ValueType::U16, ValueType::F64), f64s);
        assert_eq!(wide(&[7], ValueType::U8, ValueType::I32), [7, 0, 0, 0]);
        assert_eq!(wide(&f64s, ValueType::F64, ValueType::F64), f64s);
    }

    #[test]
    fn columns_out_of_range_are_found_whatever_their_type() {
        let take = |bytes: &[u8], value_type, big_endian| {
            let mut out = vec![];
            columns(bytes, value_type, big_endian, 100, 2, &mut out).map(|()| out)
        };
        let i32s = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(
            take(&i32s(&[0, 99]), ValueType::I32, false),
            Ok(vec![0, 0, 99, 0])
        );
        assert_eq!(take(&i32s(&[0, 100]), ValueType::I32, false), Err(1));
        assert_eq!(take(&i32s(&[-1, 100]), ValueType::I32, false), Err(0));
        assert_eq!(take(&[255], ValueType::I8, false), Err(0));
        assert_eq!(take(&[1, 0, 0, 7], ValueType::U16, true), Err(0));
        assert_eq!(take(&[0, 7], ValueType::U16, true), Ok(vec![7, 0]));
        let far = (1i64 << 32).to_le_bytes();
        assert_eq!(take(&far, ValueType::I64, false), Err(0));
    }

    #[test]
    fn canonical_rows_are_known() {
        assert!(ascend(&[1, 0, 2, 0, 0, 1], 2) && ascend(&[], 2) && ascend(&[1, 0, 0, 0], 4));
        assert!(!ascend(&[2, 0, 2, 0], 2) && !ascend(&[2, 0, 0, 0, 1, 0, 0, 0], 4));
        // However it is aligned in memory.
        let bytes = [9, 1, 0, 2, 0];
        assert!(ascend(&bytes[1..], 2));
        assert!(has_zeros(&[1, 0], ValueType::U8) && !has_zeros(&[1, 0], ValueType::U16));
        assert!(!has_zeros(&(-0.0f32).to_le_bytes(), ValueType::F32));
    }
}
