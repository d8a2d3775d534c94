//! Cuts windows of rows into blocks and encodes them.

use std::ops::Range;

use cellring::format::{CsrRows, Element, ValueBuffer, ValueType};
use cellring::with_element;
use cellring::writer::{BlockEncoder, EncodeError, EncodedBlock};
use rayon::prelude::*;

/// Cuts windows into blocks. Rows of a block that is cut by windows wait until the block is whole.
pub(super) struct BlockCutter {
    block_size: usize,
    /// The first rows of the next block.
    waiting: CsrRows,
    /// First obs of the next block.
    first_obs: u64,
}

impl BlockCutter {
    /// `first_obs`: where the first block begins.
    pub(super) fn new(block_size: u32, value_type: ValueType, first_obs: u64) -> Self {
        Self {
            block_size: block_size as usize,
            waiting: CsrRows {
                indptr: vec![0],
                indices: Vec::new(),
                values: ValueBuffer::with_capacity(value_type, 0),
            },
            first_obs,
        }
    }

    /// Encodes the blocks that the window completes, on the current thread pool; they come out in order.
    pub(super) fn encode(
        &mut self,
        window: &mut CsrRows,
        encoder: &BlockEncoder,
    ) -> Result<Vec<EncodedBlock>, EncodeError> {
        let n_rows = window.n_rows();
        let mut start = 0;
        if self.waiting.n_rows() > 0 {
            start = n_rows.min(self.block_size - self.waiting.n_rows());
            append(&mut self.waiting, window, 0..start);
        }
        let block_size = self.block_size;
        let is_whole = self.waiting.n_rows() == block_size;
        let n_blocks = (n_rows - start) / block_size;
        let end = start + n_blocks * block_size;
        let first_obs = self.first_obs;
        let n_before = usize::from(is_whole);
        // The block that waited comes first, the window's own follow.
        let blocks = (0..n_before + n_blocks)
            .into_par_iter()
            .map(|number| {
                let obs = first_obs + (number * block_size) as u64;
                if number < n_before {
                    return encoder.encode(obs, &self.waiting, 0..block_size);
                }
                let row = start + (number - n_before) * block_size;
                encoder.encode(obs, window, row..row + block_size)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.first_obs += (blocks.len() * block_size) as u64;
        if is_whole {
            clear(&mut self.waiting);
        }
        append(&mut self.waiting, window, end..n_rows);
        Ok(blocks)
    }

    /// Encodes the last block, where it is not full.
    pub(super) fn finish(self, encoder: &BlockEncoder) -> Result<Option<EncodedBlock>, EncodeError> {
        match self.waiting.n_rows() {
            0 => Ok(None),
            n_rows => encoder.encode(self.first_obs, &self.waiting, 0..n_rows).map(Some),
        }
    }
}

fn clear(rows: &mut CsrRows) {
    rows.indptr.truncate(1);
    rows.indices.clear();
    with_element!(rows.values.value_type(), T => {
        if let Some(values) = T::vec_mut(&mut rows.values) {
            values.clear();
        }
    });
}

/// Appends rows `range` of `from`, which is of the same element type.
fn append(rows: &mut CsrRows, from: &mut CsrRows, range: Range<usize>) {
    let (start, end) = (from.indptr[range.start], from.indptr[range.end]);
    let base = rows.indices.len() as u64;
    rows.indptr.extend(
        from.indptr[range.start + 1..=range.end]
            .iter()
            .map(|at| at - start + base),
    );
    let entries = start as usize..end as usize;
    rows.indices.extend_from_slice(&from.indices[entries.clone()]);
    with_element!(rows.values.value_type(), T => {
        match (T::vec_mut(&mut rows.values), T::vec_mut(&mut from.values)) {
            (Some(values), Some(more)) => values.extend_from_slice(&more[entries]),
            _ => unreachable!("windows are of the matrix's element type"),
        }
    });
}

#[cfg(test)]
mod tests {
    use cellring::format::Encoding;

    use super::*;

    fn rows(nnz_of_row: impl Iterator<Item = usize>) -> CsrRows {
        let mut rows = CsrRows {
            indptr: vec![0],
            indices: vec![],
            values: ValueBuffer::U8(vec![]),
        };
        let mut values = vec![];
        for nnz in nnz_of_row {
            rows.indices.extend(0..nnz as u32);
            values.extend((0..nnz).map(|i| i as u8 + 1));
            rows.indptr.push(rows.indices.len() as u64);
        }
        rows.values = ValueBuffer::U8(values);
        rows
    }

    /// However the rows arrive, the blocks are those of all rows at once.
    #[test]
    fn blocks_do_not_depend_on_windows() {
        let encoder = BlockEncoder {
            encoding: Encoding::Packed,
            n_vars: 50,
            raw_value_type: ValueType::U8,
            column_of_source: None,
        };
        let nnz = |row: usize| (row * 7) % 11;
        let whole = rows((0..23).map(nnz));
        for block_size in [1usize, 4, 5, 23, 40] {
            let expected: Vec<_> = (0..23)
                .step_by(block_size)
                .map(|row| {
                    encoder
                        .encode(row as u64, &whole, row..23.min(row + block_size))
                        .unwrap()
                })
                .collect();
            for window in [1, 2, 3, 4, 7, 22, 23] {
                let mut cutter = BlockCutter::new(block_size as u32, ValueType::U8, 0);
                let mut blocks = vec![];
                for start in (0..23).step_by(window) {
                    let mut piece = rows((start..23.min(start + window)).map(nnz));
                    blocks.extend(cutter.encode(&mut piece, &encoder).unwrap());
                }
                blocks.extend(cutter.finish(&encoder).unwrap());
                assert_eq!(blocks, expected, "blocks of {block_size}, windows of {window}");
            }
        }
    }
}
