//! Shards of a zarr array: files of many chunks, with an index of where each of them is.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::chain::{ABSENT, Chain, ShardLayout};
use super::pieces::Pieces;
use super::storage::Located;
use crate::container::Fault;

/// Memory for shards that were read last; a row of them is kept whatever it takes.
const KEPT_BYTES: u64 = 16 << 20;
const MAX_KEPT: usize = 64;

/// The most memory for a row of shards, whose indexes are held, and whose files if they are compressed in a zip file.
const MAX_ROW_BYTES: u64 = 512 << 20;

/// The shards of an array, which are read chunk by chunk.
pub(super) struct Shards {
    layout: ShardLayout,
    /// Shards side by side in a row of them, which are read together.
    across: usize,
    /// The rows that were read last, the last one at the end.
    kept: Mutex<VecDeque<Row>>,
}

/// Shards side by side.
#[derive(Default)]
struct Row {
    number: u64,
    /// By their places in it.
    slots: HashMap<u64, Slot>,
    /// Memory that they take once they are open.
    held_bytes: u64,
}

/// A shard that one thread opens, and for which the others that want it wait.
type Slot = Arc<OnceLock<Result<Option<Arc<Shard>>, Fault>>>;

/// An open shard.
struct Shard {
    key: String,
    /// Offset and length of each chunk.
    places: Vec<(u64, u64)>,
    pieces: Pieces,
}

impl Shards {
    /// Shards of this shape, of an array of this one.
    pub(super) fn new(layout: ShardLayout, shape: &[u64], shard: &[NonZeroU64]) -> Self {
        let across = match (shape.get(1), shard.get(1)) {
            (Some(columns), Some(of_shard)) => columns.div_ceil(of_shard.get()).max(1) as usize,
            _ => 1,
        };
        Self {
            layout,
            across,
            kept: Mutex::default(),
        }
    }

    /// Shape of a chunk.
    pub(super) fn chunk(&self) -> &[NonZeroU64] {
        &self.layout.chunk
    }

    /// The codecs of a chunk.
    pub(super) fn chain(&self) -> &Chain {
        &self.layout.inner
    }

    /// Memory for shards of which each holds so many bytes besides its index: for a row of them.
    pub(super) fn held_bytes(&self, of_shard: u64) -> u64 {
        (self.across as u64).saturating_mul(of_shard.saturating_add(self.layout.index_bytes))
    }

    /// Where the index of a shard is, of those of its file; `None` if it is shorter than that.
    pub(super) fn index_of(&self, shard: &Located) -> Option<Range<u64>> {
        let at = shard.offset_bytes + self.layout.index_at(shard.n_bytes).ok()?;
        Some(at..at + self.layout.index_bytes)
    }

    /// Chunks of a shard, down and across.
    pub(super) fn per_shard(&self) -> [u64; 2] {
        [0, 1].map(|k| self.layout.per_shard.get(k).copied().unwrap_or(1))
    }

    /// Offset and length of each chunk of a shard, in order; `None` of those that are not stored.
    pub(super) fn places(&self, shard: &Located, key: &str) -> Result<Vec<Option<(u64, u64)>>, Fault> {
        let opened = self.open_shard(shard.open()?, key.to_owned())?;
        let places = opened.places.into_iter();
        Ok(places.map(|place| (place != ABSENT).then_some(place)).collect())
    }

    /// The stored bytes of a chunk; `None` if it is not stored. `held_bytes` gives what a shard holds in memory besides its index; `open`
    /// opens it, and gives its key.
    pub(super) fn read(
        &self,
        chunk: &[u64],
        most_bytes: u64,
        held_bytes: impl FnOnce(&[u64]) -> u64,
        open: impl FnOnce(&[u64]) -> Result<(Option<Pieces>, String), Fault>,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let pairs = || chunk.iter().zip(&self.layout.per_shard);
        let shard: Vec<u64> = pairs().map(|(at, n)| at / n).collect();
        let number = pairs().fold(0, |number, (at, n)| number * n + at % n) as usize;
        let slot = self.slot(&shard, held_bytes)?;
        let opened = slot.get_or_init(|| {
            let (pieces, key) = open(&shard)?;
            let opened = pieces.map(|pieces| self.open_shard(pieces, key));
            Ok(opened.transpose()?.map(Arc::new))
        });
        let Some(shard) = opened.clone()? else {
            return Ok(None);
        };
        match shard.places[number] {
            ABSENT => Ok(None),
            (offset, n) => {
                let piece = shard.pieces.read(offset, n, most_bytes);
                let piece = piece.map_err(|detail| format!("{}: {detail}", shard.key))?;
                Ok(Some(piece))
            }
        }
    }

    /// The place of a shard among those that are kept.
    fn slot(&self, shard: &[u64], held_bytes: impl FnOnce(&[u64]) -> u64) -> Result<Slot, Fault> {
        let number = shard.first().copied().unwrap_or(0);
        let column = shard.get(1).copied().unwrap_or(0);
        let mut rows = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut row = match rows.iter().position(|row| row.number == number) {
            Some(place) => rows.remove(place).unwrap_or_default(),
            None => Row::default(),
        };
        row.number = number;
        if !row.slots.contains_key(&column) {
            row.held_bytes = held_bytes(shard)
                .saturating_add(self.layout.index_bytes)
                .saturating_add(row.held_bytes);
            if row.held_bytes > MAX_ROW_BYTES {
                return Err(Fault::Unsupported {
                    detail: format!(
                        "its shards side by side take {} MB of memory to read, expected at most {}",
                        row.held_bytes / 1_000_000,
                        MAX_ROW_BYTES / 1_000_000
                    ),
                    remedy: "open it with anndata and write it again in other shards; unpack it first if it is a zip file".to_owned(),
                });
            }
        }
        let slot = Arc::clone(row.slots.entry(column).or_default());
        rows.push_back(row);
        // A row of shards stays: its chunks are read band by band.
        let mut bytes: u64 = rows.iter().map(|row| row.held_bytes).sum();
        let mut n_shards: usize = rows.iter().map(|row| row.slots.len()).sum();
        while rows.len() > 1
            && (bytes > KEPT_BYTES || n_shards > MAX_KEPT)
            && let Some(oldest) = rows.pop_front()
        {
            bytes -= oldest.held_bytes;
            n_shards -= oldest.slots.len();
        }
        Ok(slot)
    }

    fn open_shard(&self, pieces: Pieces, key: String) -> Result<Shard, Fault> {
        let about = |detail: String| Fault::Damaged(format!("the index of shard {key}: {detail}"));
        let (n_bytes, index_bytes) = (pieces.n_bytes(), self.layout.index_bytes);
        let at = self.layout.index_at(n_bytes).map_err(about)?;
        let index = pieces.read(at, index_bytes, index_bytes).map_err(about)?;
        let places = self.layout.places(index, n_bytes).map_err(about)?;
        Ok(Shard { key, places, pieces })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::container::Class;

    #[test]
    fn a_row_of_shards_stays_within_its_memory() {
        let little = json!({"name": "bytes", "configuration": {"endian": "little"}});
        let codecs = json!([{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [1, 1], "codecs": [little], "index_codecs": [little],
        }}]);
        let shard = [1 << 20, 1].map(|length| NonZeroU64::new(length).unwrap());
        let chain = Chain::of_v3(&codecs, &shard, &Class::Float, 4).unwrap();
        let shards = Shards::new(chain.into_shards().unwrap(), &[4, 100], &shard);
        let slot = |row, column| shards.slot(&[row, column], |_| 0);
        // Each index has 16 MiB.
        let first = slot(0, 0).unwrap();
        for column in 1..32 {
            slot(0, column).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &slot(0, 0).unwrap()));
        let said = slot(0, 32).err().unwrap().detail();
        assert!(
            said.contains("553 MB of memory to read, expected at most 536"),
            "{said}"
        );
        // The next row takes its place.
        slot(1, 0).unwrap();
        assert_eq!(shards.kept.lock().unwrap().len(), 1);
        assert!(!Arc::ptr_eq(&first, &slot(0, 0).unwrap()));
    }
}
