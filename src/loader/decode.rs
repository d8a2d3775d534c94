//! Decodes one minibatch from the slots of its fetch.

use std::sync::Arc;

use super::config::LoaderError;
use super::extents::PlacedObs;
use super::pipeline::Task;
use crate::Store;
use crate::format::obs::ObsDecoder;
use crate::format::packed::Padded;
use crate::minibatch::{ColumnReader, Minibatch, Recycler};

/// What decoding needs besides the bytes.
#[derive(Debug)]
pub(super) struct DecodeContext {
    pub(super) store: Arc<Store>,
    pub(super) decoder: ObsDecoder,
    pub(super) columns: Vec<ColumnReader>,
    pub(super) recycler: Arc<Recycler>,
}

/// Decodes the minibatch of a task.
///
/// The index has told how many values each obs has, so each is decoded straight into its final place.
pub(super) fn decode_minibatch(context: &DecodeContext, task: &Task) -> Result<Minibatch, LoaderError> {
    let pending = &task.fetch.pending;
    let planned = &pending.fetch.minibatches[task.index];
    let obs = &pending.fetch.obs[planned.range.clone()];
    let placed = &pending.placed[planned.range.clone()];
    let nnz: u64 = placed.iter().map(|placed| u64::from(placed.nnz)).sum();
    if i32::try_from(nnz).is_err() {
        return Err(LoaderError::TooManyValues {
            n_obs: obs.len(),
            nnz,
        });
    }
    let mut buffers = context.recycler.take();
    buffers.obs.clear();
    buffers.obs.extend_from_slice(obs);
    buffers.indptr.clear();
    buffers.indptr.push(0);
    if buffers.indices.len() < nnz as usize {
        buffers.indices.resize(nnz as usize, 0);
        buffers.data.resize(nnz as usize, 0.0);
    }
    let mut start = 0;
    let parts_of = |placed: &PlacedObs| {
        placed.parts.map(|place| match place.len_bytes {
            0 => Padded::default(),
            // A slot has readable bytes behind its end for this.
            len => {
                let slot = task.fetch.slots[place.slot as usize].as_padded_slice();
                Padded::new(&slot[place.offset_bytes as usize..], len as usize)
            }
        })
    };
    for (row, &obs) in obs.iter().enumerate() {
        if let Some(next) = placed.get(row + 1) {
            for part in parts_of(next) {
                part.prefetch();
            }
        }
        let placed = &placed[row];
        let end = start + placed.nnz as usize;
        let parts = parts_of(placed);
        let (indices, data) = (&mut buffers.indices[start..end], &mut buffers.data[start..end]);
        if let Err(error) = context.decoder.decode(obs, placed.crc, parts, indices, data) {
            let location = context.store.index().locate(obs)?;
            return Err(context.store.obs_error(obs, &location, error).into());
        }
        buffers.indptr.push(end as i32);
        start = end;
    }
    if buffers.columns.len() != context.columns.len() {
        buffers.columns = context.columns.iter().map(ColumnReader::empty).collect();
    }
    for (reader, column) in context.columns.iter().zip(&mut buffers.columns) {
        reader.gather(obs, column);
    }
    let numbers = (task.number, planned.global, planned.padding);
    Ok(Minibatch::new(
        buffers,
        context.store.n_vars() as usize,
        numbers,
        context.recycler.clone(),
    ))
}
