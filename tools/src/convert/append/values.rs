//! Brings rows into the columns and the element type of a store.

use std::ops::Range;

use cellring::format::{CsrRows, Element, Number, ValueBuffer, ValueClass, ValueType};
use cellring::writer::RowSorter;
use cellring::{with_element, with_values};
use rayon::prelude::*;

/// Rows that one thread looks at in one go.
const GROUP_ROWS: usize = 1 << 10;

/// A value that the store cannot hold: its row within the window, its column in the store, and the value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Misfit {
    pub(super) row: usize,
    pub(super) column: u32,
    pub(super) value: String,
}

/// How the values of a store are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) n_vars: u64,
    pub(super) value_type: ValueType,
    /// Raw encoding: the type in the blocks, which may be narrower.
    pub(super) stored_type: ValueType,
}

/// Whether some values of one type may be values of another: all numbers may.
pub(super) fn may_fit(from: ValueType, to: ValueType) -> bool {
    (from == ValueType::Bool) == (to == ValueType::Bool)
}

/// The rows with their columns replaced by `column_of`, ascending, and their values in the store's type.
///
/// # Errors
/// The first value that the store cannot hold.
pub(super) fn fit(rows: &CsrRows, column_of: &[u32], target: Target) -> Result<CsrRows, Misfit> {
    let n_rows = rows.n_rows();
    let groups: Vec<_> = (0..n_rows).step_by(GROUP_ROWS).collect();
    // Threads first, types within: what spreads the work is compiled once, not for each pair of types.
    let fitted: Vec<_> = groups
        .into_par_iter()
        .map(|start| {
            let group = start..n_rows.min(start + GROUP_ROWS);
            with_values!(&rows.values, values => fit_group(rows, values, group, column_of, target))
        })
        .collect();
    let (mut indices, mut values) = (Vec::new(), ValueBuffer::with_capacity(target.value_type, 0));
    for group in fitted {
        let (more_indices, mut more_values) = group?;
        indices.extend(more_indices);
        values.append(&mut more_values);
    }
    Ok(CsrRows {
        indptr: rows.indptr.clone(),
        indices,
        values,
    })
}

fn fit_group<S: Element>(
    rows: &CsrRows,
    values: &[S],
    group: Range<usize>,
    column_of: &[u32],
    target: Target,
) -> Result<(Vec<u32>, ValueBuffer), Misfit> {
    let bounds = &rows.indptr[group.start..=group.end];
    let (first, last) = (bounds[0] as usize, bounds[group.len()] as usize);
    let mut sorter = RowSorter::<S>::new(target.n_vars, last - first);
    let mut indices = Vec::with_capacity(last - first);
    let mut sorted = Vec::with_capacity(last - first);
    for row in bounds.windows(2) {
        let entries = row[0] as usize..row[1] as usize;
        let (columns, values) = sorter.reorder(column_of, &rows.indices[entries.clone()], &values[entries]);
        indices.extend_from_slice(columns);
        sorted.extend_from_slice(values);
    }
    let mut fitted = ValueBuffer::with_capacity(target.value_type, 0);
    let all_fit = with_element!(target.value_type, T => match T::vec_mut(&mut fitted) {
        Some(fitted) => convert::<S, T>(&sorted, target, fitted),
        None => Ok(()),
    });
    match all_fit {
        Ok(()) => Ok((indices, fitted)),
        Err(at) => Err(Misfit {
            // Bounds may be equal: the row is the last that begins at or before the value.
            row: group.start + bounds.partition_point(|&bound| bound as usize <= first + at) - 1,
            column: indices[at],
            value: shown(sorted[at]),
        }),
    }
}

/// Appends the values to `fitted`, or gives the place of the first that the store cannot hold.
fn convert<S: Element, T: Element>(values: &[S], target: Target, fitted: &mut Vec<T>) -> Result<(), usize> {
    fitted.reserve_exact(values.len());
    for (at, &value) in values.iter().enumerate() {
        let fits = exact::<S, T>(value).filter(|&value| is_stored(value, target));
        fitted.push(fits.ok_or(at)?);
    }
    Ok(())
}

/// Whether the type in the blocks holds the value.
fn is_stored<T: Element>(value: T, target: Target) -> bool {
    let largest = match target.stored_type {
        stored if stored == target.value_type => return true,
        ValueType::U8 => u32::from(u8::MAX),
        ValueType::U16 => u32::from(u16::MAX),
        _ => u32::MAX,
    };
    value.as_count().is_some_and(|count| count <= largest)
}

fn shown<S: Element>(value: S) -> String {
    match value.number() {
        Number::Integer(value) => value.to_string(),
        Number::Float(value) => value.to_string(),
    }
}

/// The same number in another type, where that has it.
fn exact<S: Element, T: Element>(value: S) -> Option<T> {
    if S::VALUE_TYPE == T::VALUE_TYPE {
        return Some(T::from_bits(value.bits()));
    }
    if let Some(count) = value.as_count() {
        let value = T::from_count(count);
        return (value.as_count() == Some(count)).then_some(value);
    }
    exact_bits(value.number(), T::VALUE_TYPE).map(T::from_bits)
}

/// The bits of the same number in another type, where that has it.
fn exact_bits(number: Number, to: ValueType) -> Option<u64> {
    let (integer, float) = (number.as_integer(), number.as_float());
    let is_zero_with_sign =
        matches!(number, Number::Float(value) if value == 0.0 && value.is_sign_negative());
    let whole = |least: i128, most: i128| {
        integer.filter(|value| (least..=most).contains(value) && !is_zero_with_sign)
    };
    let width = 8 * to.size_bytes();
    Some(match to.class() {
        ValueClass::Float if width == 32 => {
            let float = float?;
            let narrow = float as f32;
            if f64::from(narrow) != float && !float.is_nan() {
                return None;
            }
            u64::from(narrow.to_bits())
        }
        ValueClass::Float => float?.to_bits(),
        ValueClass::Signed => whole(-1 << (width - 1), (1 << (width - 1)) - 1)? as u64,
        ValueClass::Unsigned => whole(0, (1 << width) - 1)? as u64,
        ValueClass::Boolean => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_or_refused() {
        assert_eq!(exact::<i64, f32>(3), Some(3.0));
        assert_eq!(exact::<i64, f32>(-3), Some(-3.0));
        assert_eq!(exact::<i64, f32>((1 << 24) + 1), None);
        assert_eq!(exact::<i64, f64>(i64::MAX), None);
        assert_eq!(exact::<u64, i64>(u64::MAX), None);
        assert_eq!(exact::<u64, f64>(1 << 60), Some((1u64 << 60) as f64));
        assert_eq!(exact::<f64, f32>(0.1), None);
        assert_eq!(exact::<f64, f32>(0.5), Some(0.5));
        assert_eq!(exact::<f32, f64>(0.1), Some(f64::from(0.1f32)));
        assert_eq!(exact::<f32, i8>(-128.0), Some(-128));
        assert_eq!(exact::<f32, i8>(-129.0), None);
        assert_eq!(exact::<f32, i32>(0.5), None);
        assert_eq!(exact::<f32, i32>(-0.0), None);
        assert_eq!(exact::<f32, i64>(f32::INFINITY), None);
        assert_eq!(exact::<i8, u64>(-1), None);
        assert_eq!(exact::<u8, u16>(255), Some(255));
        assert_eq!(exact::<u16, u8>(256), None);
        assert!(exact::<f64, f32>(f64::NAN).unwrap().is_nan());
        assert_eq!(exact::<f64, f32>(f64::INFINITY), Some(f32::INFINITY));
        assert_eq!(exact::<f64, f32>(1e300), None);
    }

    #[test]
    fn rows_get_the_columns_of_the_store() {
        let rows = CsrRows {
            indptr: vec![0, 3, 3, 4],
            indices: vec![0, 1, 2, 1],
            values: ValueBuffer::I32(vec![10, 20, 30, 40]),
        };
        let target = Target {
            n_vars: 6,
            value_type: ValueType::F32,
            stored_type: ValueType::U8,
        };
        // A cycle: its inverse is another one.
        let fitted = fit(&rows, &[4, 5, 1], target).unwrap();
        assert_eq!(fitted.indptr, [0, 3, 3, 4]);
        assert_eq!(fitted.indices, [1, 4, 5, 5]);
        assert_eq!(fitted.values, ValueBuffer::F32(vec![30.0, 10.0, 20.0, 40.0]));
        let rows = CsrRows {
            values: ValueBuffer::I32(vec![10, 20, 30, 256]),
            ..rows
        };
        let misfit = fit(&rows, &[4, 5, 1], target).unwrap_err();
        assert_eq!((misfit.row, misfit.column, misfit.value.as_str()), (2, 5, "256"));
    }
}
