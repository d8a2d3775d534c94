//! The reads of a loader without the loader: what a benchmark of the device replays, and what planning a fetch costs.

use super::extents::{Content, Source, plan_reads};
use crate::Store;
use crate::engine::Read;
use crate::engine::coalesce::{GAP_BYTES, READ_BYTES, ReadShape};
use crate::format::FormatError;
use crate::linked::Link;
use crate::linked::plan::Batch;

/// Shorter reads would cost more requests than they save, even where the device takes none that are longer.
const LEAST_READ_BYTES: u64 = 64 << 10;

/// Longest read of several obs for a device whose requests are at most this long: one request, so that none is cut into a
/// long part and a short one.
pub(super) fn read_bytes(max_request_bytes: Option<u64>) -> u64 {
    max_request_bytes.map_or(READ_BYTES, |bytes| bytes.clamp(LEAST_READ_BYTES, READ_BYTES))
}

/// What a loader reads for one fetch.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FetchExtents {
    /// The reads, in the order in which they are submitted.
    pub reads: Vec<Read>,
    /// Slots that they fill.
    pub n_slots: usize,
    /// Bytes of the obs that were asked for, without what the reads bring besides.
    pub obs_bytes: u64,
    /// Values of these obs.
    pub nnz: u64,
    /// Chunks of a linked store that are decoded for them, of the columns and of the values.
    pub n_chunks: u64,
    /// Bytes that these decode to, and `obs_bytes` where values are not compressed.
    pub decoded_bytes: u64,
}

impl FetchExtents {
    /// Bytes that the reads bring.
    pub fn read_bytes(&self) -> u64 {
        self.reads.iter().map(|read| u64::from(read.len_bytes)).sum()
    }
}

/// The reads that a loader submits for the obs of a fetch, of a store without other matrices: offsets and lengths are multiples of `alignment`
/// ([`Engine::alignment`](crate::engine::Engine::alignment)), no read of several obs is longer than a request of the device
/// ([`Engine::max_request_bytes`](crate::engine::Engine::max_request_bytes)), and each slot has `slot_bytes` bytes, which must be enough
/// for the longest obs of the store and two more aligned units.
///
/// # Errors
/// If the index is damaged.
///
/// # Panics
/// If an obs does not exist, or does not fit a slot.
pub fn extents_of(
    store: &Store,
    obs: &[u64],
    alignment: u32,
    max_request_bytes: Option<u64>,
    slot_bytes: u32,
) -> Result<FetchExtents, FormatError> {
    let longest = store.longest_read_bytes() + 2 * u64::from(alignment);
    assert!(
        longest <= u64::from(slot_bytes),
        "an obs of {longest} bytes does not fit a slot of {slot_bytes}"
    );
    let shape = ReadShape {
        alignment,
        slot_bytes,
        gap_bytes: GAP_BYTES,
        read_bytes: read_bytes(max_request_bytes),
    };
    let source = Source {
        content: match store.link() {
            None => Content::Blocks(store.index()),
            Some(link) => Content::Linked(link),
        },
        n_obs: store.n_obs(),
        first_obs: 0,
        first_file: 0,
    };
    let fetch = plan_reads(&[vec![source]], obs, &shape)?;
    let placed = &fetch.placed[0];
    let nnz = placed.iter().map(|placed| u64::from(placed.nnz)).sum();
    if let Some(link) = store.link() {
        return Ok(of_batches(link, nnz, fetch.batches));
    }
    let parts = placed.iter().flat_map(|placed| placed.parts);
    let obs_bytes = parts.map(|part| u64::from(part.len_bytes)).sum();
    Ok(FetchExtents {
        obs_bytes,
        nnz,
        n_chunks: 0,
        decoded_bytes: obs_bytes,
        reads: fetch.reads,
        n_slots: fetch.n_slots,
    })
}

/// What is read of a linked store: batches, each of which fills a slot.
fn of_batches(link: &Link, nnz: u64, batches: Vec<Batch>) -> FetchExtents {
    let mut found = FetchExtents {
        nnz,
        n_slots: batches.len(),
        ..FetchExtents::default()
    };
    for (slot, batch) in (0u32..).zip(batches) {
        for job in &batch.jobs {
            let array = link.input(job.input).array(job.role);
            let width = array.linked().value_type.size_bytes() as u64;
            let segments = batch.segments[job.segments.clone()].iter();
            found.obs_bytes += segments.map(|segment| u64::from(segment.n) * width).sum::<u64>();
            match array.linked().filters.is_empty() {
                true => found.decoded_bytes += u64::from(job.len_bytes),
                false if job.len_bytes > 0 => {
                    found.n_chunks += 1;
                    found.decoded_bytes += array.chunk_bytes();
                }
                false => {}
            }
        }
        let in_slot = |read: Read| Read { slot, ..read };
        found.reads.extend(batch.reads.into_iter().map(in_slot));
    }
    found
}
