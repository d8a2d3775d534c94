//! Fits a conversion into a memory limit: how large the windows of rows may be that are in memory at a time.

use std::path::Path;

use arrow_schema::DataType;
use cellring::format::constants::TABLE_BATCH_ROWS;
use cellring_anndata::{MatrixSource, TableSource};

use super::error::ConvertError;

/// Memory for a key to sort obs by.
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

/// Shares of a limit are whole bytes: a limit that is larger by some may be one at which several of them grow.
const ROUNDING_BYTES: u64 = 1 << 10;

/// A smaller one is all overhead.
const MIN_WINDOW_NNZ: u64 = 1 << 16;

/// Text of one cell of a string column, assumed: no more is known before it is read.
const TEXT_BYTES: u64 = 48;

/// What a conversion needs memory for, besides what is held all the time, which depends on the limit.
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
    /// What is needed before any row is read.
    sort_bytes: u64,
    threads: u64,
}

/// A limit that does not suffice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLittle {
    /// The least that does. Every larger one does, too.
    pub(super) needed_bytes: u64,
    /// What takes most of it.
    pub(super) reason: String,
}

impl TooLittle {
    /// As an error about this input.
    pub(super) fn error(self, file: &Path, limit_bytes: u64) -> ConvertError {
        ConvertError::Memory {
            file: file.to_path_buf(),
            limit_bytes,
            needed_bytes: self.needed_bytes,
            reason: self.reason,
        }
    }
}

impl Needs {
    /// Reads the needs off the input, without reading a matrix entry; obs passes in batches, var may be held whole. `order` names for each
    /// row of the store its row in the matrix, where that is another.
    pub(super) fn new(
        matrix: &MatrixSource,
        order: Option<&[u32]>,
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
            ..Self::default()
        };
        let mut block_nnz = 0;
        let mut add = |(row, nnz): (u64, u64)| {
            if row.is_multiple_of(u64::from(block_size)) {
                block_nnz = 0;
            }
            block_nnz += nnz;
            needs.max_row_nnz = needs.max_row_nnz.max(nnz);
            needs.max_block_nnz = needs.max_block_nnz.max(block_nnz);
        };
        let stored_in = |&row: &u32| matrix.stored_in_row(row.into());
        match order {
            Some(order) => (0..).zip(order.iter().map(stored_in)).for_each(&mut add),
            None => (0..)
                .zip(matrix.stored_per_row(0..matrix.n_obs()))
                .for_each(&mut add),
        }
        let obs_rows = obs.n_rows().min(TABLE_BATCH_ROWS as u64);
        needs.table_bytes = table_bytes(obs, obs_rows).max(table_bytes(var, var.n_rows()));
        needs
    }

    /// With blocks that begin anywhere: parts of two that follow each other are in one.
    pub(super) fn with_blocks_anywhere(mut self) -> Self {
        self.max_block_nnz *= 2;
        self
    }

    /// At the most, with the rows in any order, and with so many bytes that are needed to find it.
    pub(super) fn in_any_order(mut self, block_size: u32, sort_bytes: u64) -> Self {
        let most = u64::from(block_size).saturating_mul(self.max_row_nnz);
        self.max_block_nnz = most.min(self.nnz);
        self.sort_bytes = sort_bytes;
        self
    }

    /// Blocks that are put together of several windows, and on each thread a copy of a block and its encoding.
    fn block_bytes(&self) -> u64 {
        (1 + 2 * self.threads) * self.max_block_nnz * self.entry_bytes
    }

    /// Memory that does not depend on the size of windows, beside what is held.
    fn fixed_bytes(&self) -> u64 {
        // Counts, order and its inverse; per thread counts, and the places and bits that a row is scattered to.
        let per_var = 24 + self.threads * (8 + self.value_bytes);
        let lists = CHUNK_BYTES * (self.nnz / CHUNK_NNZ) + BLOCK_BYTES * self.n_blocks;
        BASE_BYTES
            + self.threads * THREAD_BYTES
            + lists
            + 8 * self.n_obs
            + per_var * self.n_vars
            + self.block_bytes()
    }

    /// What is needed beside so much that is held: to sort, and afterwards to write, with the smallest windows.
    fn least_bytes(&self, held_bytes: u64) -> u64 {
        // What is encoded of one window waits until it is written: at most as large as the window itself.
        let windows = (WINDOWS + 1) * MIN_WINDOW_NNZ.max(self.max_row_nnz) * self.entry_bytes;
        let writing = self.fixed_bytes() + windows.max(self.table_bytes);
        writing.saturating_add(held_bytes).max(self.sort_bytes)
    }

    /// The number of entries that a window may have. `held_within` says what is held all the time within a limit: with the limit it grows
    /// by less.
    pub(super) fn window_nnz(
        &self,
        limit_bytes: u64,
        held_within: &dyn Fn(u64) -> u64,
    ) -> Result<usize, TooLittle> {
        let held_bytes = held_within(limit_bytes);
        if limit_bytes < self.least_bytes(held_bytes) {
            let needed_bytes = self.least_limit(limit_bytes, held_within);
            return Err(TooLittle {
                needed_bytes,
                reason: self.reason(held_within(needed_bytes)),
            });
        }
        let left = limit_bytes - self.fixed_bytes() - held_bytes;
        let nnz = left / ((WINDOWS + 1) * self.entry_bytes);
        Ok(nnz.clamp(MIN_WINDOW_NNZ, MAX_WINDOW_NNZ) as usize)
    }

    /// The least limit that suffices, where one does not.
    fn least_limit(&self, too_little: u64, held_within: &dyn Fn(u64) -> u64) -> u64 {
        let suffices = |limit: u64| {
            self.least_bytes(held_within(limit))
                .saturating_add(ROUNDING_BYTES)
                <= limit
        };
        let (mut below, mut enough) = (too_little, too_little.max(1 << 20));
        while !suffices(enough) {
            (below, enough) = (enough, enough.saturating_mul(2));
        }
        while enough - below > 1 {
            let middle = below.midpoint(enough);
            match suffices(middle) {
                true => enough = middle,
                false => below = middle,
            }
        }
        enough
    }

    /// Of all that is needed, what takes most.
    fn reason(&self, held_bytes: u64) -> String {
        if self.sort_bytes >= self.least_bytes(held_bytes) {
            return format!("keys to sort {} obs by", self.n_obs);
        }
        let (block_bytes, table_bytes) = (self.block_bytes(), self.table_bytes);
        let most = block_bytes.max(held_bytes).max(table_bytes).max(BASE_BYTES);
        if most == block_bytes {
            format!(
                "blocks of up to {} values on {} threads (a smaller --block-size or --threads needs less)",
                self.max_block_nnz, self.threads
            )
        } else if most == held_bytes {
            "what is kept of the input while its rows are put together or into order".to_owned()
        } else if most == table_bytes {
            format!("a batch of {TABLE_BATCH_ROWS} rows of obs or the whole of var")
        } else {
            format!(
                "{} obs, {} vars and {} threads",
                self.n_obs, self.n_vars, self.threads
            )
        }
    }
}

/// How many entries windows may have of several matrices that are written one after the other. `held_within` says what is held while a matrix
/// is written, within a limit.
///
/// # Errors
/// The number of the matrix that needs the largest limit, if that is more than this one.
pub(super) fn windows(
    needs: &[Needs],
    limit_bytes: u64,
    held_within: impl Fn(usize, u64) -> u64,
) -> Result<Vec<usize>, (usize, TooLittle)> {
    let mut windows = Fitted::default();
    for (number, needs) in needs.iter().enumerate() {
        let fitted = needs.window_nnz(limit_bytes, &|limit_bytes| held_within(number, limit_bytes));
        windows.push(number, fitted);
    }
    windows.all()
}

/// What is fitted into memory; or, if not all of it can be, the name of what needs the largest limit.
pub(super) struct Fitted<T, N> {
    fitted: Vec<T>,
    most: Option<(N, TooLittle)>,
}

impl<T, N> Default for Fitted<T, N> {
    fn default() -> Self {
        Self {
            fitted: Vec::new(),
            most: None,
        }
    }
}

impl<T, N> Fitted<T, N> {
    pub(super) fn push(&mut self, name: N, fitted: Result<T, TooLittle>) {
        match fitted {
            Ok(fitted) => self.fitted.push(fitted),
            Err(too_little) => {
                let is_more = |(_, most): &(N, TooLittle)| most.needed_bytes > too_little.needed_bytes;
                if !self.most.as_ref().is_some_and(is_more) {
                    self.most = Some((name, too_little));
                }
            }
        }
    }

    pub(super) fn all(self) -> Result<Vec<T>, (N, TooLittle)> {
        self.most.map_or(Ok(self.fitted), Err)
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
            sort_bytes: 0,
            threads: 2,
        };
        let nothing = |_| 0;
        let TooLittle { needed_bytes, reason } = needs.window_nnz(64 << 20, &nothing).unwrap_err();
        assert!(
            needed_bytes > 64 << 20 && reason.contains("2 threads"),
            "{reason}"
        );
        let less = needs
            .window_nnz(needed_bytes - ROUNDING_BYTES - 1, &nothing)
            .unwrap_err();
        assert_eq!(less, TooLittle { needed_bytes, reason });
        let least = needs.window_nnz(needed_bytes, &nothing).unwrap();
        assert!((MIN_WINDOW_NNZ as usize..1 << 20).contains(&least), "{least}");
        let middle = needs.window_nnz(256 << 20, &nothing).unwrap();
        let windows = (WINDOWS + 1) * middle as u64 * needs.entry_bytes;
        assert!(middle > least && needs.fixed_bytes() + windows <= 256 << 20);
        assert_eq!(needs.window_nnz(1 << 40, &nothing), Ok(MAX_WINDOW_NNZ as usize));
    }

    /// The limit that is asked for suffices, one that is less does not, and every larger one does.
    #[test]
    fn the_limit_that_is_asked_for_suffices() {
        let needs = Needs {
            n_obs: 1000,
            entry_bytes: 8,
            threads: 2,
            ..Needs::default()
        };
        let held: [&dyn Fn(u64) -> u64; 4] = [
            &|limit| limit / 8 * 7,
            &|limit| (limit / 2).min(300 << 20) + (70 << 20),
            // Much within a small limit.
            &|limit| (1u64 << 60) / limit.max(1) + limit / 4,
            &|_| 1 << 50,
        ];
        for (number, held_within) in held.iter().enumerate() {
            for limit in [0, 1_000_000, 1 << 20, 150 << 20] {
                let enough = needs.window_nnz(limit, held_within).unwrap_err().needed_bytes;
                let less = needs.window_nnz(enough - 16 * ROUNDING_BYTES, held_within);
                let asked_again = less.unwrap_err().needed_bytes;
                assert!(
                    asked_again.abs_diff(enough) <= 16 * ROUNDING_BYTES,
                    "{number}: {enough}"
                );
                for more in (0..1000).map(|step| enough + step * (enough / 300)) {
                    assert!(needs.window_nnz(more, held_within).is_ok(), "{number}: {more}");
                }
            }
        }
    }

    #[test]
    fn sorting_comes_before_all_else() {
        let needs = Needs {
            n_obs: 1 << 26,
            entry_bytes: 8,
            ..Needs::default()
        };
        let unsorted = needs.window_nnz(1 << 20, &|_| 0).unwrap_err().needed_bytes;
        let more = needs.in_any_order(256, unsorted + 5);
        let refused = more.window_nnz(unsorted, &|_| 0).unwrap_err();
        assert_eq!(refused.needed_bytes, unsorted + 5 + ROUNDING_BYTES);
        assert!(refused.reason.contains("to sort"), "{}", refused.reason);
        let less = needs.in_any_order(256, unsorted - 5);
        assert!(less.window_nnz(unsorted, &|_| 0).is_ok());
    }

    #[test]
    fn large_blocks_are_named_as_the_reason() {
        let needs = Needs {
            entry_bytes: 8,
            max_block_nnz: 1 << 27,
            threads: 2,
            ..Needs::default()
        };
        let TooLittle { needed_bytes, reason } = needs.window_nnz(1 << 30, &|_| 0).unwrap_err();
        assert!(
            needed_bytes > 5 << 30 && reason.contains("--block-size"),
            "{reason}"
        );
    }
}
