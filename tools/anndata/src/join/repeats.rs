//! Names of obs that occur more than once.

use arrow_array::cast::AsArray;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::ReadError;
use crate::table::TableSource;

/// Names of obs that are looked at for repeats; of more only a part is, chosen by their hashes.
const MAX_HASHES: u64 = 4 << 20;

/// Rows of obs that are read at a time while names are looked at.
const NAMES_ROWS: u64 = 1 << 16;

/// Finds out whether names repeat, in bounded memory.
pub(super) struct Repeats {
    hashes: Vec<u64>,
    /// Hashes up to this are kept.
    limit: u64,
}

impl Repeats {
    pub(super) fn new(n_names: u64) -> Self {
        Self {
            hashes: Vec::new(),
            limit: u64::MAX / n_names.div_ceil(MAX_HASHES).max(1),
        }
    }

    pub(super) fn add(&mut self, table: &TableSource) -> std::result::Result<(), ReadError> {
        let names = table.project(&[0]);
        for start in (0..names.n_rows()).step_by(NAMES_ROWS as usize) {
            let batch = names.read(start..names.n_rows().min(start + NAMES_ROWS))?;
            if let Some(names) = batch.column(0).as_string_opt::<i32>() {
                let hashes = names.iter().flatten().map(|name| xxh3_64(name.as_bytes()));
                self.hashes.extend(hashes.filter(|hash| *hash <= self.limit));
            }
        }
        Ok(())
    }

    pub(super) fn any(mut self) -> bool {
        self.hashes.sort_unstable();
        self.hashes.windows(2).any(|pair| pair[0] == pair[1])
    }
}
