//! The files of a linked store by their numbers, and matrices that name them so.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cellring::writer::{
    LinkedWriter, SourceArray, SourceChunk, SourceInput, SourceLayout, SourceMatrix, SourceRun,
};
use cellring_anndata::{StoredArray, StoredChunk, StoredExtents, StoredRows, StoredRun};

use crate::convert::{ConvertError, SelectedMatrix};

/// The writer, and the numbers of the files that were added to it.
pub(super) struct Files {
    pub(super) writer: LinkedWriter,
    numbers: HashMap<PathBuf, u32>,
    /// The bytes of files that say where values are.
    watched: HashMap<PathBuf, Vec<Range<u64>>>,
}

impl Files {
    /// Those of a store that will be published as `output`, whose files are below `root`: none so far.
    pub(super) fn create(output: &Path, root: &Path, replace: bool) -> Result<Self, ConvertError> {
        Ok(Self {
            writer: LinkedWriter::create(output, root, replace)?,
            numbers: HashMap::new(),
            watched: HashMap::new(),
        })
    }

    /// Has the bytes compared that say where these rows are. They are given before a file is added.
    pub(super) fn watch(&mut self, rows: &StoredRows) {
        let arrays = rows.indices.iter().chain([&rows.data]);
        let of_arrays = arrays.flat_map(|array| &array.watched);
        for watched in of_arrays.chain(&rows.row_starts) {
            let ranges = self.watched.entry(watched.file.clone()).or_default();
            ranges.extend_from_slice(&watched.ranges);
        }
    }

    /// The number of a file, which is added if it has none.
    pub(super) fn number(&mut self, path: &Path) -> Result<u32, ConvertError> {
        if let Some(&number) = self.numbers.get(path) {
            return Ok(number);
        }
        let number = {
            let watched = self.watched.get(path).map_or(&[][..], Vec::as_slice);
            self.writer.add_file(path, watched, self.watched.len())?
        };
        self.numbers.insert(path.to_path_buf(), number);
        Ok(number)
    }

    /// A matrix for the writer, with the rows of each input.
    pub(super) fn matrix(
        &mut self,
        inputs: &[PathBuf],
        first_files: &[Option<u32>],
        selected: &SelectedMatrix,
        stored: Vec<StoredRows>,
        source: serde_json::Value,
    ) -> Result<SourceMatrix, ConvertError> {
        let mut counts = selected.matrix.stored_per_row(0..selected.matrix.n_obs());
        let mut rows = Vec::with_capacity(stored.len());
        assert_eq!(stored.len(), inputs.len(), "the rows of each input");
        for ((input, &first), stored) in inputs.iter().zip(first_files).zip(stored) {
            let own = counts.by_ref().take(stored.n_obs as usize).map(u32::try_from);
            let refused = |reason| ConvertError::NotLinkable {
                file: input.clone(),
                matrix: selected.selection.path(),
                reason,
            };
            let counts = own
                .collect::<Result<Vec<u32>, _>>()
                .map_err(|_| refused("a row has 2^32 entries or more".to_owned()))?;
            let n_vars = stored
                .column_map
                .as_ref()
                .map_or(selected.matrix.n_vars(), |map| map.len() as u64);
            if let Some(row) = counts.iter().position(|&count| u64::from(count) > n_vars) {
                let count = counts[row];
                return Err(refused(format!(
                    "row {row} has {count} values in {n_vars} columns, so that some are of the same column"
                )));
            }
            let indices = stored.indices.map(|array| self.array(array)).transpose()?;
            let data = self.array(stored.data)?;
            for watched in &stored.row_starts {
                self.number(&watched.file)?;
            }
            let file = match first {
                Some(file) => file,
                // It is a file, which its arrays are in.
                None => self.number(input)?,
            };
            rows.push(SourceInput {
                file,
                column_map: stored.column_map,
                indices,
                data,
                counts,
            });
        }
        Ok(SourceMatrix {
            n_vars: selected.matrix.n_vars(),
            value_type: selected.matrix.value_type(),
            inputs: rows,
            checksums: None,
            source,
        })
    }

    fn array(&mut self, stored: StoredArray) -> Result<SourceArray, ConvertError> {
        let mut numbers = Vec::with_capacity(stored.files.len());
        for path in &stored.files {
            numbers.push(self.number(path)?);
        }
        let chunk = |chunk: StoredChunk| SourceChunk {
            offset_bytes: chunk.offset_bytes,
            stored_bytes: chunk.stored_bytes,
            file: numbers[chunk.file as usize],
            filter_mask: chunk.filter_mask,
        };
        let mut fill = [0; 8];
        let width = stored.fill.len().min(8);
        fill[..width].copy_from_slice(&stored.fill[..width]);
        Ok(SourceArray {
            path: stored.path,
            value_type: stored.value_type,
            big_endian: stored.big_endian,
            layout: match stored.extents {
                StoredExtents::Runs(runs) => {
                    let run = |run: StoredRun| SourceRun {
                        first: run.first,
                        offset_bytes: run.offset_bytes,
                        file: numbers[run.file as usize],
                    };
                    SourceLayout::Runs(runs.into_iter().map(run).collect())
                }
                StoredExtents::Chunks { elements, chunks } => SourceLayout::Chunks {
                    elements,
                    chunks: chunks.into_iter().map(chunk).collect(),
                },
                StoredExtents::Tiles {
                    rows,
                    columns,
                    chunks,
                } => SourceLayout::Tiles {
                    rows,
                    columns,
                    chunks: chunks.into_iter().map(chunk).collect(),
                },
            },
            filters: stored
                .filters
                .into_iter()
                .map(|filter| (filter.id, filter.client_data))
                .collect(),
            fill,
        })
    }
}
