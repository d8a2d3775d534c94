//! Encodes blocks: pure and independent of each other, so that a caller may encode many at once.

use std::ops::Range;
use std::sync::Arc;

use super::reorder::RowSorter;
use crate::format::element::Element;
use crate::format::packed::FrameEncoder;
use crate::format::{CsrRows, Encoding, ValueType, raw};

/// What all blocks of a store have in common.
#[derive(Clone, Debug)]
pub struct BlockEncoder {
    /// The encoding.
    pub encoding: Encoding,
    /// Number of columns.
    pub n_vars: u64,
    /// Raw encoding: the type to store values in. Not used by the packed one.
    pub raw_value_type: ValueType,
    /// For each column of the source its column in the store; `None` where they are the same.
    pub column_of_source: Option<Arc<[u32]>>,
}

/// A block ready to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedBlock {
    /// The bytes of the block, without padding.
    pub payload: Vec<u8>,
    /// The index's second section for these obs.
    pub ends: Vec<u32>,
    /// The index's third section for these obs.
    pub details: Vec<u32>,
    /// Number of values.
    pub nnz: u64,
    /// The largest number of values in one obs.
    pub max_obs_nnz: u32,
    /// The largest number of bytes of one obs.
    pub max_obs_bytes: u64,
    /// Whether every value survives a conversion to `f32`.
    pub f32_exact: bool,
}

/// Why a block cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The block is too large for the format's 32-bit offsets.
    #[error(
        "the block that begins with obs {first_obs} takes {bytes} bytes, more than 4 GiB; choose a smaller --block-size"
    )]
    BlockTooLarge {
        /// First obs of the block.
        first_obs: u64,
        /// Its length.
        bytes: u64,
    },
}

impl BlockEncoder {
    /// Encodes rows `range` of `rows` as the block whose first obs is `first_obs`.
    ///
    /// # Errors
    /// [`EncodeError`] where the block is too large for the format.
    ///
    /// # Panics
    /// Where rows are not canonical or a column is not below `n_vars`.
    pub fn encode(
        &self,
        first_obs: u64,
        rows: &CsrRows,
        range: Range<usize>,
    ) -> Result<EncodedBlock, EncodeError> {
        crate::with_values!(&rows.values, values => self.encode_values(first_obs, rows, values, range))
    }

    fn encode_values<T: Element>(
        &self,
        first_obs: u64,
        rows: &CsrRows,
        values: &[T],
        range: Range<usize>,
    ) -> Result<EncodedBlock, EncodeError> {
        let n_rows = range.len();
        let (from, to) = (rows.indptr[range.start] as usize, rows.indptr[range.end] as usize);
        let mut sorter = RowSorter::new(self.n_vars, to - from);
        let expected_bytes = match self.encoding {
            // Rarely exceeded, and then the vector grows.
            Encoding::Packed => (to - from) * 3 / 2 + n_rows * 8,
            Encoding::Raw => {
                raw::RawLayout::new(n_rows, to - from, self.n_vars, self.raw_value_type).payload_bytes
            }
        };
        let mut block = EncodedBlock {
            payload: Vec::with_capacity(expected_bytes),
            ends: Vec::with_capacity(n_rows),
            details: Vec::with_capacity(n_rows),
            nnz: (to - from) as u64,
            f32_exact: values[from..to].iter().all(|value| value.is_f32_exact()),
            ..EncodedBlock::default()
        };
        let mut frames = FrameEncoder::default();
        let mut indptr = vec![0u32];
        let (mut indices, mut data) = (Vec::new(), Vec::new());
        for (j, row) in range.enumerate() {
            let row = rows.indptr[row] as usize..rows.indptr[row + 1] as usize;
            let nnz = row.len();
            block.max_obs_nnz = block.max_obs_nnz.max(nnz as u32);
            let (row_indices, row_values) = match &self.column_of_source {
                None => (&rows.indices[row.clone()], &values[row]),
                Some(map) => sorter.reorder(map, &rows.indices[row.clone()], &values[row]),
            };
            assert!(
                row_indices
                    .last()
                    .is_none_or(|&last| u64::from(last) < self.n_vars),
                "a column is out of range"
            );
            match self.encoding {
                Encoding::Packed => {
                    let start = block.payload.len();
                    frames.encode(first_obs + j as u64, row_indices, row_values, &mut block.payload);
                    block.max_obs_bytes = block.max_obs_bytes.max((block.payload.len() - start) as u64);
                    block.ends.push(self.fits(first_obs, block.payload.len() as u64)?);
                    block.details.push(nnz as u32);
                }
                Encoding::Raw => {
                    indices.extend_from_slice(row_indices);
                    data.extend_from_slice(row_values);
                    let width = raw::index_bytes(self.n_vars) + self.raw_value_type.size_bytes();
                    block.max_obs_bytes = block.max_obs_bytes.max((nnz * width) as u64);
                    indptr.push(
                        self.fits(first_obs, (indices.len() * width) as u64 + 4096)?
                            .min(indices.len() as u32),
                    );
                }
            }
        }
        if self.encoding == Encoding::Raw {
            let stored = self.raw_value_type;
            block.details = raw::encode_block(
                first_obs,
                &indptr,
                &indices,
                &data,
                self.n_vars,
                stored,
                &mut block.payload,
            );
            block.ends = indptr.split_off(1);
            self.fits(first_obs, block.payload.len() as u64)?;
        }
        Ok(block)
    }

    fn fits(&self, first_obs: u64, bytes: u64) -> Result<u32, EncodeError> {
        u32::try_from(bytes).map_err(|_| EncodeError::BlockTooLarge { first_obs, bytes })
    }
}
