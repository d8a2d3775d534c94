//! Epochs of fetches as they were read: for those who decode elsewhere, on a GPU say.

use std::ops::Range;
use std::sync::Arc;

use super::decode::{DecodeContext, DecodeMatrix};
use super::epoch::Epoch;
use super::extents::{PlacedObs, SlotRange};
use super::pending::FilledFetch;
use super::shared::Loader;
use super::stats::EpochStats;
use crate::buffer::Slot;
use crate::gpu::dlpack::Capsule;
use crate::gpu::{ArraySpec, Arrays, CopySource, DeviceArray, ElementType, OnDevice, Stream, private};
use crate::{Error, Result};

/// Copies to a device are not shorter than this, where there is more in a slot.
const UNIT_BYTES: usize = 1 << 20;
/// Bytes of slots begin at multiples of this on a device.
const ALIGN_BYTES: usize = 256;

/// Where the bytes of each obs of a fetch are, in the order of [`Fetch::obs`].
///
/// Offsets count from the first byte of the fetch, as if the bytes of its slots followed each other, as they do on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowTable {
    /// Two for each obs. Packed: where its frame begins, and nothing. Raw: where its indices begin, and where its values do.
    pub offsets: Vec<u64>,
    /// Bytes at each of these offsets.
    pub lens: Vec<u32>,
    /// Values of each obs.
    pub nnz: Vec<u32>,
    /// The store that each obs is of, among those of the loader.
    pub stores: Vec<u32>,
}

/// The undecoded bytes of some obs: those of several minibatches. Every obs has been compared with its checksum.
///
/// The [format](mod@crate::format) says how frames and raw rows are made, the manifest of each store types and numbers of columns.
/// Dropped, it gives its slots back to the loader.
pub struct Fetch {
    filled: Arc<FilledFetch>,
    number: u64,
    /// One for each matrix.
    tables: Vec<RowTable>,
    /// Bytes of each slot that belong to the fetch, and where they begin in it.
    used: Vec<(usize, u64)>,
}

/// An epoch of fetches, in the order of the plan. After an error it ends.
#[derive(Debug)]
pub struct Fetches {
    epoch: Epoch,
    next: u64,
    is_over: bool,
}

impl Loader {
    /// Starts an epoch that hands out undecoded bytes: [`epoch`](Self::epoch) without its last step.
    ///
    /// Slots are the loader's memory budget: as long as all of them are in use, nothing is read.
    ///
    /// # Errors
    /// As [`epoch`](Self::epoch); if a store is linked: what is in other files has no form that could be handed out.
    pub fn fetches(&self, epoch: u64) -> Result<Fetches> {
        let matrices = self.shared.context.matrices.iter();
        let mut sources = matrices.flat_map(|matrix| &matrix.sources);
        sources.try_for_each(|source| source.store.require_blocks("handing out undecoded bytes"))?;
        let plan = self.shared.sampler.plan(epoch)?;
        Ok(Fetches {
            epoch: Epoch::start(self.handle(), plan, 0)?,
            next: 0,
            is_over: false,
        })
    }
}

impl Fetches {
    /// Fetches of the whole epoch, for this rank.
    pub fn n_fetches(&self) -> u64 {
        self.epoch.plan.n_fetches()
    }

    /// As [`Epoch::stats`]: minibatches are those of the fetches.
    pub fn stats(&self) -> EpochStats {
        self.epoch.stats()
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.epoch.loader
    }
}

impl Iterator for Fetches {
    type Item = Result<Fetch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let fetch = self.epoch.running.pipeline.next_fetch()?.and_then(|filled| {
            let fetch = Fetch::new(filled, self.next);
            fetch.check(&self.epoch.loader.shared.context)?;
            Ok(fetch)
        });
        self.next += 1;
        self.is_over = fetch.is_err();
        Some(fetch)
    }
}

impl Fetch {
    fn new(filled: Arc<FilledFetch>, number: u64) -> Self {
        let placed = &filled.pending.placed;
        let mut used = vec![(0, 0); filled.slots.len()];
        for place in placed.iter().flatten().flat_map(|placed| &placed.parts) {
            let (slot, end) = (place.slot as usize, place.offset_bytes + place.len_bytes);
            if place.len_bytes > 0 {
                used[slot].0 = used[slot].0.max(end as usize);
            }
        }
        let mut begin = 0;
        for ((len, first), slot) in used.iter_mut().zip(&filled.slots) {
            *first = begin;
            if *len > 0 {
                // A short copy costs no less: what comes after is copied too.
                *len = (*len)
                    .max(UNIT_BYTES)
                    .next_multiple_of(ALIGN_BYTES)
                    .min(slot.len());
            }
            begin += *len as u64;
        }
        let table = |placed: &Vec<PlacedObs>| table(placed, &used);
        let tables = placed.iter().map(table).collect();
        Self {
            filled,
            number,
            tables,
            used,
        }
    }

    /// Compares every obs with its checksum.
    fn check(&self, context: &DecodeContext) -> Result<()> {
        let pending = &self.filled.pending;
        for (DecodeMatrix { sources, .. }, placed) in context.matrices.iter().zip(&pending.placed) {
            for (&obs, placed) in pending.fetch.obs.iter().zip(placed) {
                let source = &sources[placed.source as usize];
                let obs = obs - source.first_obs;
                let parts = placed.parts.map(|place| self.at(place));
                let encoding = source.store.manifest().encoding;
                if let Err(error) = encoding.check_obs(obs, placed.nnz, placed.crc, parts) {
                    let location = source.store.index().locate(obs)?;
                    return Err(source.store.obs_error(obs, &location, error).into());
                }
            }
        }
        Ok(())
    }

    fn at(&self, place: SlotRange) -> &[u8] {
        let begin = place.offset_bytes as usize;
        match place.len_bytes {
            0 => &[],
            len => &self.filled.slots[place.slot as usize].as_slice()[begin..begin + len as usize],
        }
    }

    /// Number of this fetch among those of this rank and epoch, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The obs, in the order of the minibatches: their numbers in the store or collection.
    pub fn obs(&self) -> &[u64] {
        &self.filled.pending.fetch.obs
    }

    /// Which of the obs each minibatch has.
    pub fn minibatches(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let minibatches = self.filled.pending.fetch.minibatches.iter();
        minibatches.map(|minibatch| minibatch.range.clone())
    }

    /// Where the bytes of each obs are, for each matrix: that of the store, and the other ones in the order in which they were
    /// [chosen](crate::LoaderConfig::matrices).
    pub fn tables(&self) -> &[RowTable] {
        &self.tables
    }

    /// The bytes, slot by slot, as the device wrote them. Between rows is whatever was read with them, or before.
    pub fn slots(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let slots = self.filled.slots.iter().map(Slot::as_slice);
        slots.zip(&self.used).map(|(slot, (len, _))| &slot[..*len])
    }

    /// The bytes of one obs in a matrix.
    ///
    /// # Panics
    /// If there is no such matrix or row.
    pub fn row(&self, matrix: usize, row: usize) -> [&[u8]; 2] {
        self.filled.pending.placed[matrix][row]
            .parts
            .map(|place| self.at(place))
    }
}

fn table(placed: &[PlacedObs], used: &[(usize, u64)]) -> RowTable {
    let mut rows = RowTable::default();
    for placed in placed {
        for place in placed.parts {
            let first = used.get(place.slot as usize).map_or(0, |(_, first)| *first);
            let is_there = place.len_bytes > 0;
            rows.offsets.push(if is_there {
                first + u64::from(place.offset_bytes)
            } else {
                0
            });
            rows.lens.push(place.len_bytes);
        }
        rows.nnz.push(placed.nnz);
        rows.stores.push(placed.source);
    }
    rows
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("number", &self.number)
            .field("n_obs", &self.obs().len())
            .finish_non_exhaustive()
    }
}

/// What stays on the host of a fetch on the device.
#[derive(Debug)]
pub struct FetchHead {
    number: u64,
    obs: Vec<u64>,
    minibatches: Vec<Range<usize>>,
}

impl private::CopySource for Fetch {
    type HostPart = FetchHead;
    const IS_SCARCE: bool = true;

    fn take_host_part(&mut self) -> FetchHead {
        FetchHead {
            number: self.number,
            obs: self.obs().to_vec(),
            minibatches: self.minibatches().collect(),
        }
    }

    fn arrays(&self) -> Arrays<'_> {
        let n_bytes = self.used.iter().map(|(len, _)| len).sum();
        let bytes = (ArraySpec::line(ElementType::U8, n_bytes), self.slots().collect());
        let mut arrays = vec![bytes];
        for rows in &self.tables {
            let n_obs = rows.nnz.len();
            let pairs = |element_type, bytes| (ArraySpec::table(element_type, [n_obs, 2]), vec![bytes]);
            let line = |bytes| (ArraySpec::line(ElementType::U32, n_obs), vec![bytes]);
            arrays.extend([
                pairs(ElementType::U64, bytemuck::cast_slice(&rows.offsets)),
                pairs(ElementType::U32, bytemuck::cast_slice(&rows.lens)),
                line(bytemuck::cast_slice(&rows.nnz)),
                line(bytemuck::cast_slice(&rows.stores)),
            ]);
        }
        arrays
    }
}

impl CopySource for Fetch {}

/// A fetch on the device: its bytes, and the row table of each matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFetch {
    /// The bytes of all slots, one after the other.
    pub bytes: DeviceArray,
    /// As [`Fetch::tables`].
    pub tables: Vec<DeviceRows>,
}

/// A [`RowTable`] on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceRows {
    /// As [`RowTable::offsets`], from the first of [`DeviceFetch::bytes`]: `u64`, rows by 2.
    pub offsets: DeviceArray,
    /// As [`RowTable::lens`]: `u32`, rows by 2.
    pub lens: DeviceArray,
    /// As [`RowTable::nnz`]: `u32`.
    pub nnz: DeviceArray,
    /// As [`RowTable::stores`]: `u32`.
    pub stores: DeviceArray,
}

impl OnDevice<Fetch> {
    /// As [`Fetch::number`].
    pub fn number(&self) -> u64 {
        self.host_part().number
    }

    /// As [`Fetch::obs`]; on the host.
    pub fn obs(&self) -> &[u64] {
        &self.host_part().obs
    }

    /// As [`Fetch::minibatches`].
    pub fn minibatches(&self) -> &[Range<usize>] {
        &self.host_part().minibatches
    }

    /// The fetch for use on `stream` (see [`on`](Self::on)).
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn fetch(&self, stream: &Stream) -> Result<DeviceFetch, crate::Error> {
        let arrays = self.on(stream)?;
        let tables = arrays[1..].as_chunks().0.iter();
        Ok(DeviceFetch {
            bytes: arrays[0],
            tables: tables
                .map(|&[offsets, lens, nnz, stores]| DeviceRows {
                    offsets,
                    lens,
                    nnz,
                    stores,
                })
                .collect(),
        })
    }

    /// The arrays as DLPack tensors, the bytes and then the arrays of each [`DeviceRows`] in its order, for use on `stream` (see [`on`](Self::on)): that of the consumer.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn dlpack(&self, stream: &Stream) -> Result<Vec<Capsule>, crate::Error> {
        let arrays = self.on(stream)?.iter();
        Ok(arrays
            .map(|&array| Capsule::device(array, self.gpu().ordinal(), Box::new(self.hold())))
            .collect())
    }
}
