//! Makes the content of a matrix of a minibatch, one row after the other.
//!
//! A row is decoded, and everything that is done to it is done at once, while it is in the first cache. Where nothing has to
//! be moved it is decoded into its final place.

use super::GeneSelection;
use super::column_sorter::ColumnSorter;
use super::lanes::Lanes;
use super::matrix::MatrixBuffers;
use super::normalize::{Logarithms, Unfit};
use super::output::{DeliveredType, Layout, ResolvedOutput};
use super::rank::{Ranked, rank};
use super::typed::{Aligned, AnyValues, ComputedValue, DeliveredValue, IndicesMut, Keys};
use crate::format::Element;

/// The rows of a minibatch, not yet decoded.
pub(crate) trait Rows {
    type Error;

    /// Number of values of each row.
    fn nnz(&self) -> impl Iterator<Item = usize>;

    /// From the columns of a row to those of the output; `None` where they are the same.
    fn genes(&self, row: usize) -> Option<&GeneSelection>;

    /// Decodes a row into slices of its number of values: ascending columns, and `f32` or the store's type.
    fn decode<T: Element>(
        &self,
        row: usize,
        indices: &mut [i32],
        values: &mut [T],
    ) -> Result<(), Self::Error>;

    /// The error of a row that cannot be normalised or delivered; `column` is that of the store, for a value.
    fn unfit(&self, row: usize, column: Option<u32>, unfit: Unfit) -> Self::Error;
}

/// Memory of a thread for one row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    lanes: Lanes,
    /// Places of the values that are kept.
    places: Vec<u32>,
    indices: Vec<i32>,
    values: AnyValues,
    converted: AnyValues,
    keys: Keys,
    sorter: ColumnSorter,
    ordered: (Vec<i32>, AnyValues),
    logarithms: Logarithms,
    former: Vec<i32>,
}

/// Fills `buffers` with these rows. Gives the number of values.
///
/// # Errors
/// If a row cannot be decoded; then the content is unspecified, and the buffers must not be used again.
pub(crate) fn assemble<R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    scratch: &mut Scratch,
    buffers: &mut MatrixBuffers,
) -> Result<usize, R::Error> {
    match resolved.delivered_type {
        DeliveredType::F16 => of_type::<half::f16, R>(resolved, rows, scratch, buffers),
        DeliveredType::Bf16 => of_type::<half::bf16, R>(resolved, rows, scratch, buffers),
        DeliveredType::Stored(stored) => {
            cellring_core::with_element!(stored, T => of_type::<T, R>(resolved, rows, scratch, buffers))
        }
    }
}

fn of_type<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    scratch: &mut Scratch,
    buffers: &mut MatrixBuffers,
) -> Result<usize, R::Error> {
    match resolved.layout {
        Layout::Csr => csr::<T, R>(resolved, rows, scratch, buffers),
        Layout::Dense => dense::<T, R>(resolved, rows, scratch, buffers),
        Layout::TopK(k) => top_k::<T, R>(resolved, k, rows, scratch, buffers),
    }
}

fn csr<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    scratch: &mut Scratch,
    buffers: &mut MatrixBuffers,
) -> Result<usize, R::Error> {
    // Selected rows are no longer than whole ones.
    let (n_rows, most) = rows.nnz().fold((0, 0), |(n, sum), nnz| (n + 1, sum + nnz));
    let mut indptr = buffers.indptr.first_mut(resolved.index_type, n_rows + 1);
    let mut indices = buffers.indices.first_mut(resolved.index_type, most);
    let values = T::memory(&mut buffers.values).first_mut(most);
    indptr.set_offset(0, 0);
    let mut start = 0;
    for (row, nnz) in rows.nnz().enumerate() {
        let (indices, values) = (indices.range(start..start + nnz), &mut values[start..start + nnz]);
        start += match rows.genes(row) {
            None => whole_row(resolved, rows, row, scratch, indices, values)?,
            Some(genes) => selected_row(resolved, rows, row, genes, scratch, indices, values)?,
        };
        indptr.set_offset(row + 1, start);
    }
    Ok(start)
}

/// A row of a sparse minibatch with all its genes: what need not be converted is decoded into its place.
#[inline]
fn whole_row<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    row: usize,
    scratch: &mut Scratch,
    mut indices: IndicesMut<'_>,
    values: &mut [T],
) -> Result<usize, R::Error> {
    let nnz = indices.len();
    let row_indices = match indices.as_i32() {
        Some(indices) => indices,
        None => first(&mut scratch.indices, nnz),
    };
    let row_values = match T::as_computed(values) {
        Some(values) => values,
        None => T::ComputedValue::memory(&mut scratch.values).first_mut(nnz),
    };
    rows.decode(row, row_indices, row_values)?;
    // All genes or the selected ones: here they are the same.
    let place = Place {
        lanes: scratch.lanes,
        rows,
        row,
        genes: None,
    };
    let total = total(resolved, true, &place, row_indices, row_values)?;
    compute(
        resolved,
        total,
        &place,
        row_indices,
        row_values,
        &mut scratch.logarithms,
    )?;
    if T::as_computed(values).is_none() {
        let row_values = T::ComputedValue::memory(&mut scratch.values).first_mut(nnz);
        values.copy_from_slice(T::converted(scratch.lanes, row_values, &mut scratch.converted));
    }
    if indices.as_i32().is_none() {
        indices.set(scratch.indices[..nnz].iter().copied());
    }
    Ok(nnz)
}

/// A row of a sparse minibatch, its genes selected and perhaps in another order.
fn selected_row<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    row: usize,
    genes: &GeneSelection,
    scratch: &mut Scratch,
    mut indices: IndicesMut<'_>,
    values: &mut [T],
) -> Result<usize, R::Error> {
    let prepared = prepare::<T::ComputedValue, R>(resolved, rows, row, indices.len(), scratch)?;
    let (mut row_indices, mut row_values) = (prepared.indices, &*prepared.values);
    let n = row_indices.len();
    if !genes.is_ascending() {
        // To its final place a row goes from front to back: all over it, memory would be too slow.
        let (ordered_indices, ordered_values) = prepared.ordered;
        let ordered_indices = first(ordered_indices, n);
        let ordered_values = T::ComputedValue::memory(ordered_values).first_mut(n);
        let from = (row_indices, row_values);
        let to = (&mut *ordered_indices, &mut *ordered_values);
        prepared.sorter.order(prepared.lanes, resolved.n_vars, from, to);
        (row_indices, row_values) = (ordered_indices, ordered_values);
    }
    indices.set(row_indices.iter().copied());
    values[..n].copy_from_slice(T::converted(prepared.lanes, row_values, prepared.converted));
    Ok(n)
}

fn dense<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    scratch: &mut Scratch,
    buffers: &mut MatrixBuffers,
) -> Result<usize, R::Error> {
    let n_vars = resolved.n_vars;
    let n_rows = rows.nnz().count();
    let memory = T::memory(&mut buffers.values);
    let is_new = memory.reserve(n_rows * n_vars, 0);
    let used = &mut buffers.used;
    let written = std::mem::take(&mut used.written).min(memory.as_slice().len());
    if !is_new {
        memory.as_mut_slice()[..written].fill(T::default());
    }
    let former_rows = if is_new { 0 } else { used.ends.len() };
    // What the last use left behind is read while what this one leaves is written.
    std::mem::swap(&mut scratch.former, &mut used.columns);
    used.columns.clear();
    used.ends.resize(n_rows.max(used.ends.len()), 0);
    let mut former_start = 0;
    for (row, nnz) in rows.nnz().enumerate() {
        let values = &mut memory.as_mut_slice()[row * n_vars..(row + 1) * n_vars];
        if row < former_rows {
            let former_end = used.ends[row];
            clear(values, &scratch.former[former_start..former_end]);
            former_start = former_end;
        }
        let prepared = prepare::<T::ComputedValue, R>(resolved, rows, row, nnz, scratch)?;
        let converted = T::converted(prepared.lanes, prepared.values, prepared.converted);
        for (&column, &value) in prepared.indices.iter().zip(converted) {
            values[column as usize] = value;
        }
        used.columns.extend_from_slice(prepared.indices);
        used.ends[row] = used.columns.len();
    }
    for row in n_rows..former_rows {
        let values = &mut memory.as_mut_slice()[row * n_vars..(row + 1) * n_vars];
        clear(values, &scratch.former[former_start..used.ends[row]]);
        former_start = used.ends[row];
    }
    used.ends.truncate(n_rows);
    Ok(used.columns.len())
}

/// Makes a row zero again, of which these columns may be something else.
fn clear<T: Copy + Default>(row: &mut [T], columns: &[i32]) {
    let row_lines = size_of_val(row) / 64;
    // One store for each column, or one for each cache line.
    if columns.len() < row_lines {
        for &column in columns {
            row[column as usize] = T::default();
        }
    } else {
        row.fill(T::default());
    }
}

fn top_k<T: DeliveredValue, R: Rows>(
    resolved: &ResolvedOutput,
    k: usize,
    rows: &R,
    scratch: &mut Scratch,
    buffers: &mut MatrixBuffers,
) -> Result<usize, R::Error> {
    let n_rows = rows.nnz().count();
    let mut all_indices = buffers.indices.first_mut(resolved.index_type, n_rows * k);
    let all_values = T::memory(&mut buffers.values).first_mut(n_rows * k);
    buffers.lens.clear();
    let mut total = 0;
    for (row, nnz) in rows.nnz().enumerate() {
        let mut indices = all_indices.range(row * k..(row + 1) * k);
        let values = &mut all_values[row * k..(row + 1) * k];
        let prepared = prepare::<T::ComputedValue, R>(resolved, rows, row, nnz, scratch)?;
        let [keys, spare] = T::ComputedValue::keys(prepared.keys);
        let is_ascending = rows.genes(row).is_none_or(GeneSelection::is_ascending);
        let in_order = prepared
            .lanes
            .candidates(prepared.indices, prepared.values, k, is_ascending, keys);
        rank(keys, spare, k, in_order);
        let n = keys.len();
        for (&key, value) in keys.iter().zip(prepared.values.iter_mut()) {
            *value = T::ComputedValue::of_key(key).1;
        }
        indices.set(keys.iter().map(|&key| T::ComputedValue::of_key(key).0));
        values[..n].copy_from_slice(T::converted(
            prepared.lanes,
            &prepared.values[..n],
            prepared.converted,
        ));
        indices.range(n..k).fill(-1);
        values[n..].fill(T::default());
        buffers.lens.push(n as u32);
        total += n;
    }
    Ok(total)
}

/// A row in scratch memory, with what else of the scratch is needed afterwards.
struct Prepared<'a, W: ComputedValue> {
    /// Columns of the output; ascending if the selection is.
    indices: &'a [i32],
    values: &'a mut [W],
    converted: &'a mut AnyValues,
    keys: &'a mut Keys,
    lanes: Lanes,
    sorter: &'a mut ColumnSorter,
    ordered: (&'a mut Vec<i32>, &'a mut AnyValues),
}

/// Decodes a row, selects, normalises and weighs.
#[inline]
fn prepare<'a, W: ComputedValue, R: Rows>(
    resolved: &ResolvedOutput,
    rows: &R,
    row: usize,
    nnz: usize,
    scratch: &'a mut Scratch,
) -> Result<Prepared<'a, W>, R::Error> {
    let indices = first(&mut scratch.indices, nnz);
    let values: &mut Aligned<W> = W::memory(&mut scratch.values);
    let values = values.first_mut(nnz);
    rows.decode(row, indices, values)?;
    let genes = rows.genes(row);
    let place = Place {
        lanes: scratch.lanes,
        rows,
        row,
        genes,
    };
    let over_all = resolved.normalize.is_some_and(|normalize| normalize.counts_all());
    let mut sum = None;
    if over_all {
        let before = Place { genes: None, ..place };
        sum = total(resolved, genes.is_none(), &before, indices, values)?;
    }
    let n = match genes {
        None => nnz,
        Some(genes) => genes.select(scratch.lanes, indices, values, &mut scratch.places),
    };
    let (indices, values) = (&indices[..n], &mut values[..n]);
    if !over_all {
        sum = total(resolved, true, &place, indices, values)?;
    }
    compute(resolved, sum, &place, indices, values, &mut scratch.logarithms)?;
    Ok(Prepared {
        indices,
        values,
        converted: &mut scratch.converted,
        keys: &mut scratch.keys,
        lanes: scratch.lanes,
        sorter: &mut scratch.sorter,
        ordered: (&mut scratch.ordered.0, &mut scratch.ordered.1),
    })
}

/// A row: how it is worked on, and what messages on its values need.
struct Place<'a, R> {
    lanes: Lanes,
    rows: &'a R,
    row: usize,
    /// Where the columns are those of the output: how genes were selected.
    genes: Option<&'a GeneSelection>,
}

impl<R: Rows> Place<'_, R> {
    #[cold]
    fn refuse(&self, indices: &[i32], unfit: Unfit) -> R::Error {
        let column = match unfit {
            Unfit::Sum(_) => None,
            Unfit::Value { place, .. } | Unfit::Beyond { place, .. } => match self.genes {
                None => u32::try_from(indices[place]).ok(),
                Some(genes) => genes.source_of(indices[place] as u32),
            },
        };
        self.rows.unfit(self.row, column, unfit)
    }
}

/// The sum of a row that is to be normalised, over the genes that count; `all` of them are normalised.
///
/// # Errors
/// If the row has values that are not from 0 up.
#[inline]
fn total<W: ComputedValue, R: Rows>(
    resolved: &ResolvedOutput,
    all: bool,
    place: &Place<'_, R>,
    indices: &[i32],
    values: &mut [W],
) -> Result<Option<f64>, R::Error> {
    let (Some(normalize), Some(values)) = (&resolved.normalize, W::as_f32(values)) else {
        return Ok(None);
    };
    let sum = place.lanes.sum(values);
    match normalize.check(place.lanes, sum, values, all) {
        Ok(()) => Ok(Some(sum)),
        Err(unfit) => Err(place.refuse(indices, unfit)),
    }
}

/// Normalises and weighs a row.
///
/// # Errors
/// If the row has values that are not from 0 up, or of which the output would have infinity.
#[inline]
fn compute<W: ComputedValue, R: Rows>(
    resolved: &ResolvedOutput,
    total: Option<f64>,
    place: &Place<'_, R>,
    indices: &[i32],
    values: &mut [W],
    logarithms: &mut Logarithms,
) -> Result<(), R::Error> {
    let infinite_from = resolved.delivered_type.infinite_from();
    if resolved.normalize.is_none() && resolved.weights.is_none() && infinite_from.is_none() {
        return Ok(());
    }
    let Some(values) = W::as_f32(values) else {
        return Ok(());
    };
    if let (Some(normalize), Some(total)) = (&resolved.normalize, total) {
        let applied = normalize.apply(place.lanes, total, values, logarithms);
        applied.map_err(|unfit| place.refuse(indices, unfit))?;
    }
    if let Some(weights) = &resolved.weights {
        for (&column, value) in indices.iter().zip(&mut *values) {
            *value *= weights[column as usize];
        }
    }
    if let Some(limit) = infinite_from {
        // All at once, as nearly always none is.
        if place.lanes.any_beyond(values, limit) {
            let is_beyond = |value: &f32| value.abs() >= limit && value.is_finite();
            let beyond = values.iter().position(is_beyond).unwrap_or_default();
            let value = values[beyond];
            let unfit = Unfit::Beyond {
                place: beyond,
                value,
                value_type: resolved.delivered_type.name(),
            };
            return Err(place.refuse(indices, unfit));
        }
    }
    Ok(())
}

fn first<T: Copy + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}
