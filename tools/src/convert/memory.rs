//! Fits a conversion into a memory limit: how large the windows of rows may be that are in memory at a time.

use arrow_schema::DataType;
use cellring::format::constants::TABLE_BATCH_ROWS;
use cellring_anndata::{MatrixSource, TableSource};

/// Memory for keys to sort obs by, and for texts that are told apart while they are read.
pub(super) const KEY_BYTES: u64 = 8;

/// The program itself, the window of a pass that only counts, chunks being decoded, and the writes under way: up to 75 MiB
/// where it was measured.
pub(super) const BASE_BYTES: u64 = 88 << 20;

/// What each thread holds besides: a decoded chunk, counts, stacks.
const THREAD_BYTES: u64 = 4 << 20;

/// Stored entries per chunk of the input, assumed (anndata writes 40,000 and more), and what is kept for each chunk of
/// `data` and of `indices`.
const CHUNK_NNZ: u64 = 1 << 15;
const CHUNK_BYTES: u64 = 2 * 32;

/// What the writer keeps for each block until the index is written.
const BLOCK_BYTES: u64 = 32;

/// Windows of rows that exist at a time: one decoded, one waiting, one encoded, one for the allocator's slack.
const WINDOWS: u64 = 4;

/// A larger window gains nothing: it already keeps every thread busy.
const MAX_WINDOW_NNZ: u64 = 4 << 20;

/// A smaller one is all overhead.
const MIN_WINDOW_NNZ: u64 = 1 << 16;

/// Text of one cell of a string column, assumed: no more is known before it is read.
const TEXT_BYTES: u64 = 48;

/// What a conversion needs memory for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
    n_blocks: u64,
    /// A source entry: its column and its value.
    entry_bytes: u64,
    value_bytes: u64,
    max_row_nnz: u64,
    max_block_nnz: u64,
    table_bytes: u64,
    /// What the source needs besides windows.
    source_bytes: u64,
    threads: u64,
}

impl Needs {
    /// Reads the needs off the input, without reading a matrix entry; obs passes in batches, var may be held whole.
    pub(super) fn new(
        matrix: &MatrixSource,
        obs: &TableSource,
        var: &TableSource,
        block_size: u32,
        threads: usize,
    ) -> Self {
        let value_bytes = matrix.value_type().size_bytes() as u64;
        let mut needs = Self {
            n_obs: matrix.n_obs(),
            n_vars: matrix.n_vars(),
            nnz: matrix.nnz(),
            n_blocks: matrix.n_obs().div_ceil(u64::from(block_size)),
            entry_bytes: 4 + value_bytes,
            value_bytes,
            threads: threads as u64,
            source_bytes: matrix.working_bytes(),
            ..Self::default()
        };
        let mut block_nnz = 0;
        for (row, nnz) in matrix.stored_per_row(0..matrix.n_obs()).enumerate() {
            if (row as u64).is_multiple_of(u64::from(block_size)) {
                block_nnz = 0;
            }
            block_nnz += nnz;
            needs.max_row_nnz = needs.max_row_nnz.max(nnz);
            needs.max_block_nnz = needs.max_block_nnz.max(block_nnz);
        }
        let obs_rows = obs.n_rows().min(TABLE_BATCH_ROWS as u64);
        needs.table_bytes = table_bytes(obs, obs_rows).max(table_bytes(var, var.n_rows()));
        needs.and(obs.working_bytes() + var.working_bytes())
    }

    /// With so much more that is held all the time.
    pub(super) fn and(mut self, bytes: u64) -> Self {
        self.source_bytes += bytes;
        self
    }

    /// Memory that does not depend on the size of windows.
    fn fixed_bytes(&self) -> u64 {
        // Counts, order and its inverse; per thread counts, and the places and bits that a row is scattered to.
        let per_var = 24 + self.threads * (8 + self.value_bytes);
        // A block that lies across windows is put together; each thread holds a copy of a block and its encoding.
        let blocks = (1 + 2 * self.threads) * self.max_block_nnz * self.entry_bytes;
        let lists = CHUNK_BYTES * (self.nnz / CHUNK_NNZ) + BLOCK_BYTES * self.n_blocks;
        BASE_BYTES
            + self.source_bytes
            + self.threads * THREAD_BYTES
            + lists
            + 8 * self.n_obs
            + per_var * self.n_vars
            + blocks
    }

    /// Memory while windows of at most `window_nnz` entries pass.
    fn bytes_with(&self, window_nnz: u64) -> u64 {
        // What is encoded of one window waits until it is written: at most as large as the window itself.
        let windows = (WINDOWS + 1) * window_nnz.max(self.max_row_nnz) * self.entry_bytes;
        self.fixed_bytes() + windows.max(self.table_bytes)
    }

    /// The number of entries that a window may have.
    ///
    /// # Errors
    /// The least memory that suffices, and what takes most of it, where `memory_bytes` is less.
    pub(super) fn window_nnz(&self, memory_bytes: u64) -> Result<usize, (u64, String)> {
        let needed = self.bytes_with(MIN_WINDOW_NNZ);
        if memory_bytes < needed {
            return Err((needed, self.reason()));
        }
        let left = memory_bytes - self.fixed_bytes();
        let nnz = left / ((WINDOWS + 1) * self.entry_bytes);
        Ok(nnz.clamp(MIN_WINDOW_NNZ, MAX_WINDOW_NNZ) as usize)
    }

    fn reason(&self) -> String {
        let blocks = (1 + 2 * self.threads) * self.max_block_nnz * self.entry_bytes;
        if blocks > BASE_BYTES.max(self.table_bytes) {
            format!(
                "blocks of up to {} values on {} threads (a smaller --block-size or --threads needs less)",
                self.max_block_nnz, self.threads
            )
        } else if self.source_bytes > BASE_BYTES.max(self.table_bytes) {
            "rows that the input keeps together, as the tiles of a dense matrix do".to_owned()
        } else if self.table_bytes > BASE_BYTES {
            format!("a batch of {TABLE_BATCH_ROWS} rows of obs or the whole of var")
        } else {
            format!(
                "{} obs, {} vars and {} threads",
                self.n_obs, self.n_vars, self.threads
            )
        }
    }
}

/// An estimate for `rows` rows in memory: as they are read, reordered, and written.
pub(super) fn table_bytes(table: &TableSource, rows: u64) -> u64 {
    let row_bytes: u64 = table
        .schema()
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Boolean => 1,
            DataType::Utf8 | DataType::LargeUtf8 => TEXT_BYTES,
            data_type => data_type.primitive_width().unwrap_or(4) as u64,
        })
        .sum();
    3 * row_bytes * rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_with_memory_within_bounds() {
        let needs = Needs {
            n_obs: 200_000,
            n_vars: 62_710,
            nnz: 386_000_000,
            n_blocks: 782,
            entry_bytes: 8,
            value_bytes: 4,
            max_row_nnz: 9_000,
            max_block_nnz: 500_000,
            table_bytes: 10 << 20,
            source_bytes: 0,
            threads: 2,
        };
        let (needed, reason) = needs.window_nnz(64 << 20).unwrap_err();
        assert!(needed > 64 << 20 && reason.contains("2 threads"), "{reason}");
        assert_eq!(needs.window_nnz(needed - 1), Err((needed, reason)));
        let least = needs.window_nnz(needed).unwrap();
        assert!((MIN_WINDOW_NNZ as usize..1 << 20).contains(&least), "{least}");
        let middle = needs.window_nnz(256 << 20).unwrap();
        assert!(middle > least && needs.bytes_with(middle as u64) <= 256 << 20);
        assert_eq!(needs.window_nnz(1 << 40), Ok(MAX_WINDOW_NNZ as usize));
    }

    #[test]
    fn large_blocks_are_named_as_the_reason() {
        let needs = Needs {
            entry_bytes: 8,
            max_block_nnz: 1 << 27,
            threads: 2,
            ..Needs::default()
        };
        let (needed, reason) = needs.window_nnz(1 << 30).unwrap_err();
        assert!(needed > 5 << 30 && reason.contains("--block-size"), "{reason}");
    }
}
