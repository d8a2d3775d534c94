//! The codecs of an array, from the elements of a chunk to the bytes that are stored, and back.

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use cellring_core::caught::caught;
use cellring_filters::{Filter, Pipeline};
use serde_json::Value;

use super::codec::{Codec, Elements, refused};
use super::text;
use crate::container::{Class, Fault};

/// The most codecs of bytes, each of which takes another pass over a chunk.
const MAX_CODECS: usize = 32;

/// The most levels of shards within shards, each of which is decoded to memory of its own.
const MAX_LEVELS: usize = 2;

/// The most chunks of a shard. Their places are held in memory.
const MAX_CHUNKS: u64 = 1 << 20;

/// What the index of a shard says of a chunk that is not stored.
pub(super) const ABSENT: (u64, u64) = (u64::MAX, u64::MAX);

/// Bytes of an entry of the index of a shard.
const ENTRY_BYTES: u64 = size_of::<(u64, u64)>() as u64;

/// How a shard is made up of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardLayout {
    /// Shape of a chunk.
    pub(super) chunk: Vec<NonZeroU64>,
    /// Chunks along each dimension of the shard.
    pub(super) per_shard: Vec<u64>,
    /// The codecs of a chunk.
    pub(super) inner: Chain,
    index: Chain,
    pub(super) index_bytes: u64,
    index_is_first: bool,
}

/// How the elements of a chunk become bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Whether rows and columns of a chunk are exchanged before anything else.
    is_transposed: bool,
    serialization: Serialization,
    /// In the order in which they were applied.
    codecs: Vec<Codec>,
}

/// How elements become the bytes that the first codec is given.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Serialization {
    /// Elements of one length one after the other.
    Fixed {
        /// Whether the most significant byte of a number comes first.
        big_endian: bool,
    },
    /// The codec `vlen-utf8`.
    Strings,
    Sharded(Box<ShardLayout>),
}

/// An element of an array, as it is stored.
#[derive(Clone, Copy)]
pub(super) struct ElementBytes<'a> {
    pub(super) size_bytes: usize,
    /// One that is not stored.
    pub(super) fill: &'a [u8],
}

/// What has to be undone to get at the numbers of a chunk, as filters that are undone without knowing zarr.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// In the order in which they were applied.
    pub(super) filters: Vec<Filter>,
    /// Whether the most significant byte of a number comes first.
    pub(super) big_endian: bool,
}

/// Lengths along the dimensions of something, none of them 0.
pub(super) fn lengths(value: Option<&Value>) -> Result<Vec<NonZeroU64>, String> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    listed
        .map(|length| length.as_u64().and_then(NonZeroU64::new))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "the shape of its chunks holds other than lengths from 1 on".to_owned())
}

/// The product, if it is less than 2^64.
pub(super) fn product(numbers: impl IntoIterator<Item = u64>) -> Option<u64> {
    numbers
        .into_iter()
        .try_fold(1u64, |n, length| n.checked_mul(length))
}

/// The number of elements of a chunk of this shape, which is known to be less than 2^64.
fn n_elements(shape: &[NonZeroU64]) -> u64 {
    shape.iter().map(|length| length.get()).product()
}

impl Chain {
    /// That of an array of v2 of elements of this class, in chunks of two dimensions at most.
    pub(super) fn of_v2(document: &Value, class: &Class, big_endian: bool) -> Result<Self, Fault> {
        let elements = Elements {
            dtype: document["dtype"].as_str().unwrap_or_default(),
            // That of numcodecs.
            default_shuffle: 4,
            null_shuffle: None,
        };
        let mut serialization = None;
        let mut codecs = Vec::new();
        let filters = &document["filters"];
        if !filters.is_null() && !filters.is_array() {
            return Err("its filters are not a list".to_owned().into());
        }
        let is_transposed = match document["order"].as_str() {
            Some("F") => true,
            Some("C") => false,
            _ => return Err(format!("its order is {}, expected C or F", document["order"]).into()),
        };
        let listed = filters.as_array().into_iter().flatten();
        for codec in listed.chain(Some(&document["compressor"]).filter(|codec| !codec.is_null())) {
            match codec["id"].as_str().unwrap_or("of no name") {
                "vlen-utf8" if serialization.is_none() && codecs.is_empty() => {
                    serialization = Some(Serialization::Strings)
                }
                name => codecs.extend(Codec::named(name, codec, elements)?),
            }
        }
        let chain = Self {
            is_transposed,
            serialization: serialization.unwrap_or(Serialization::Fixed { big_endian }),
            codecs,
        };
        chain.check(class)
    }

    /// That of codecs of v3 for chunks of this shape, of two dimensions at most, of elements of this class and size.
    pub(super) fn of_v3(
        codecs: &Value,
        chunk: &[NonZeroU64],
        class: &Class,
        element_bytes: usize,
    ) -> Result<Self, Fault> {
        Self::within(MAX_LEVELS, codecs, chunk, class, element_bytes)
    }

    /// The same, of at most so many levels of shards.
    fn within(
        levels: usize,
        codecs: &Value,
        chunk: &[NonZeroU64],
        class: &Class,
        element_bytes: usize,
    ) -> Result<Self, Fault> {
        let dtype = format!("<f{element_bytes}");
        let elements = Elements {
            dtype: if *class == Class::Float { &dtype } else { "" },
            default_shuffle: element_bytes as u64,
            null_shuffle: Some(element_bytes as u64),
        };
        let mut is_transposed = false;
        let mut serialization = None;
        let mut after = Vec::new();
        for codec in codecs.as_array().into_iter().flatten() {
            let name = codec.as_str().or_else(|| codec["name"].as_str());
            let name = name.unwrap_or("of no name");
            let configuration = &codec["configuration"];
            match (name, &serialization) {
                ("transpose", None) => is_transposed ^= exchanges(&configuration["order"], chunk.len())?,
                ("bytes" | "endian", None) => {
                    let big_endian = match configuration["endian"].as_str() {
                        Some("big") => true,
                        Some("little") => false,
                        None if element_bytes == 1 || !matches!(class, Class::Int { .. } | Class::Float) => {
                            false
                        }
                        _ => {
                            return Err("it does not say which byte of a number comes first"
                                .to_owned()
                                .into());
                        }
                    };
                    serialization = Some(Serialization::Fixed { big_endian });
                }
                ("vlen-utf8", None) => serialization = Some(Serialization::Strings),
                ("sharding_indexed", None) => {
                    // In a transposed shard the chunks are transposed too.
                    let turned: Vec<_> = match is_transposed {
                        true => chunk.iter().rev().copied().collect(),
                        false => chunk.to_vec(),
                    };
                    let Some(below) = levels.checked_sub(1) else {
                        return Err(refused(&format!("sharding_indexed within {MAX_LEVELS} others")));
                    };
                    let shards = ShardLayout::new(below, configuration, &turned, class, element_bytes)?;
                    serialization = Some(Serialization::Sharded(Box::new(shards)));
                }
                ("transpose" | "bytes" | "endian" | "vlen-utf8" | "sharding_indexed", Some(_)) => {
                    return Err(format!("its codec {name} follows one that makes bytes").into());
                }
                (_, None) => {
                    // An unknown one is refused by name; others are out of place.
                    if Codec::named(name, configuration, elements)?.is_some() {
                        return Err(format!("its codec {name} comes before one that makes bytes").into());
                    }
                }
                (_, Some(_)) => after.extend(Codec::named(name, configuration, elements)?),
            }
        }
        let Some(serialization) = serialization else {
            return Err("none of its codecs makes bytes of elements".to_owned().into());
        };
        let chain = Self {
            is_transposed,
            serialization,
            codecs: after,
        };
        chain.check(class)
    }

    /// Refuses what does not go with elements of this class.
    fn check(self, class: &Class) -> Result<Self, Fault> {
        if self.codecs.len() > MAX_CODECS {
            return Err(format!(
                "it has {} codecs, expected at most {MAX_CODECS}",
                self.codecs.len()
            )
            .into());
        }
        match (&self.serialization, class) {
            (Serialization::Sharded(shards), Class::VarText)
                if self.codecs.is_empty() && !self.is_transposed =>
            {
                match shards.inner.serialization {
                    Serialization::Sharded(_) => Err(refused("sharding_indexed of shards of strings")),
                    _ => Ok(self),
                }
            }
            (Serialization::Sharded(_), Class::VarText) => {
                Err(refused("sharding_indexed of strings, together with other codecs"))
            }
            (Serialization::Fixed { .. }, Class::VarText) => {
                Err("its strings are stored with codec bytes, expected vlen-utf8"
                    .to_owned()
                    .into())
            }
            (Serialization::Strings, Class::VarText)
            | (Serialization::Fixed { .. } | Serialization::Sharded(_), _) => Ok(self),
            (Serialization::Strings, _) => {
                Err("its codec vlen-utf8 is one of strings, which it does not hold"
                    .to_owned()
                    .into())
            }
        }
    }

    /// Whether the most significant byte of a number comes first.
    pub(super) fn big_endian(&self) -> bool {
        match &self.serialization {
            Serialization::Fixed { big_endian } => *big_endian,
            Serialization::Strings => false,
            Serialization::Sharded(shards) => shards.inner.big_endian(),
        }
    }

    /// The shards, if each can be read chunk by chunk; otherwise the chain as it is.
    pub(super) fn into_shards(self) -> Result<ShardLayout, Self> {
        match self.serialization {
            Serialization::Sharded(shards) if self.codecs.is_empty() && !self.is_transposed => Ok(*shards),
            _ => Err(self),
        }
    }

    /// How chunks of so many dimensions are decoded by filters.
    ///
    /// # Errors
    /// In one clause, why they cannot be.
    pub(super) fn coding(&self, n_dimensions: usize) -> Result<Coding, String> {
        let Serialization::Fixed { big_endian } = self.serialization else {
            return Err("it has shards that are not read chunk by chunk, or strings".to_owned());
        };
        if self.is_transposed && n_dimensions > 1 {
            return Err("its chunks are stored by columns".to_owned());
        }
        let filters: Vec<Filter> = self
            .codecs
            .iter()
            .map(|codec| codec.filter())
            .collect::<Result<_, _>>()?;
        // The element's width matters to none of these.
        Pipeline::new(&filters, 1).map_err(|unknown| unknown.to_string())?;
        Ok(Coding { filters, big_endian })
    }

    /// Whether every width that chunks of so many bytes are shuffled by divides them.
    pub(super) fn shuffles_evenly(&self, chunk_bytes: u64) -> bool {
        { self.codecs.iter() }.all(|codec| match codec {
            Codec::Shuffle { element_bytes } => chunk_bytes.is_multiple_of((*element_bytes).into()),
            _ => true,
        })
    }

    /// Decodes a chunk of this shape to its elements, row after row.
    ///
    /// # Errors
    /// In one clause, what is damaged.
    pub(super) fn decode(
        &self,
        stored: Vec<u8>,
        shape: &[NonZeroU64],
        element: ElementBytes<'_>,
    ) -> Result<Vec<u8>, String> {
        guard(|| self.decode_elements(stored, shape, element))
    }

    fn decode_elements(
        &self,
        stored: Vec<u8>,
        shape: &[NonZeroU64],
        element: ElementBytes<'_>,
    ) -> Result<Vec<u8>, String> {
        let n_bytes = n_elements(shape) * element.size_bytes as u64;
        let of_stored = |n_bytes| self.decode_bytes(stored, n_bytes);
        let turned: Vec<NonZeroU64> = match self.is_transposed {
            true => shape.iter().rev().copied().collect(),
            false => shape.to_vec(),
        };
        let decoded = match &self.serialization {
            Serialization::Fixed { .. } => of_stored(Some(n_bytes))?,
            Serialization::Strings => return Err("it holds strings".to_owned()),
            Serialization::Sharded(shards) => shards.decode(&of_stored(None)?, &turned, element)?,
        };
        if decoded.len() as u64 != n_bytes {
            return Err(format!(
                "it decodes to {} bytes, expected {n_bytes}",
                decoded.len()
            ));
        }
        Ok(match (self.is_transposed, shape) {
            (true, [rows, columns]) => exchanged(
                &decoded,
                rows.get() as usize,
                columns.get() as usize,
                element.size_bytes,
            ),
            _ => decoded,
        })
    }

    /// Decodes a chunk of so many strings: their bytes one after the other, and where each begins; the last offset is the end.
    ///
    /// # Errors
    /// In one clause, what is damaged.
    pub(super) fn decode_text(
        &self,
        stored: Vec<u8>,
        n_strings: u64,
    ) -> Result<(Vec<u8>, Vec<usize>), String> {
        guard(|| text::decode(&self.decode_bytes(stored, None)?, n_strings))
    }

    /// Undoes all but the first codec, which made so many bytes if that is known.
    fn decode_bytes(&self, stored: Vec<u8>, n_bytes: Option<u64>) -> Result<Vec<u8>, String> {
        // What each codec was given.
        let mut lengths = Vec::with_capacity(self.codecs.len());
        let mut length = n_bytes;
        for codec in &self.codecs {
            lengths.push(length);
            length = length.and_then(|n| codec.encoded_bytes(n));
        }
        let steps = self.codecs.iter().zip(lengths).rev();
        { steps }.try_fold(stored, |stored, (codec, expected)| codec.decode(stored, expected))
    }
}

impl ShardLayout {
    fn new(
        levels: usize,
        configuration: &Value,
        shard: &[NonZeroU64],
        class: &Class,
        element_bytes: usize,
    ) -> Result<Self, Fault> {
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
        let listed = configuration["index_codecs"].as_array().into_iter().flatten();
        if { listed }.any(|codec| codec["name"] == "transpose") {
            return Err(refused("transpose of the index of shards"));
        }
        // The index is an array of numbers itself: of the offset and the length of each chunk.
        let numbers = Class::Int { signed: false };
        let index = Chain::within(0, &configuration["index_codecs"], &[], &numbers, size_of::<u64>())?;
        let plain = Some(n_chunks * ENTRY_BYTES)
            .filter(|_| matches!(index.serialization, Serialization::Fixed { .. }));
        let stored = { index.codecs.iter() }.try_fold(plain, |n, codec| Some(codec.encoded_bytes(n?)));
        let Some(Some(index_bytes)) = stored else {
            return Err("the index of its shards is compressed".to_owned().into());
        };
        let index_is_first = match configuration["index_location"].as_str() {
            Some("start") => true,
            None | Some("end") => false,
            Some(other) => return Err(format!("the index of its shards is at their {other}").into()),
        };
        Ok(Self {
            inner: Chain::within(levels, &configuration["codecs"], &chunk, class, element_bytes)?,
            chunk,
            per_shard,
            index,
            index_bytes,
            index_is_first,
        })
    }

    /// Where the index of a shard of so many bytes is.
    pub(super) fn index_at(&self, shard_bytes: u64) -> Result<u64, String> {
        let last = shard_bytes.checked_sub(self.index_bytes);
        let last = last.ok_or_else(|| {
            format!(
                "it has {} bytes, but the shard only {shard_bytes}",
                self.index_bytes
            )
        })?;
        Ok(if self.index_is_first { 0 } else { last })
    }

    /// Offset and length of each chunk of a shard of so many bytes, as its index says; [`ABSENT`] for those that are not stored.
    pub(super) fn places(&self, index: Vec<u8>, shard_bytes: u64) -> Result<Vec<(u64, u64)>, String> {
        let n_chunks: u64 = self.per_shard.iter().product();
        let numbers = guard(|| self.index.decode_bytes(index, Some(n_chunks * ENTRY_BYTES)))?;
        let number = |bytes: &[u8; 8]| match self.index.big_endian() {
            true => u64::from_be_bytes(*bytes),
            false => u64::from_le_bytes(*bytes),
        };
        let entries = numbers.as_chunks::<8>().0.as_chunks::<2>().0;
        let places: Vec<_> = entries
            .iter()
            .map(|[offset, n]| (number(offset), number(n)))
            .collect();
        // Together no more than the shard has, so that no small one stands for much.
        let lengths = places.iter().filter(|&&place| place != ABSENT);
        let sum = lengths.fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        match sum > shard_bytes {
            true => Err(format!(
                "its chunks have {sum} bytes, but the shard only {shard_bytes}"
            )),
            false => Ok(places),
        }
    }

    /// Decodes a shard of this shape whole.
    fn decode(
        &self,
        stored: &[u8],
        shard: &[NonZeroU64],
        element: ElementBytes<'_>,
    ) -> Result<Vec<u8>, String> {
        let at = self.index_at(stored.len() as u64)? as usize;
        let index = stored[at..][..self.index_bytes as usize].to_vec();
        let places = self.places(index, stored.len() as u64)?;
        // Of one dimension all is one row.
        let rows_and_columns = |lengths: &[NonZeroU64]| match lengths {
            [rows, columns] => [rows.get() as usize, columns.get() as usize],
            _ => [1, n_elements(lengths) as usize],
        };
        let [rows, columns] = rows_and_columns(&self.chunk);
        let [_, shard_columns] = rows_and_columns(shard);
        let row_bytes = columns * element.size_bytes;
        let shard_row_bytes = shard_columns * element.size_bytes;
        let across = shard_columns / columns;
        let n = n_elements(shard) as usize;
        let mut all = element.fill.repeat(n * element.size_bytes / element.fill.len());
        for (number, place) in places.into_iter().enumerate() {
            let (offset, n_bytes) = place;
            if place == ABSENT {
                continue;
            }
            let within = offset
                .checked_add(n_bytes)
                .filter(|&end| end <= stored.len() as u64);
            let Some(end) = within else {
                return Err(format!("chunk {number} of a shard ends beyond it"));
            };
            let piece = stored[offset as usize..end as usize].to_vec();
            let decoded = self.inner.decode_elements(piece, &self.chunk, element)?;
            let (down, right) = (number / across * rows, number % across * row_bytes);
            for (row, from) in decoded.chunks_exact(row_bytes).enumerate() {
                all[(down + row) * shard_row_bytes + right..][..row_bytes].copy_from_slice(from);
            }
        }
        Ok(all)
    }
}

/// Whether a transposition exchanges the rows and columns of an array of so many dimensions.
fn exchanges(order: &Value, n_dimensions: usize) -> Result<bool, Fault> {
    let named: Option<Vec<u64>> = order
        .as_array()
        .and_then(|order| order.iter().map(Value::as_u64).collect());
    match (order.as_str(), named.as_deref(), n_dimensions) {
        (Some("C"), ..) | (_, Some([]), 0) | (_, Some([0]), 1) | (_, Some([0, 1]), 2) => Ok(false),
        (Some("F"), ..) => Ok(n_dimensions == 2),
        (_, Some([1, 0]), 2) => Ok(true),
        _ => {
            Err(format!("its dimensions are transposed in order {order}, which is not one of theirs").into())
        }
    }
}

/// Elements that are stored column after column, row after row.
fn exchanged(stored: &[u8], rows: usize, columns: usize, element_bytes: usize) -> Vec<u8> {
    let mut plain = Vec::with_capacity(stored.len());
    for row in 0..rows {
        for column in 0..columns {
            plain.extend_from_slice(&stored[(column * rows + row) * element_bytes..][..element_bytes]);
        }
    }
    plain
}

/// Runs the code of decoders, which works on the calling thread alone; a panic over damaged data is an error like any other.
fn guard<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(call).unwrap_or_else(|| Err("its decoder failed on it".to_owned()))
}
