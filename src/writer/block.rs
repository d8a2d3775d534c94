//! Encodes blocks: pure and independent of each other, so that a caller may encode many at once.

use std::ops::Range;
use std::sync::Arc;

use super::reorder::RowSorter;
use crate::format::encoding::{self, BlockBytes, BlockShape, TooLong};
use crate::format::{CsrRows, Encoding, ValueType};
use cellring_core::Element;

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
        "the block that begins with obs {first_obs} takes {bytes} bytes, more than 4 GiB; choose a smaller block size"
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
    /// If the block is too large for the format.
    ///
    /// # Panics
    /// If rows are not canonical or a column is not below `n_vars`.
    pub fn encode(
        &self,
        first_obs: u64,
        rows: &CsrRows,
        range: Range<usize>,
    ) -> Result<EncodedBlock, EncodeError> {
        cellring_core::with_values!(&rows.values, values => self.encode_values(first_obs, rows, values, range))
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
        let shape = BlockShape {
            first_obs,
            n_obs: n_rows,
            nnz: to - from,
            n_vars: self.n_vars,
            stored: match self.encoding.has_raw_value_type() {
                true => self.raw_value_type,
                false => T::VALUE_TYPE,
            },
        };
        let too_large = |TooLong { bytes }| EncodeError::BlockTooLarge { first_obs, bytes };
        let mut encoder = encoding::BlockEncoder::<T>::new(self.encoding, shape);
        let mut max_obs_nnz = 0;
        for row in range {
            let row = rows.indptr[row] as usize..rows.indptr[row + 1] as usize;
            max_obs_nnz = max_obs_nnz.max(row.len() as u32);
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
            encoder.push(row_indices, row_values).map_err(too_large)?;
        }
        let BlockBytes {
            payload,
            ends,
            details,
            max_obs_bytes,
        } = encoder.finish().map_err(too_large)?;
        Ok(EncodedBlock {
            payload,
            ends,
            details,
            nnz: (to - from) as u64,
            max_obs_nnz,
            max_obs_bytes,
            f32_exact: values[from..to].iter().all(|value| value.is_f32_exact()),
        })
    }
}
