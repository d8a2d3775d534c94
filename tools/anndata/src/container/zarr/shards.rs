//! Shards of a zarr array: files of many chunks, with an index of where each of them is.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

use super::decoder::{Decoder, array_of, lengths, product};
use super::pieces::Pieces;
use super::storage::Located;
use crate::container::Fault;

/// The most chunks of a shard. Their places are held in memory.
const MAX_CHUNKS: u64 = 1 << 20;

/// Memory for shards that were read last; a row of them is kept whatever it takes.
const KEPT_BYTES: u64 = 16 << 20;
const MAX_KEPT: usize = 64;

/// What the index says of a chunk that is not stored.
const ABSENT: (u64, u64) = (u64::MAX, u64::MAX);

/// How the shards of an array are made up.
pub(super) struct Shards {
    /// Shape of a chunk.
    chunk: Vec<NonZeroU64>,
    /// Chunks of a shard along each dimension.
    per_shard: Vec<u64>,
    codecs: Value,
    index: Decoder,
    index_bytes: u64,
    index_is_first: bool,
    /// Shards side by side in a row of them, which are read together.
    across: usize,
    /// Those that were read last, the last one at the end.
    kept: Mutex<VecDeque<Kept>>,
}

/// A shard that was read.
struct Kept {
    at: Vec<u64>,
    /// Memory that it takes once it is open.
    held_bytes: u64,
    slot: Slot,
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
    /// The shards of an array of v3 whose only codec is that of shards, of this shape; `None` of others.
    pub(super) fn open(
        path: &str,
        document: &Value,
        shape: &[u64],
        shard: &[NonZeroU64],
    ) -> Result<Option<Self>, Fault> {
        let Some([codec]) = document["codecs"].as_array().map(Vec::as_slice) else {
            return Ok(None);
        };
        if codec["name"] != "sharding_indexed" {
            return Ok(None);
        }
        let configuration = &codec["configuration"];
        let chunk = lengths(configuration.get("chunk_shape"))?;
        let pairs = || {
            shard
                .iter()
                .zip(&chunk)
                .map(|(shard, chunk)| (shard.get(), chunk.get()))
        };
        if chunk.len() != shard.len() || pairs().any(|(shard, chunk)| !shard.is_multiple_of(chunk)) {
            return Err(format!("its shards of {shard:?} are not made of whole chunks of {chunk:?}").into());
        }
        let per_shard: Vec<u64> = pairs().map(|(shard, chunk)| shard / chunk).collect();
        let n_chunks = product(per_shard.iter().copied()).filter(|&n| n <= MAX_CHUNKS);
        let Some(n_chunks) = n_chunks else {
            return Err(
                format!("its shards have {per_shard:?} chunks, expected at most {MAX_CHUNKS}").into(),
            );
        };
        let across = match (shape.get(1), shard.get(1)) {
            (Some(columns), Some(of_shard)) => columns.div_ceil(of_shard.get()).max(1) as usize,
            _ => 1,
        };
        // The index is an array of numbers itself.
        let index = json!({
            "zarr_format": 3, "node_type": "array", "attributes": {},
            "shape": [n_chunks, 2], "data_type": "uint64", "fill_value": u64::MAX,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [n_chunks, 2]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": configuration["index_codecs"],
        });
        let shape = lengths(index.get("shape"))?;
        let index = Decoder::new(&array_of(path, index)?, shape)?;
        let Some(index_bytes) = index.stored_bytes() else {
            return Err("the index of its shards is compressed".to_owned().into());
        };
        Ok(Some(Self {
            chunk,
            per_shard,
            codecs: configuration["codecs"].clone(),
            index,
            index_bytes,
            index_is_first: configuration["index_location"] == "start",
            across,
            kept: Mutex::default(),
        }))
    }

    /// Shape of a chunk.
    pub(super) fn chunk(&self) -> &[NonZeroU64] {
        &self.chunk
    }

    /// Memory for shards of which each holds so many bytes besides its index: for a row of them.
    pub(super) fn held_bytes(&self, of_shard: u64) -> u64 {
        (self.across as u64).saturating_mul(of_shard.saturating_add(self.index_bytes))
    }

    /// The document of an array of the same chunks without shards.
    pub(super) fn inner_document(&self, mut document: Value) -> Value {
        let chunk: Vec<u64> = self.chunk.iter().map(|length| length.get()).collect();
        document["chunk_grid"]["configuration"]["chunk_shape"] = chunk.into();
        document["codecs"] = self.codecs.clone();
        document
    }

    /// Chunks of a shard, down and across.
    pub(super) fn per_shard(&self) -> [u64; 2] {
        [0, 1].map(|k| self.per_shard.get(k).copied().unwrap_or(1))
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
        let pairs = || chunk.iter().zip(&self.per_shard);
        let shard: Vec<u64> = pairs().map(|(at, n)| at / n).collect();
        let number = pairs().fold(0, |number, (at, n)| number * n + at % n) as usize;
        let slot = self.slot(&shard, held_bytes);
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

    fn slot(&self, shard: &[u64], held_bytes: impl FnOnce(&[u64]) -> u64) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.iter().position(|kept| kept.at == shard)
            && let Some(found) = kept.remove(place)
        {
            let slot = Arc::clone(&found.slot);
            kept.push_back(found);
            return slot;
        }
        let new = Kept {
            at: shard.to_vec(),
            held_bytes: held_bytes(shard).saturating_add(self.index_bytes),
            slot: Slot::default(),
        };
        let slot = Arc::clone(&new.slot);
        kept.push_back(new);
        // A row of shards stays: its chunks are read band by band.
        let mut bytes: u64 = kept.iter().map(|kept| kept.held_bytes).sum();
        while kept.len() > self.across
            && (bytes > KEPT_BYTES || kept.len() > MAX_KEPT)
            && let Some(oldest) = kept.pop_front()
        {
            bytes -= oldest.held_bytes;
        }
        slot
    }

    fn open_shard(&self, pieces: Pieces, key: String) -> Result<Shard, Fault> {
        let about = |detail: String| Fault::Damaged(format!("the index of shard {key}: {detail}"));
        let at = match self.index_is_first {
            true => Some(0),
            false => pieces.n_bytes().checked_sub(self.index_bytes),
        };
        let Some(at) = at else {
            return Err(about(format!(
                "it has {} bytes, but the shard only {}",
                self.index_bytes,
                pieces.n_bytes()
            )));
        };
        let stored = pieces
            .read(at, self.index_bytes, self.index_bytes)
            .map_err(about)?;
        let n_chunks: u64 = self.per_shard.iter().product();
        let numbers = self
            .index
            .decode_fixed(stored, n_chunks as usize * size_of::<(u64, u64)>())
            .map_err(about)?;
        let places: Vec<(u64, u64)> = numbers
            .as_chunks::<8>()
            .0
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[offset, n]| (u64::from_ne_bytes(*offset), u64::from_ne_bytes(*n)))
            .collect();
        // No two chunks share bytes, so that no small shard stands for much.
        let sum = places
            .iter()
            .filter(|place| **place != ABSENT)
            .fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        if sum > pieces.n_bytes() {
            return Err(about(format!(
                "its chunks have {sum} bytes, but the shard only {}",
                pieces.n_bytes()
            )));
        }
        Ok(Shard { key, places, pieces })
    }
}
