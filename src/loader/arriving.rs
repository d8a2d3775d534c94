//! Obs that are read in parts, and decoded as these arrive.

use std::cell::OnceCell;

use super::decode::Arriving;
use super::extents::{FetchReads, Source, plan_reads};
use super::row_reader::RowReader;
use crate::Result;
use crate::buffer::Slot;
use crate::engine::Read;
use crate::engine::coalesce::ReadShape;

/// What brings some obs.
pub(super) struct PlannedRows {
    /// As if one fetch brought them all, but without its reads.
    pub(super) all: FetchReads,
    pub(super) parts: Vec<RowBatch>,
    /// Obs of each part but the last.
    part_obs: usize,
}

/// What brings a part of them.
pub(super) struct RowBatch {
    first_slot: usize,
    pub(super) n_slots: usize,
    pub(super) reads: Vec<Read>,
}

impl PlannedRows {
    /// Plans the reads for `obs`, as [`plan_reads`] does, in at most so many parts; in one, if any store is linked, or if parts would
    /// read again what lies between their obs.
    pub(super) fn new(
        matrices: &[Vec<Source<'_>>],
        obs: &[u64],
        n_parts: usize,
        shape: &ReadShape,
    ) -> Result<Self> {
        let mut all = plan_reads(matrices, obs, shape)?;
        let are_apart = obs.is_sorted() || 2 * all.reads.len() > obs.len();
        if n_parts == 1 || !all.batches.is_empty() || !are_apart {
            let part = RowBatch {
                first_slot: 0,
                n_slots: all.n_slots,
                reads: std::mem::take(&mut all.reads),
            };
            return Ok(Self {
                all,
                parts: vec![part],
                part_obs: obs.len().max(1),
            });
        }
        let part_obs = obs.len().div_ceil(n_parts);
        let mut parts = Vec::with_capacity(n_parts);
        all.placed.iter_mut().for_each(Vec::clear);
        all.n_slots = 0;
        for chunk in obs.chunks(part_obs) {
            let mut part = plan_reads(matrices, chunk, shape)?;
            let first_slot = all.n_slots;
            for (all, placed) in all.placed.iter_mut().zip(&mut part.placed) {
                let places = placed.iter_mut().flat_map(|placed| &mut placed.parts);
                places.for_each(|place| place.slot += first_slot as u32);
                all.append(placed);
            }
            parts.push(RowBatch {
                first_slot,
                n_slots: part.n_slots,
                reads: part.reads,
            });
            all.n_slots += part.n_slots;
        }
        Ok(Self { all, parts, part_obs })
    }
}

/// Slots that are filled part by part.
pub(super) struct ArrivingSlots<'a> {
    reader: &'a RowReader,
    slots: Vec<OnceCell<Slot>>,
    /// The first slot of each part that has any.
    first_slots: Vec<Option<usize>>,
    part_obs: usize,
}

impl<'a> ArrivingSlots<'a> {
    /// Those of parts that the reader reads under their numbers.
    pub(super) fn new(reader: &'a RowReader, planned: &PlannedRows) -> Self {
        let first_slot = |part: &RowBatch| (part.n_slots > 0).then_some(part.first_slot);
        Self {
            reader,
            slots: (0..planned.all.n_slots).map(|_| OnceCell::new()).collect(),
            first_slots: planned.parts.iter().map(first_slot).collect(),
            part_obs: planned.part_obs,
        }
    }
}

impl Arriving for ArrivingSlots<'_> {
    fn wait_for(&self, row: usize) -> Result<()> {
        let Some(wanted) = self.first_slots[row / self.part_obs] else {
            return Ok(());
        };
        while self.slots[wanted].get().is_none() {
            let (part, slots) = self.reader.wait()?;
            let first = self.first_slots[part as usize].unwrap_or_default();
            for (empty, slot) in self.slots[first..].iter().zip(slots) {
                // Each part arrives once.
                let _ = empty.set(slot);
            }
        }
        Ok(())
    }

    fn slot(&self, number: u32) -> &Slot {
        match self.slots[number as usize].get() {
            Some(slot) => slot,
            None => unreachable!("decoding waits for the bytes of a row before it takes them"),
        }
    }
}
