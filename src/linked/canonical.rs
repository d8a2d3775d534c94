//! Makes a row canonical: the columns of the store, ascending, each once, values of its type, and no explicit zeros.

use std::marker::PhantomData;

use cellring_core::{Element, Number, ValueType, get, put};

use super::error::LinkedError;
use super::input::Input;
use super::link::Link;
use super::narrow::{ascend, has_zeros, number};
use crate::format::encoding::linked::kept_type;
use crate::format::linked::Columns;

/// The columns of a row, and in the lower half of each the place of its value: what is sorted. It is kept from row to row.
pub(crate) type Entries = Vec<u64>;

/// Whether a row is canonical as it is kept. One of a dense matrix never is: its columns are not stored. Nor is one whose columns
/// become others.
pub(crate) fn is_canonical(link: &Link, input: &Input, nnz: u32, [columns, values]: [&[u8]; 2]) -> bool {
    if input.is_dense() || input.columns().is_some() {
        return nnz == 0;
    }
    let kept = kept(input, nnz, values);
    has_type(link, input, kept) && ascend(columns, link.column_bytes()) && !has_zeros(values, kept)
}

/// The type that the values of a row are kept in.
fn kept(input: &Input, nnz: u32, values: &[u8]) -> ValueType {
    kept_type(input.value_type(), nnz as usize, values.len()).unwrap_or(input.value_type())
}

/// Whether values that are kept in a type are those of the store: in its own, or as counts, which are the same in any type that is wide enough.
fn has_type(link: &Link, input: &Input, kept: ValueType) -> bool {
    let are_counts = matches!(kept, ValueType::U8 | ValueType::U16);
    input.value_type() == link.value_type() || are_counts && link.value_type().size_bytes() >= 4
}

/// Appends the columns of a row, and then its values in the type of the store, both canonical. Gives their number.
///
/// Values of equal columns are summed in the order in which they are stored, in the type of the input; zeros are dropped then. It is what
/// a conversion does.
///
/// # Errors
/// If such a sum is beyond the type, or that of the store does not hold a value.
pub(crate) fn canonical(
    link: &Link,
    input: &Input,
    obs: u64,
    nnz: u32,
    [columns, values]: [&[u8]; 2],
    entries: &mut Entries,
    out: &mut Vec<u8>,
) -> Result<u32, LinkedError> {
    place(input, nnz, columns, entries);
    let kept = kept(input, nnz, values);
    cellring_core::with_element!(input.value_type(), S => {
        let row = Row::<S> { link, obs, values, kept, of: PhantomData };
        row.put(entries, out)
    })
}

/// Fills `entries` with what a row has in columns of the store, in their order; of equal ones in that of the row.
fn place(input: &Input, nnz: u32, columns: &[u8], entries: &mut Entries) {
    entries.clear();
    let own = columns.chunks_exact(input.column_bytes()).map(number);
    match (input.is_dense(), input.columns()) {
        (true, None) => return entries.extend((0..nnz).map(|column| entry(column, column))),
        (true, Some(map)) => put_kept(map.iter().copied(), entries),
        (false, None) => put_kept(own, entries),
        (false, Some(map)) => put_kept(own.map(|column| map[column as usize]), entries),
    }
    // The places make equal columns differ.
    if !entries.is_sorted() {
        entries.sort_unstable();
    }
}

fn put_kept(columns: impl Iterator<Item = u32>, entries: &mut Entries) {
    let placed = (0u32..).zip(columns);
    let kept = placed.filter(|&(_, column)| column != Columns::NOT_KEPT);
    entries.extend(kept.map(|(place, column)| entry(column, place)));
}

fn entry(column: u32, place: u32) -> u64 {
    u64::from(column) << 32 | u64::from(place)
}

fn column_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

/// Appends a number as a value of a type; `None` if it has none.
fn put_number(number: Number, value_type: ValueType, out: &mut Vec<u8>) -> Option<()> {
    cellring_core::with_element!(value_type, T => put(T::from_number(number)?, out));
    Some(())
}

/// The values of a row, in the type of its input or as counts.
struct Row<'a, S> {
    link: &'a Link,
    obs: u64,
    values: &'a [u8],
    kept: ValueType,
    of: PhantomData<S>,
}

impl<S: Element> Row<'_, S> {
    /// The value of an entry.
    #[inline]
    fn value(&self, entry: u64) -> S {
        let width = self.kept.size_bytes();
        let bytes = &self.values[entry as u32 as usize * width..][..width];
        match self.kept == S::VALUE_TYPE {
            true => get(bytes),
            false => S::from_count(number(bytes)),
        }
    }

    /// Appends the row with these entries, which are in order.
    fn put(&self, entries: &mut Entries, out: &mut Vec<u8>) -> Result<u32, LinkedError> {
        let are_equal = |pair: &[u64]| column_of(pair[0]) == column_of(pair[1]);
        if entries.windows(2).any(are_equal) {
            return self.put_merged(entries, out);
        }
        entries.retain(|&entry| !self.value(entry).is_plus_zero());
        self.put_columns(entries.iter().map(|&entry| column_of(entry)), out);
        self.put_values(entries.iter().map(|&entry| self.value(entry)), out)?;
        Ok(entries.len() as u32)
    }

    /// The same where values are of equal columns. Such rows are rare.
    #[cold]
    fn put_merged(&self, entries: &[u64], out: &mut Vec<u8>) -> Result<u32, LinkedError> {
        let mut merged: Vec<(u32, S)> = Vec::with_capacity(entries.len());
        for &entry in entries {
            let (column, value) = (column_of(entry), self.value(entry));
            match merged.last_mut() {
                Some(last) if last.0 == column => {
                    last.1 = last.1.sum(value).ok_or_else(|| LinkedError::Overflow {
                        store: self.link.store().to_path_buf(),
                        obs: self.obs,
                        column,
                        value_type: S::VALUE_TYPE.numpy_name(),
                    })?;
                }
                _ => merged.push((column, value)),
            }
        }
        merged.retain(|(_, value)| !value.is_plus_zero());
        self.put_columns(merged.iter().map(|&(column, _)| column), out);
        self.put_values(merged.iter().map(|&(_, value)| value), out)?;
        Ok(merged.len() as u32)
    }

    fn put_columns(&self, columns: impl Iterator<Item = u32>, out: &mut Vec<u8>) {
        let width = self.link.column_bytes();
        columns.for_each(|column| out.extend_from_slice(&column.to_le_bytes()[..width]));
    }

    fn put_values(&self, values: impl Iterator<Item = S>, out: &mut Vec<u8>) -> Result<(), LinkedError> {
        let value_type = self.link.value_type();
        if value_type == S::VALUE_TYPE {
            values.for_each(|value| put(value, out));
            return Ok(());
        }
        for value in values {
            let number = value.number();
            put_number(number, value_type, out).ok_or_else(|| self.inexact(number))?;
        }
        Ok(())
    }

    #[cold]
    fn inexact(&self, value: Number) -> LinkedError {
        LinkedError::Inexact {
            store: self.link.store().to_path_buf(),
            obs: self.obs,
            value: match value {
                Number::Integer(value) => value.to_string(),
                Number::Float(value) => value.to_string(),
            },
            value_type: self.link.value_type().numpy_name(),
        }
    }
}
