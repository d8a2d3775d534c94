//! Brings the values of a matrix into the file, in the order and the form that it had in the source.

use std::ops::Range;
use std::sync::Arc;

use cellring::Store;
use cellring::format::{CsrRows, Element};
use cellring::with_values;
use cellring::writer::RowSorter;
use cellring_anndata::Workspace;
use cellring_anndata::write::{AnnDataWriter, Form};
use rayon::prelude::*;

use super::error::ExportError;
use super::stored;

/// Entries, and rows, that one thread reads and reorders in one go.
const PART_NNZ: u64 = 1 << 19;
const PART_ROWS: u64 = 1 << 14;

/// One matrix of a store.
pub(super) struct MatrixExport<'a> {
    pub(super) store: &'a Arc<Store>,
    /// Which obs.
    pub(super) obs: Range<u64>,
    /// For each obs of the source its place in the store, where that is another. All obs are wanted then.
    pub(super) places: Option<&'a [u32]>,
    /// For each column of the store its place in the source, where that is another.
    pub(super) columns: Option<&'a [u32]>,
    pub(super) workspace: &'a Workspace,
}

impl MatrixExport<'_> {
    /// Writes all values. `progress` is told the number of obs done.
    pub(super) fn write(
        &self,
        writer: &mut AnnDataWriter,
        form: &Form,
        progress: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
        if *form == Form::Csc {
            return self.write_columns(writer, progress);
        }
        match self.places {
            None => write_rows(writer, self.store, self.obs.clone(), self.columns, progress),
            Some(places) => restore_rows(writer, self.store, places, self.columns, self.workspace, progress),
        }
    }

    /// Writes the values column by column.
    fn write_columns(&self, writer: &mut AnnDataWriter, progress: &dyn Fn(u64)) -> Result<(), ExportError> {
        let place_of_row = self.places.map(|places| {
            let mut place_of_row = vec![0; places.len()];
            for (place, &row) in (0..).zip(places) {
                place_of_row[row as usize] = place;
            }
            place_of_row
        });
        let matrix = stored::matrix(self.store)?;
        let place_of_column = self.columns.map(<[u32]>::to_vec);
        let turned = matrix.transposed(self.obs.clone(), place_of_row, place_of_column, self.workspace)?;
        let (n_obs, n_columns) = (self.obs.end - self.obs.start, turned.n_obs());
        let (mut done, mut windows) = (0, turned.rows(0..n_columns, PART_NNZ as usize)?);
        while let Some(window) = windows.next() {
            let window = window?;
            writer.push_rows(&window)?;
            done += window.n_rows() as u64;
            windows.recycle(window);
            let part = u128::from(done) * u128::from(n_obs) / u128::from(n_columns.max(1));
            progress(part as u64);
        }
        Ok(())
    }
}

/// Reads, reorders and writes the rows, several parts at a time.
fn write_rows(
    writer: &mut AnnDataWriter,
    store: &Store,
    obs: Range<u64>,
    order: Option<&[u32]>,
    progress: &dyn Fn(u64),
) -> Result<(), ExportError> {
    let mut at = obs.start;
    while at < obs.end {
        let mut parts = Vec::new();
        while at < obs.end && parts.len() < 2 * rayon::current_num_threads() {
            let part = part(store, at..obs.end)?;
            at = part.end;
            parts.push(part);
        }
        let read = |part: Range<u64>| {
            let mut rows = store.rows(part)?;
            if let Some(order) = order {
                reorder(&mut rows, order);
            }
            Ok(rows)
        };
        let parts: Vec<CsrRows> = parts
            .into_par_iter()
            .map(read)
            .collect::<Result<_, cellring::Error>>()?;
        parts.iter().try_for_each(|rows| writer.push_rows(rows))?;
        progress(at - obs.start);
    }
    Ok(())
}

/// The first rows of a range: as many as one thread reads in one go, at least one.
fn part(store: &Store, obs: Range<u64>) -> Result<Range<u64>, cellring::Error> {
    let (mut end, mut nnz) = (obs.start, 0);
    while end < obs.end.min(obs.start + PART_ROWS) {
        nnz += u64::from(store.nnz_of(end)?);
        if nnz > PART_NNZ && end > obs.start {
            break;
        }
        end += 1;
    }
    Ok(obs.start..end)
}

/// Writes the rows in the order of the source: `places` names for each of its obs the place in the store, which is read in
/// its own order.
fn restore_rows(
    writer: &mut AnnDataWriter,
    store: &Arc<Store>,
    places: &[u32],
    order: Option<&[u32]>,
    workspace: &Workspace,
    progress: &dyn Fn(u64),
) -> Result<(), ExportError> {
    let matrix = stored::matrix(store)?.reordered(places, workspace)?;
    let (mut done, n_obs) = (0, matrix.n_obs());
    let mut windows = matrix.rows(0..n_obs, PART_NNZ as usize)?;
    loop {
        let mut parts = Vec::new();
        for window in windows.by_ref().take(2 * rayon::current_num_threads()) {
            parts.push(window?);
        }
        if parts.is_empty() {
            return Ok(());
        }
        if let Some(order) = order {
            parts.par_iter_mut().for_each(|rows| reorder(rows, order));
        }
        for rows in &parts {
            writer.push_rows(rows)?;
            done += rows.n_rows() as u64;
        }
        progress(done);
    }
}

/// Puts the columns of rows into the source's order.
fn reorder(rows: &mut CsrRows, order: &[u32]) {
    let CsrRows {
        indptr,
        indices,
        values,
    } = rows;
    with_values!(values, values => reorder_values(indptr, indices, values, order));
}

fn reorder_values<T: Element>(indptr: &[u64], indices: &mut [u32], values: &mut [T], order: &[u32]) {
    let mut sorter = RowSorter::<T>::new(order.len() as u64, indices.len());
    for bounds in indptr.windows(2) {
        let row = bounds[0] as usize..bounds[1] as usize;
        let (row_indices, row_values) = sorter.reorder(order, &indices[row.clone()], &values[row.clone()]);
        indices[row.clone()].copy_from_slice(row_indices);
        values[row].copy_from_slice(row_values);
    }
}
