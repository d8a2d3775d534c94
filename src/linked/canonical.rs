//! Makes a row canonical: columns ascending, each once, and no explicit zeros.

use cellring_core::{Element, ValueType, put};

use super::error::LinkedError;
use super::link::Link;
use super::narrow::{ascend, has_zeros, wide_columns, widened};
use crate::format::encoding::linked::kept_type;

/// Whether a row is canonical as it is kept. One of a dense matrix never is: its columns are not stored.
pub(crate) fn is_canonical(link: &Link, nnz: u32, [columns, values]: [&[u8]; 2]) -> bool {
    if link.is_dense() {
        return nnz == 0;
    }
    let kept = kept_type(link.value_type(), nnz as usize, values.len()).unwrap_or(link.value_type());
    ascend(columns, link.column_bytes()) && !has_zeros(values, kept)
}

/// Appends the columns of a row, and then its values in their own type, both canonical. Gives their number.
///
/// Values of equal columns are summed in the order in which they are stored, in their own type; zeros are dropped then. It is what a
/// conversion does.
///
/// # Errors
/// If such a sum is beyond the type.
pub(crate) fn canonical(
    link: &Link,
    obs: u64,
    nnz: u32,
    [columns, values]: [&[u8]; 2],
    out: &mut Vec<u8>,
) -> Result<u32, LinkedError> {
    let kept = kept_type(link.value_type(), nnz as usize, values.len()).unwrap_or(link.value_type());
    cellring_core::with_element!(link.value_type(), T => typed::<T>(link, obs, columns, values, kept, out))
}

fn typed<T: Element>(
    link: &Link,
    obs: u64,
    columns: &[u8],
    values: &[u8],
    kept: ValueType,
    out: &mut Vec<u8>,
) -> Result<u32, LinkedError> {
    let width = link.column_bytes();
    if link.is_dense() {
        let entries = (0u32..).zip(widened::<T>(values, kept));
        let kept = entries.filter(|(_, value)| !value.is_plus_zero());
        return Ok(put_row(kept, width, out));
    }
    let mut entries: Vec<(u32, T)> = wide_columns(columns, width)
        .zip(widened::<T>(values, kept))
        .collect();
    // Stable, so that sums do not depend on the order of equals.
    entries.sort_by_key(|entry| entry.0);
    let mut merged: Vec<(u32, T)> = Vec::with_capacity(entries.len());
    for (column, value) in entries {
        match merged.last_mut() {
            Some(last) if last.0 == column => {
                last.1 = last.1.sum(value).ok_or_else(|| LinkedError::Overflow {
                    store: link.store().to_path_buf(),
                    obs,
                    column,
                    value_type: T::VALUE_TYPE.numpy_name(),
                })?;
            }
            _ => merged.push((column, value)),
        }
    }
    let kept = merged.into_iter().filter(|(_, value)| !value.is_plus_zero());
    Ok(put_row(kept, width, out))
}

/// Appends the columns of a row, of so many bytes each, and then its values. Gives their number.
fn put_row<T: Element>(entries: impl Iterator<Item = (u32, T)>, width: usize, out: &mut Vec<u8>) -> u32 {
    let mut values: Vec<T> = Vec::new();
    for (column, value) in entries {
        out.extend_from_slice(&column.to_le_bytes()[..width]);
        values.push(value);
    }
    values.iter().for_each(|&value| put(value, out));
    values.len() as u32
}
