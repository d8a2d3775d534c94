//! Decodes one minibatch from the slots of its fetch.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::error::LoaderError;
use super::extents::{PlacedObs, SlotRange};
use super::pending::FilledFetch;
use super::pipeline::Task;
use crate::buffer::Slot;
use crate::format::column::text_at;
use crate::format::encoding::{FrameError, ObsDecoder, Padded};
use crate::format::table::Table;
use crate::format::{Element, FormatError};
use crate::gpu::Gpu;
use crate::linked::Entries;
use crate::minibatch::{
    ColumnReader, GeneSelection, IndexType, Layout, Matrix, Minibatch, Recycler, ResolvedOutput, Rows,
    Scratch, Unfit, assemble,
};
use crate::{Error, Store};

/// What decoding needs besides the bytes.
#[derive(Debug)]
pub(super) struct DecodeContext {
    /// The matrix of the store, and the other ones.
    pub(super) matrices: Vec<DecodeMatrix>,
    pub(super) columns: Vec<ColumnReader>,
    pub(super) recycler: Arc<Recycler>,
    /// Whose driver page-locks the memory of minibatches.
    pub(super) gpu: Option<Gpu>,
}

/// What decoding a matrix needs.
#[derive(Debug)]
pub(super) struct DecodeMatrix {
    /// One for each store.
    pub(super) sources: Vec<DecodeSource>,
    pub(super) resolved: ResolvedOutput,
}

/// What decoding the obs of one store needs.
#[derive(Debug)]
pub(super) struct DecodeSource {
    pub(super) store: Arc<Store>,
    /// Number of its first obs among those of all stores.
    pub(super) first_obs: u64,
    /// Number of its first shard among the files of the engine.
    pub(super) first_file: u32,
    pub(super) decoder: ObsDecoder,
    /// From its columns to those of the output; `None` where they are the same.
    pub(super) genes: Option<GeneSelection>,
}

/// What a thread keeps from minibatch to minibatch.
#[derive(Debug, Default)]
pub(super) struct DecodeScratch {
    assembly: Scratch,
    entries: Entries,
    repaired: Vec<u8>,
}

/// The slots that the bytes of some obs are in.
#[derive(Clone, Copy)]
pub(super) enum Slots<'a> {
    /// All are filled.
    Filled(&'a [Slot]),
    Arriving(&'a dyn Arriving),
}

impl Slots<'_> {
    #[inline]
    fn wait_for(&self, row: usize) -> Result<(), Error> {
        match self {
            Self::Filled(_) => Ok(()),
            Self::Arriving(slots) => slots.wait_for(row),
        }
    }

    #[inline]
    fn slot(&self, number: u32) -> &Slot {
        match self {
            Self::Filled(slots) => &slots[number as usize],
            Self::Arriving(slots) => slots.slot(number),
        }
    }
}

/// Slots that are filled one after the other.
pub(super) trait Arriving {
    /// Waits until the bytes of the obs at this place are there.
    ///
    /// # Errors
    /// If they cannot be read.
    fn wait_for(&self, row: usize) -> Result<(), Error>;

    /// A slot with bytes that are there.
    fn slot(&self, number: u32) -> &Slot;
}

/// Obs that become a minibatch, and where their bytes are.
pub(super) struct PlacedMinibatch<'a> {
    pub(super) obs: &'a [u64],
    /// For each matrix, where each obs of the fetch is.
    pub(super) placed: &'a [Vec<PlacedObs>],
    /// Which of the fetch these are.
    pub(super) range: Range<usize>,
    pub(super) slots: Slots<'a>,
    /// Rows of linked stores.
    pub(super) buffers: &'a [Vec<u8>],
}

/// The obs of a minibatch in one matrix.
struct PlacedRows<'a> {
    sources: &'a [DecodeSource],
    slots: Slots<'a>,
    buffers: &'a [Vec<u8>],
    obs: &'a [u64],
    placed: Cow<'a, [PlacedObs]>,
    /// Rows of linked stores that were not canonical.
    repaired: &'a [u8],
}

/// Stands for `repaired` where the number of a buffer is.
const REPAIRED: u32 = u32::MAX;

impl PlacedRows<'_> {
    #[inline]
    fn source(&self, row: usize) -> &DecodeSource {
        &self.sources[self.placed[row].source as usize]
    }

    /// The bytes of a row.
    #[inline]
    fn parts(&self, row: usize) -> [Padded<'_>; 2] {
        let is_linked = self.source(row).store.is_linked();
        self.placed[row].parts.map(|place| match place.len_bytes {
            0 => Padded::default(),
            _ if is_linked => self.kept(place).into(),
            // A slot has readable bytes after its end for this.
            len => {
                let slot = self.slots.slot(place.slot).as_padded_slice();
                Padded::new(&slot[place.offset_bytes as usize..], len as usize)
            }
        })
    }

    /// A part of a row of a linked store.
    #[inline]
    fn kept(&self, place: SlotRange) -> &[u8] {
        let buffer = match place.slot {
            REPAIRED => self.repaired,
            number => &self.buffers[number as usize],
        };
        &buffer[place.offset_bytes as usize..][..place.len_bytes as usize]
    }

    /// Makes canonical what is not: rows of linked stores come as the source has them. Gives their bytes in `repaired`.
    fn repair(&mut self, entries: &mut Entries, repaired: &mut Vec<u8>) -> Result<(), Error> {
        repaired.clear();
        for row in 0..self.placed.len() {
            let source = self.source(row);
            let Some(link) = source.store.link() else { continue };
            let (placed, obs) = (self.placed[row], self.obs[row] - source.first_obs);
            if placed.nnz == 0 {
                continue;
            }
            let begin = repaired.len();
            let parts = placed.parts.map(|place| self.kept(place));
            let Some(nnz) = link.repaired(obs, placed.nnz, parts, entries, repaired)? else {
                continue;
            };
            // A `SlotRange` holds 32-bit offsets.
            if u32::try_from(repaired.len()).is_err() {
                let n_obs = self.obs.len();
                return Err(LoaderError::TooManyReordered { n_obs }.into());
            }
            let values = begin + nnz as usize * link.column_bytes();
            let place = |bytes: Range<usize>| SlotRange {
                slot: REPAIRED,
                offset_bytes: bytes.start as u32,
                len_bytes: bytes.len() as u32,
            };
            let parts = [place(begin..values), place(values..repaired.len())];
            let placed = &mut self.placed.to_mut()[row];
            (placed.nnz, placed.parts) = (nnz, parts);
        }
        Ok(())
    }

    /// What is wrong with a row.
    #[cold]
    fn damaged(&self, source: &DecodeSource, obs: u64, error: FrameError) -> Error {
        let store = &source.store;
        let Some(link) = store.link() else {
            return match store.index().locate(obs) {
                Ok(location) => store.obs_error(obs, &location, error).into(),
                Err(error) => error.into(),
            };
        };
        match error {
            FrameError::Inexact => LoaderError::Rounding {
                store: store.path().to_path_buf(),
                value_type: store.manifest().value_type.numpy_name(),
            }
            .into(),
            FrameError::Checksum { .. } => link.other_row(obs).into(),
            error => FormatError::invalid(store.path(), 0, format!("obs {obs}: {error}")).into(),
        }
    }
}

impl Rows for PlacedRows<'_> {
    type Error = Error;

    fn nnz(&self) -> impl Iterator<Item = usize> {
        self.placed.iter().map(|placed| placed.nnz as usize)
    }

    #[inline]
    fn genes(&self, row: usize) -> Option<&GeneSelection> {
        self.source(row).genes.as_ref()
    }

    #[inline]
    fn decode<T: Element>(&self, row: usize, indices: &mut [i32], values: &mut [T]) -> Result<(), Error> {
        self.slots.wait_for((row + 1).min(self.placed.len() - 1))?;
        if row + 1 < self.placed.len() {
            for part in self.parts(row + 1) {
                part.prefetch();
            }
        }
        let (source, placed, parts) = (self.source(row), &self.placed[row], self.parts(row));
        let obs = self.obs[row] - source.first_obs;
        source
            .decoder
            .decode(obs, placed.crc, parts, indices, values)
            .map_err(|error| self.damaged(source, obs, error))
    }

    #[cold]
    fn unfit(&self, row: usize, column: Option<u32>, unfit: Unfit) -> Error {
        let source = self.source(row);
        let obs = self.obs[row] - source.first_obs;
        let text = |table: &Table, row: u64| {
            let names = table.names().ok()?;
            let (array, row) = names.at(row);
            text_at(array, row).flatten().map(str::to_owned)
        };
        let cell = match text(source.store.obs(), obs) {
            Some(name) => format!("obs {obs} ({name:?})"),
            None => format!("obs {obs}"),
        };
        let gene = || {
            let column = column.unwrap_or_default();
            let gene = text(source.store.var(), column.into());
            gene.map_or_else(|| column.to_string(), |name| format!("{name:?}"))
        };
        let store = source.store.path().to_path_buf();
        let found = match unfit {
            Unfit::Sum(sum) => format!("values that sum to {sum:e}, which a 32-bit float cannot hold"),
            Unfit::Value { value, .. } => {
                let gene = gene();
                format!("the value {value} for the gene {gene}, which is not a finite number from 0 up")
            }
            Unfit::Beyond {
                value, value_type, ..
            } => {
                let gene = gene();
                return LoaderError::Beyond {
                    store,
                    cell,
                    gene,
                    value,
                    value_type,
                }
                .into();
            }
        };
        LoaderError::Unfit { store, cell, found }.into()
    }
}

/// Decodes the minibatch of a task.
pub(super) fn decode_task(
    context: &DecodeContext,
    scratch: &mut DecodeScratch,
    task: &Task,
) -> Result<Minibatch, Error> {
    let FilledFetch {
        pending,
        slots,
        buffers,
        ..
    } = &*task.fetch;
    let planned = &pending.fetch.minibatches[task.index];
    let minibatch = PlacedMinibatch {
        obs: &pending.fetch.obs[planned.range.clone()],
        placed: &pending.placed,
        range: planned.range.clone(),
        slots: Slots::Filled(slots),
        buffers,
    };
    let numbers = (task.number, planned.global, planned.padding);
    decode_minibatch(context, &context.recycler, scratch, &minibatch, numbers)
}

/// Decodes a minibatch, which gets these numbers.
///
/// The index has told how many values each obs has, so each is decoded straight into its final place where nothing else is
/// done to it.
pub(super) fn decode_minibatch(
    context: &DecodeContext,
    recycler: &Arc<Recycler>,
    scratch: &mut DecodeScratch,
    minibatch: &PlacedMinibatch<'_>,
    numbers: (u64, u64, bool),
) -> Result<Minibatch, Error> {
    let &PlacedMinibatch { obs, slots, .. } = minibatch;
    let placed_in = |matrix: usize| &minibatch.placed[matrix][minibatch.range.clone()];
    let mut buffers = recycler.take();
    buffers.obs.clear();
    buffers.obs.extend_from_slice(obs);
    buffers
        .matrices
        .resize_with(context.matrices.len(), Matrix::default);
    let matrices = context.matrices.iter().enumerate();
    for ((number, DecodeMatrix { sources, resolved }), matrix) in matrices.zip(&mut buffers.matrices) {
        let mut rows = PlacedRows {
            sources,
            slots,
            buffers: minibatch.buffers,
            obs,
            placed: Cow::Borrowed(placed_in(number)),
            repaired: &[],
        };
        if !minibatch.buffers.is_empty() {
            rows.repair(&mut scratch.entries, &mut scratch.repaired)?;
            rows.repaired = &scratch.repaired;
        }
        let nnz: u64 = rows.placed.iter().map(|placed| u64::from(placed.nnz)).sum();
        let is_narrow = (resolved.layout, resolved.index_type) == (Layout::Csr, IndexType::I32);
        if is_narrow && i32::try_from(nnz).is_err() {
            let n_obs = obs.len();
            return Err(LoaderError::TooManyValues { n_obs, nnz }.into());
        }
        let nnz = assemble(resolved, &rows, &mut scratch.assembly, &mut matrix.buffers)?;
        matrix.set_shape(resolved, obs.len(), nnz);
        if let Some(gpu) = &context.gpu {
            matrix.buffers.pin(gpu);
        }
    }
    if buffers.columns.len() != context.columns.len() {
        buffers.columns = context.columns.iter().map(ColumnReader::empty).collect();
    }
    let (sources, placed) = (&context.matrices[0].sources, placed_in(0));
    for (reader, column) in context.columns.iter().zip(&mut buffers.columns) {
        let each = obs.iter().zip(placed).map(|(&obs, placed)| {
            let source = placed.source as usize;
            (source, obs - sources[source].first_obs)
        });
        reader.gather(each, column);
    }
    Ok(Minibatch::new(buffers, numbers, recycler.clone()))
}
