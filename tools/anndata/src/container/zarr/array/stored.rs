//! Where the chunks of an array are in files, and which are not there.

use std::path::PathBuf;

use cellring_core::ValueType;

use super::ZarrArray;
use crate::container::limits::MAX_ABSENT_CHUNKS;
use crate::container::zarr::shards::Shards;
use crate::container::zarr::storage::Located;
use crate::container::{Fault, StoredArray, StoredChunk, StoredExtents, Watched};

/// The most files that chunks are located in: whoever reads them there keeps them open.
const MAX_LOCATED_FILES: u64 = 1 << 16;

impl ZarrArray {
    /// Chunks of a file, down and across.
    fn per_file(&self) -> [u64; 2] {
        self.shards.as_ref().map_or([1, 1], Shards::per_shard)
    }

    /// Chunks down and across, and files down and across.
    fn grid(&self) -> [u64; 4] {
        let (down, across) = (
            self.n_rows.div_ceil(self.chunk_rows),
            self.n_columns.div_ceil(self.chunk_columns),
        );
        let per_file = self.per_file();
        [
            down,
            across,
            down.div_ceil(per_file[0]),
            across.div_ceil(per_file[1]),
        ]
    }

    /// Where each chunk is, row of them after row, and in which files; those that say what the array is are among them.
    fn locate(&self) -> Result<(Vec<PathBuf>, Vec<StoredChunk>), Fault> {
        let per_file = self.per_file();
        let [down, across, files_down, files_across] = self.grid();
        let n_files = files_down.saturating_mul(files_across);
        if n_files > MAX_LOCATED_FILES {
            return Err(Fault::from(format!(
                "it is stored in {n_files} files, expected at most {MAX_LOCATED_FILES}"
            )));
        }
        let mut files = self.storage.documents(&self.path)?;
        // What is claimed takes memory only as far as files are there.
        let n_chunks = down.saturating_mul(across);
        let mut chunks: Vec<StoredChunk> = Vec::new();
        let mut n_absent = 0u64;
        for number in 0..n_files {
            let at = [number / files_across, number % files_across];
            let key = self.keys.of(&at[..self.n_dimensions]);
            let Some(located) = self.storage.locate(&key)? else {
                if self.storage.may_grow() {
                    return Err(Fault::from(format!(
                        "{key} is not there, and if it were written later, that would not be noticed"
                    )));
                }
                n_absent = n_absent.saturating_add(per_file[0].saturating_mul(per_file[1]));
                if n_absent > MAX_ABSENT_CHUNKS {
                    return Err(Fault::from(format!(
                        "{n_absent} of its chunks were never written"
                    )));
                }
                continue;
            };
            // All of a zip file is in one; in a directory each is another.
            if files.last() != Some(&located.path) {
                files.push(located.path.clone());
            }
            let file = files.len() as u32 - 1;
            let places = match &self.shards {
                None => vec![Some((0, located.n_bytes))],
                Some(shards) => shards.places(&located, &key)?,
            };
            for (within, place) in (0u64..).zip(places) {
                let row = at[0] * per_file[0] + within / per_file[1];
                let column = at[1] * per_file[1] + within % per_file[1];
                if let (Some((offset, n_bytes)), true) = (place, row < down && column < across) {
                    let number = (row * across + column) as usize;
                    if chunks.len() <= number {
                        chunks.resize(number + 1, StoredChunk::default());
                    }
                    chunks[number] = self.chunk_at(&located, &key, file, offset, n_bytes)?;
                }
            }
        }
        // Of the last ones a shard may say that they are not there.
        if n_chunks > (chunks.len() as u64).saturating_add(MAX_ABSENT_CHUNKS) {
            return Err(Fault::from(format!(
                "{} of its {n_chunks} chunks were written",
                chunks.len()
            )));
        }
        chunks.resize(n_chunks as usize, StoredChunk::default());
        Ok((files, chunks))
    }

    /// A chunk of so many bytes, so far into what was located.
    fn chunk_at(
        &self,
        located: &Located,
        key: &str,
        file: u32,
        offset: u64,
        n_bytes: u64,
    ) -> Result<StoredChunk, Fault> {
        let ends_within = offset
            .checked_add(n_bytes)
            .is_some_and(|end| end <= located.n_bytes);
        let stored_bytes = u32::try_from(n_bytes).unwrap_or(0);
        if !ends_within || stored_bytes == 0 || n_bytes > self.most_stored_bytes {
            return Err(format!(
                "{key}: a chunk of {n_bytes} bytes at byte {offset} of {}",
                located.n_bytes
            )
            .into());
        }
        Ok(StoredChunk {
            offset_bytes: located.offset_bytes + offset,
            stored_bytes,
            file,
            filter_mask: 0,
        })
    }

    /// Where its elements, of this type, are.
    ///
    /// # Errors
    /// In one clause, why they cannot be read there.
    pub(super) fn stored_array(&self, value_type: ValueType) -> Result<StoredArray, String> {
        let about = |why: String| format!("{}: {why}", self.path);
        let coding = self.chain.coding(self.n_dimensions).map_err(about)?;
        if self.n_dimensions == 0 {
            return Err(about("it is a single number".to_owned()));
        }
        let (files, chunks) = self.locate().map_err(|fault| about(fault.detail()))?;
        let (rows, columns) = (self.chunk_rows, self.chunk_columns);
        let chunk_bytes = rows * columns * self.width_bytes as u64;
        if !self.chain.shuffles_evenly(chunk_bytes) {
            return Err(about(
                "its chunks are shuffled by a width that does not divide them".to_owned(),
            ));
        }
        let is_cut = |chunk: &StoredChunk| ![0, chunk_bytes].contains(&chunk.stored_bytes.into());
        if coding.filters.is_empty() && chunks.iter().any(is_cut) {
            return Err(about(format!("a chunk does not have its {chunk_bytes} bytes")));
        }
        Ok(StoredArray {
            path: self.path.clone(),
            files,
            value_type,
            big_endian: coding.big_endian,
            extents: match self.n_dimensions {
                1 => StoredExtents::of_chunks(rows, chunk_bytes, chunks, !coding.filters.is_empty()),
                _ => StoredExtents::Tiles {
                    rows,
                    columns,
                    chunks,
                },
            },
            filters: coding.filters,
            fill: self.fill.clone(),
            watched: self.saying_bytes(false),
        })
    }

    /// Chunks that are not there, and how many there should be. Of shards that are deflated within a zip file, the chunks are not looked for.
    pub(super) fn count_absent(&self) -> (u64, u64) {
        let [down, across, files_down, files_across] = self.grid();
        let per_file = self.per_file();
        let (mut n_absent, mut n_absent_files) = (0, 0);
        for number in 0..files_down.saturating_mul(files_across) {
            let at = [number / files_across, number % files_across];
            let (row, column) = (at[0] * per_file[0], at[1] * per_file[1]);
            let (rows, columns) = (per_file[0].min(down - row), per_file[1].min(across - column));
            let key = self.keys.of(&at[..self.n_dimensions]);
            match (self.storage.locate(&key), &self.shards) {
                (Ok(None), _) => {
                    n_absent += rows * columns;
                    n_absent_files += 1;
                }
                // What cannot be read is an error where it is read.
                (Ok(Some(located)), Some(shards)) => {
                    let places = shards.places(&located, &key).unwrap_or_default();
                    let is_absent = |(within, place): &(u64, Option<_>)| {
                        place.is_none() && within / per_file[1] < rows && within % per_file[1] < columns
                    };
                    n_absent += (0..).zip(places).filter(is_absent).count() as u64;
                }
                _ => {}
            }
            if n_absent_files == MAX_ABSENT_CHUNKS {
                break;
            }
        }
        (n_absent, down.saturating_mul(across))
    }

    /// The bytes that say where its chunks are, and those of the chunks too if it is `whole`.
    pub(super) fn saying_bytes(&self, whole: bool) -> Vec<Watched> {
        let mut watched = self.storage.watched(&self.path);
        if self.shards.is_none() && !whole {
            return watched;
        }
        let [_, _, files_down, files_across] = self.grid();
        let n_files = files_down.saturating_mul(files_across).min(MAX_LOCATED_FILES);
        for number in 0..n_files {
            let at = [number / files_across, number % files_across];
            let key = self.keys.of(&at[..self.n_dimensions]);
            let Ok(Some(located)) = self.storage.locate(&key) else {
                continue;
            };
            let range = match (&self.shards, whole) {
                (Some(shards), false) => shards.index_of(&located),
                _ => Some(located.offset_bytes..located.offset_bytes + located.n_bytes),
            };
            watched.push(Watched {
                file: located.path,
                ranges: range.into_iter().collect(),
            });
        }
        watched
    }
}
