//! What the chunks of a linked store cost: a chunk is read and decoded as a whole for the cells of a fetch that have values in it.

use cellring::__internal::buffer::DEFAULT_SLOT_BYTES;
use cellring::__internal::{FetchExtents, extents_of};
use cellring::Store;
use cellring::plan::{Plan, PlannedFetch};
use serde::Serialize;

use crate::output;

/// Up to this many bytes are decoded for each that is needed by what is recommended.
const WANTED: f64 = 1.5;
/// What reads are multiples of for the numbers here.
const ALIGNMENT: u32 = 512;

/// What the chunks of a linked store cost with some sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Chunks {
    /// Values of each chunk.
    pub(crate) chunk_values: u64,
    /// Cells that have as many values.
    pub(crate) cells_per_chunk: f64,
    /// The smallest power of two at which blocks of so many cells, each from anywhere, have at most half as much decoded besides.
    pub(crate) wanted_block_size: u64,
    /// Of the sampler: values decoded for each one that is delivered.
    pub(crate) decoded_per_value: f64,
    /// And chunks, of columns and of values, that are decoded for each cell.
    pub(crate) chunks_per_cell: f64,
}

impl Chunks {
    /// Of a plan, by its first fetch; `None` if the values of the store are not in chunks.
    ///
    /// # Errors
    /// If the index is damaged.
    pub(crate) fn in_first_fetch(store: &Store, plan: &Plan) -> Result<Option<Self>, cellring::Error> {
        let mean_nnz = store.manifest().nnz as f64 / store.n_obs().max(1) as f64;
        let Some(chunk_values) = store.chunk_values().filter(|_| mean_nnz > 0.0) else {
            return Ok(None);
        };
        let mut fetch = PlannedFetch::default();
        let mut extents = FetchExtents::default();
        if plan.n_fetches() > 0 {
            plan.fetch_into(0, &mut fetch);
            let slot_bytes = (store.longest_read_bytes() as usize + 2 * ALIGNMENT as usize)
                .next_multiple_of(DEFAULT_SLOT_BYTES);
            extents = extents_of(store, &fetch.obs, ALIGNMENT, None, slot_bytes as u32)?;
        }
        let cells_per_chunk = chunk_values as f64 / mean_nnz;
        Ok(Some(Self {
            chunk_values,
            cells_per_chunk,
            wanted_block_size: wanted_block_size(cells_per_chunk),
            decoded_per_value: amplification(&extents),
            chunks_per_cell: extents.n_chunks as f64 / fetch.obs.len().max(1) as f64,
        }))
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{} values each, about {} cells: blocks of {} cells or more decode at most {WANTED} times what they deliver; this order decodes \
             {:.2} times",
            output::count(self.chunk_values),
            cells(self.cells_per_chunk),
            output::count(self.wanted_block_size),
            self.decoded_per_value
        )
    }
}

/// Bytes that are decoded for each one that is needed.
pub(crate) fn amplification(extents: &FetchExtents) -> f64 {
    match extents.obs_bytes {
        0 => 1.0,
        needed => extents.decoded_bytes as f64 / needed as f64,
    }
}

/// A block of b cells begins and ends within chunks of e cells: on average it touches 1 + e / b times as much as it has.
fn wanted_block_size(cells_per_chunk: f64) -> u64 {
    let least = cells_per_chunk / (WANTED - 1.0);
    (least.ceil().clamp(1.0, 1e15) as u64).next_power_of_two()
}

fn cells(n: f64) -> String {
    match n < 10.0 {
        true => format!("{n:.1}"),
        false => output::count(n.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_chunks_want_decode_at_most_half_as_much_again() {
        for (cells_per_chunk, wanted) in [(0.01, 1), (0.5, 1), (0.6, 2), (8.0, 16), (22.5, 64), (32.1, 128)] {
            assert_eq!(wanted_block_size(cells_per_chunk), wanted, "{cells_per_chunk}");
            assert!(1.0 + cells_per_chunk / wanted as f64 <= WANTED);
        }
    }

    #[test]
    fn the_sentence_names_chunks_and_the_block_size_that_they_want() {
        let chunks = Chunks {
            chunk_values: 43_381,
            cells_per_chunk: 22.5,
            wanted_block_size: 64,
            decoded_per_value: 2.4,
            chunks_per_cell: 0.3,
        };
        assert_eq!(
            chunks.sentence(),
            "43,381 values each, about 23 cells: blocks of 64 cells or more decode at most 1.5 times what they deliver; this order decodes \
             2.40 times"
        );
    }
}
