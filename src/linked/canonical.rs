//! Makes a row canonical: the columns of the store, ascending, each once, values of its type, and no explicit zeros.

use cellring_core::{Element, Number, ValueType, get, put};

use super::error::LinkedError;
use super::input::Input;
use super::link::Link;
use super::narrow::{ascend, has_zeros, number};
use crate::format::encoding::linked::kept_type;
use crate::format::linked::ColumnMap;

/// What is sorted: the columns of a row, and in the lower half of each the place of its value. The memory is kept from row to row.
pub(crate) type Entries = Vec<u64>;

/// A row as it is kept.
#[derive(Clone, Copy)]
struct Row<'a> {
    link: &'a Link,
    input: &'a Input,
    obs: u64,
    columns: &'a [u8],
    values: &'a [u8],
    /// The type that its values are kept in: that of the input, or counts.
    kept: ValueType,
}

/// Whether a row is canonical as it is kept. A row of a dense input never is, since its columns are not stored, nor is one whose columns
/// are mapped.
pub(crate) fn is_canonical(link: &Link, input: &Input, nnz: u32, [columns, values]: [&[u8]; 2]) -> bool {
    if input.is_dense() || input.map().is_some() {
        return nnz == 0;
    }
    let kept = kept(input, nnz, values);
    has_type(link, input, kept) && ascend(columns, link.column_bytes()) && !has_zeros(values, kept)
}

/// The type that the values of a row are kept in.
fn kept(input: &Input, nnz: u32, values: &[u8]) -> ValueType {
    kept_type(input.value_type(), nnz as usize, values.len()).unwrap_or(input.value_type())
}

/// Whether values that are kept in a type are those of the store: in its own, or as counts, which any type that is wide enough holds.
fn has_type(link: &Link, input: &Input, kept: ValueType) -> bool {
    let are_counts = matches!(kept, ValueType::U8 | ValueType::U16);
    input.value_type() == link.value_type() || are_counts && link.value_type().size_bytes() >= 4
}

/// Appends the columns of a row, and then its values, as canonical rows are kept. Gives their number.
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
    let row = Row {
        link,
        input,
        obs,
        columns,
        values,
        kept: kept(input, nnz, values),
    };
    match row.kept.size_bytes() {
        1 => row.place::<1>(entries),
        2 => row.place::<2>(entries),
        4 => row.place::<4>(entries),
        _ => row.place::<8>(entries),
    }
    // A dense row has each column once, and no two columns of an input become one.
    let has_equal = !input.is_dense() && !entries.is_sorted_by(|a, b| column_of(*a) < column_of(*b));
    if has_equal {
        return cellring_core::with_element!(input.value_type(), S => row.put_merged::<S>(entries, out));
    }
    if !has_type(link, input, row.kept) {
        return cellring_core::with_element!(link.value_type(), T => row.put_converted::<T>(entries, out));
    }
    match row.kept.size_bytes() {
        1 => row.put_kept::<1>(entries, out),
        2 => row.put_kept::<2>(entries, out),
        4 => row.put_kept::<4>(entries, out),
        _ => row.put_kept::<8>(entries, out),
    }
    Ok(entries.len() as u32)
}

fn entry(column: u32, place: u32) -> u64 {
    u64::from(column) << 32 | u64::from(place)
}

fn column_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn place_of(entry: u64) -> usize {
    entry as u32 as usize
}

impl Row<'_> {
    /// Fills `entries` with what the row has in columns of the store, in their order; of equal ones in that of the row. Most values of a
    /// dense row are zeros, which are left out at once.
    fn place<const W: usize>(&self, entries: &mut Entries) {
        entries.clear();
        let map = self.input.map();
        let values = self.values.as_chunks::<W>().0;
        match (self.input.is_dense(), map, self.input.own_column_bytes()) {
            (true, None, _) => {
                let placed = (0u32..).zip(values).filter(|(_, value)| **value != [0; W]);
                entries.extend(placed.map(|(column, _)| entry(column, column)));
                return;
            }
            (true, Some(map), _) => {
                let placed = (0u32..)
                    .zip(map)
                    .zip(values)
                    .filter(|(_, value)| **value != [0; W]);
                put_mapped(placed.map(|((place, &column), _)| (place, column)), entries);
            }
            (false, None, 2) => {
                let columns = self.columns.as_chunks::<2>().0;
                put_mapped(
                    (0u32..).zip(columns.iter().map(|&le| u16::from_le_bytes(le).into())),
                    entries,
                );
            }
            (false, None, _) => {
                let columns = self.columns.as_chunks::<4>().0;
                put_mapped(
                    (0u32..).zip(columns.iter().map(|&le| u32::from_le_bytes(le))),
                    entries,
                );
            }
            (false, Some(map), 2) => {
                let columns = self.columns.as_chunks::<2>().0;
                let mapped = columns.iter().map(|&le| map[usize::from(u16::from_le_bytes(le))]);
                put_mapped((0u32..).zip(mapped), entries);
            }
            (false, Some(map), _) => {
                let columns = self.columns.as_chunks::<4>().0;
                let mapped = columns.iter().map(|&le| map[u32::from_le_bytes(le) as usize]);
                put_mapped((0u32..).zip(mapped), entries);
            }
        }
        // The places make equal columns differ.
        if !entries.is_sorted() {
            entries.sort_unstable();
        }
    }

    /// Appends the row as it is kept: no two columns are equal.
    fn put_kept<const W: usize>(&self, entries: &mut Entries, out: &mut Vec<u8>) {
        let values = self.values.as_chunks::<W>().0;
        entries.retain(|&entry| values[place_of(entry)] != [0; W]);
        self.put_columns(entries.iter().map(|&entry| column_of(entry)), out);
        let start = out.len();
        out.resize(start + entries.len() * W, 0);
        let places = out[start..].as_chunks_mut::<W>().0;
        for (place, &entry) in places.iter_mut().zip(entries.iter()) {
            *place = values[place_of(entry)];
        }
    }

    /// The value at a place, in the type of the input.
    #[inline]
    fn value<S: Element>(&self, place: usize) -> S {
        let width = self.kept.size_bytes();
        let bytes = &self.values[place * width..][..width];
        match self.kept == S::VALUE_TYPE {
            true => get(bytes),
            false => S::from_count(number(bytes)),
        }
    }

    fn number(&self, place: usize) -> Number {
        cellring_core::with_element!(self.input.value_type(), S => self.value::<S>(place).number())
    }

    /// Appends the row with values of another type: no two columns are equal.
    fn put_converted<T: Element>(
        &self,
        entries: &mut Entries,
        out: &mut Vec<u8>,
    ) -> Result<u32, LinkedError> {
        let mut inexact = None;
        // Also what becomes a zero, as -0.0 does in integers, is left out.
        entries.retain(|&entry| {
            let number = self.number(place_of(entry));
            let value = T::from_number(number);
            if value.is_none() {
                inexact = Some(number);
            }
            value.is_some_and(|value| !value.is_plus_zero())
        });
        if let Some(number) = inexact {
            return Err(self.inexact(number));
        }
        self.put_columns(entries.iter().map(|&entry| column_of(entry)), out);
        let values = entries
            .iter()
            .filter_map(|&entry| T::from_number(self.number(place_of(entry))));
        values.for_each(|value| put(value, out));
        Ok(entries.len() as u32)
    }

    /// Appends the row, with the sums of values whose columns are equal. Such rows are rare.
    #[cold]
    fn put_merged<S: Element>(&self, entries: &[u64], out: &mut Vec<u8>) -> Result<u32, LinkedError> {
        let mut merged: Vec<(u32, S)> = Vec::with_capacity(entries.len());
        for &entry in entries {
            let (column, value) = (column_of(entry), self.value::<S>(place_of(entry)));
            match merged.last_mut() {
                Some(last) if last.0 == column => {
                    last.1 = last.1.sum(value).ok_or_else(|| LinkedError::Overflow {
                        file: self.link.file_of(self.input),
                        store: self.link.store().to_path_buf(),
                        obs: self.obs,
                        column,
                        value_type: S::VALUE_TYPE.numpy_name(),
                    })?;
                }
                _ => merged.push((column, value)),
            }
        }
        if self.link.value_type() == S::VALUE_TYPE {
            merged.retain(|(_, value)| !value.is_plus_zero());
            self.put_columns(merged.iter().map(|&(column, _)| column), out);
            merged.iter().for_each(|&(_, value)| put(value, out));
            return Ok(merged.len() as u32);
        }
        let numbers = merged.into_iter().map(|(column, value)| (column, value.number()));
        let numbers = numbers.collect::<Vec<_>>();
        cellring_core::with_element!(self.link.value_type(), T => self.put_numbers::<T>(&numbers, out))
    }

    /// Appends numbers as values of the store.
    fn put_numbers<T: Element>(
        &self,
        numbers: &[(u32, Number)],
        out: &mut Vec<u8>,
    ) -> Result<u32, LinkedError> {
        let mut values: Vec<(u32, T)> = Vec::with_capacity(numbers.len());
        for &(column, number) in numbers {
            values.push((
                column,
                T::from_number(number).ok_or_else(|| self.inexact(number))?,
            ));
        }
        values.retain(|(_, value)| !value.is_plus_zero());
        self.put_columns(values.iter().map(|&(column, _)| column), out);
        values.iter().for_each(|&(_, value)| put(value, out));
        Ok(values.len() as u32)
    }

    fn put_columns(&self, columns: impl ExactSizeIterator<Item = u32>, out: &mut Vec<u8>) {
        let width = self.link.column_bytes();
        let start = out.len();
        out.resize(start + columns.len() * width, 0);
        match width {
            2 => {
                let places = out[start..].as_chunks_mut::<2>().0;
                places
                    .iter_mut()
                    .zip(columns)
                    .for_each(|(place, column)| *place = (column as u16).to_le_bytes());
            }
            _ => {
                let places = out[start..].as_chunks_mut::<4>().0;
                places
                    .iter_mut()
                    .zip(columns)
                    .for_each(|(place, column)| *place = column.to_le_bytes());
            }
        }
    }

    #[cold]
    fn inexact(&self, value: Number) -> LinkedError {
        LinkedError::Inexact {
            file: self.link.file_of(self.input),
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

/// Adds places with their columns, but for columns that the store does not have.
#[inline(always)]
fn put_mapped(placed: impl Iterator<Item = (u32, u32)>, entries: &mut Entries) {
    let kept = placed.filter(|&(_, column)| column != ColumnMap::NOT_KEPT);
    entries.extend(kept.map(|(place, column)| entry(column, place)));
}
