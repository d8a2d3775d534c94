//! Makes a row canonical: columns ascending, each once, and no explicit zeros.

use cellring_core::{Element, ValueType, put};

use super::error::LinkedError;
use super::link::Link;
use super::narrow::{ascend, has_zeros, widened};
use crate::format::encoding::linked::kept_type;

/// Whether a row is canonical as it is kept.
pub(crate) fn is_canonical(link: &Link, nnz: u32, [columns, values]: [&[u8]; 2]) -> bool {
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
    let column = |le: &[u8]| {
        le.iter()
            .rev()
            .fold(0, |column, &byte| column << 8 | u32::from(byte))
    };
    let columns = columns.chunks_exact(width).map(column);
    let mut entries: Vec<(u32, T)> = columns.zip(widened::<T>(values, kept)).collect();
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
    merged.retain(|(_, value)| !value.is_plus_zero());
    for (column, _) in &merged {
        out.extend_from_slice(&column.to_le_bytes()[..width]);
    }
    for &(_, value) in &merged {
        put(value, out);
    }
    Ok(merged.len() as u32)
}
