//! Makes raw blocks.

use super::layout::{RawLayout, index_bytes};
use crate::format::checksum::obs_crc;
use crate::format::encoding::codec::{BlockBytes, BlockShape, EncodeBlock, TooLong};
use cellring_core::ValueType;
use cellring_core::{Element, put};

/// Collects the rows of a block.
#[derive(Debug)]
pub(crate) struct RawEncoder<T> {
    shape: BlockShape,
    max_obs_bytes: u64,
    indptr: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<T>,
}

impl<T: Element> EncodeBlock<T> for RawEncoder<T> {
    fn new(shape: BlockShape) -> Self {
        Self {
            shape,
            max_obs_bytes: 0,
            indptr: vec![0],
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, indices: &[u32], values: &[T]) -> Result<(), TooLong> {
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        let width = index_bytes(self.shape.n_vars) + self.shape.stored.size_bytes();
        self.max_obs_bytes = self.max_obs_bytes.max((indices.len() * width) as u64);
        let end = TooLong::check((self.indices.len() * width) as u64 + 4096)?;
        self.indptr.push(end.min(self.indices.len() as u32));
        Ok(())
    }

    fn finish(mut self) -> Result<BlockBytes, TooLong> {
        let BlockShape {
            first_obs,
            n_obs,
            nnz,
            n_vars,
            stored,
        } = self.shape;
        let expected_bytes = RawLayout::new(n_obs, nnz, n_vars, stored).payload_bytes;
        let mut payload = Vec::with_capacity(expected_bytes);
        let details = encode_block(
            first_obs,
            &self.indptr,
            &self.indices,
            &self.values,
            n_vars,
            stored,
            &mut payload,
        );
        TooLong::check(payload.len() as u64)?;
        Ok(BlockBytes {
            payload,
            ends: self.indptr.split_off(1),
            details,
            max_obs_bytes: self.max_obs_bytes,
        })
    }
}

/// Appends the payload of a block, whose start in `out` must be the end of `out` as it is, and gives the CRC of each obs.
///
/// `values` are in the source's type `T`; `stored` is `T`'s own type or an unsigned integer that holds them all.
///
/// # Panics
/// If a value is not representable in `stored`: the writer has determined it from all values.
fn encode_block<T: Element>(
    first_obs: u64,
    indptr: &[u32],
    indices: &[u32],
    values: &[T],
    n_vars: u64,
    stored: ValueType,
    out: &mut Vec<u8>,
) -> Vec<u32> {
    let start = out.len();
    let layout = RawLayout::new(indptr.len() - 1, indices.len(), n_vars, stored);
    indptr
        .iter()
        .for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
    out.resize(start + layout.indices_at, 0);
    for index in indices {
        out.extend_from_slice(&index.to_le_bytes()[..layout.index_bytes]);
    }
    out.resize(start + layout.data_at, 0);
    for &value in values {
        if stored == T::VALUE_TYPE {
            put(value, out);
        } else {
            let Some(count) = value.as_count() else {
                panic!("a value is not a count, although the store's type holds only counts")
            };
            let bytes = count.to_le_bytes();
            assert!(
                bytes[layout.value_bytes..].iter().all(|&b| b == 0),
                "{count} does not fit {stored:?}"
            );
            out.extend_from_slice(&bytes[..layout.value_bytes]);
        }
    }
    let block = &out[start..];
    let crc = |j: usize| {
        let (from, to) = (indptr[j] as usize, indptr[j + 1] as usize);
        let part = |at: usize, width: usize| &block[at + from * width..at + to * width];
        let parts = [
            part(layout.indices_at, layout.index_bytes),
            part(layout.data_at, layout.value_bytes),
        ];
        obs_crc(first_obs + j as u64, (to - from) as u32, &parts)
    };
    (0..layout.n_obs).map(crc).collect()
}
