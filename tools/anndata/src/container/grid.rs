//! Bands of rows of two-dimensional datasets, decoded in parallel.

use std::ops::Range;
use std::sync::Arc;

use cellring_filters::{Filter, Pipeline};
use rayon::prelude::*;

use super::array::pipeline_of;
use super::limits::{MAX_ABSENT_CHUNKS, MAX_CHUNK_BYTES, MAX_EXPANSION, too_large_chunks};
use super::{
    AbsentChunks, ElementType, Placement, SourceFile, StoredArray, StoredChunk, StoredExtents, StoredRun,
    Tile, Watched, stored_value_type,
};
use crate::error::Result;

/// Bytes of a contiguous dataset that one worker reads at a time.
const EXTENT_PIECE_BYTES: usize = 1 << 20;

/// A two-dimensional dataset that can be read in bands of rows.
#[derive(Debug)]
pub(crate) struct Grid {
    file: Arc<SourceFile>,
    path: String,
    n_rows: u64,
    n_columns: u64,
    element: ElementType,
    placement: Placement,
    filters: Vec<Filter>,
    pipeline: Pipeline,
    fill: Vec<u8>,
    said_by: Vec<Range<u64>>,
}

impl Grid {
    /// Opens a dataset that must have two dimensions.
    pub(crate) fn open(file: &Arc<SourceFile>, path: &str) -> Result<Self> {
        let description = file.describe(path)?;
        let damaged = |detail: String| file.damaged(path, detail);
        let &[n_rows, n_columns] = description.shape.as_slice() else {
            return Err(damaged(format!(
                "it has {} dimensions, expected 2",
                description.shape.len()
            )));
        };
        let element = description.element;
        let width = element.stored_bytes() as u64;
        let total_bytes = n_rows
            .checked_mul(n_columns)
            .and_then(|n| n.checked_mul(width))
            .filter(|total| width > 0 && total / MAX_EXPANSION <= file.len_bytes());
        let Some(total_bytes) = total_bytes else {
            return Err(damaged(format!(
                "it claims {n_rows} x {n_columns} elements of {width} bytes in a file of {} bytes",
                file.len_bytes()
            )));
        };
        let pipeline = pipeline_of(file, path, &description.filters, element.stored_bytes())?;
        match &description.placement {
            Placement::Inline(bytes) if (bytes.len() as u64) < total_bytes => {
                return Err(damaged(format!(
                    "it has {} bytes, expected {total_bytes}",
                    bytes.len()
                )));
            }
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } if offset
                .checked_add(total_bytes)
                .is_none_or(|end| end > file.len_bytes()) =>
            {
                return Err(damaged(format!(
                    "{total_bytes} bytes at offset {offset} lie beyond the file's {}",
                    file.len_bytes()
                )));
            }
            Placement::Tiled {
                tile_rows,
                tile_columns,
                tiles,
            } => {
                let tile_bytes = tile_rows.saturating_mul(*tile_columns).saturating_mul(width);
                if tile_bytes > MAX_CHUNK_BYTES {
                    return Err(too_large_chunks(file.path(), path, tile_bytes, "64x1024"));
                }
                let is_off = |tile: &&Tile| {
                    !tile.row.is_multiple_of(*tile_rows) || !tile.column.is_multiple_of(*tile_columns)
                };
                if let Some(tile) = tiles.iter().find(is_off) {
                    return Err(damaged(format!(
                        "a chunk begins at row {}, column {}, not a multiple of {tile_rows} x {tile_columns}",
                        tile.row, tile.column
                    )));
                }
            }
            Placement::Chunked { .. } | Placement::Unlocated => {
                return Err(damaged("its chunks do not have two dimensions".to_owned()));
            }
            _ => {}
        }
        let fill = description
            .fill
            .filter(|fill| fill.len() == element.stored_bytes())
            .unwrap_or_else(|| vec![0; element.stored_bytes()]);
        Ok(Self {
            file: Arc::clone(file),
            path: path.to_owned(),
            n_rows,
            n_columns,
            element,
            placement: description.placement,
            filters: description.filters,
            pipeline,
            fill,
            said_by: description.said_by,
        })
    }

    pub(crate) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    pub(crate) fn n_columns(&self) -> u64 {
        self.n_columns
    }

    pub(crate) fn element(&self) -> &ElementType {
        &self.element
    }

    pub(crate) fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// Path of the dataset in its file.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Rows that are decoded together: bands that are multiples of this cost nothing twice.
    pub(crate) fn rows_together(&self) -> u64 {
        match &self.placement {
            Placement::Tiled { tile_rows, .. } => *tile_rows,
            Placement::Foreign(foreign) => foreign.rows_together().max(1),
            _ => 1,
        }
    }

    /// Memory for decoding on so many threads, besides the rows themselves: each holds a tile as it is stored and decoded.
    pub(crate) fn decoding_bytes(&self, threads: usize) -> u64 {
        let (tile_bytes, held_bytes) = match &self.placement {
            Placement::Tiled {
                tile_rows,
                tile_columns,
                ..
            } => {
                let width = self.element.stored_bytes() as u64;
                (tile_rows.saturating_mul(*tile_columns).saturating_mul(width), 0)
            }
            Placement::Foreign(foreign) => (foreign.chunk_bytes(), foreign.held_bytes()),
            _ => (0, 0),
        };
        2 * threads as u64 * tile_bytes + held_bytes
    }

    /// Where its elements are, row after row, for those who read them there themselves.
    ///
    /// # Errors
    /// In one clause, why they cannot be read there.
    pub(crate) fn stored(&self) -> std::result::Result<StoredArray, String> {
        let value_type = stored_value_type(&self.element, self.element.stored_bytes(), &self.path)?;
        let extents = match &self.placement {
            Placement::Foreign(foreign) => return foreign.stored(value_type),
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } => StoredExtents::Runs(vec![StoredRun {
                first: 0,
                offset_bytes: *offset,
                file: 0,
            }]),
            Placement::Tiled {
                tile_rows,
                tile_columns,
                tiles,
            } => self.stored_tiles(*tile_rows, *tile_columns, tiles)?,
            _ if self.n_rows == 0 || self.n_columns == 0 => StoredExtents::Runs(Vec::new()),
            Placement::Inline(_) => return Err(format!("{} is within the headers of the file", self.path)),
            _ => return Err(format!("{} was never written", self.path)),
        };
        Ok(StoredArray {
            path: self.path.clone(),
            files: vec![self.file.file_path().to_owned()],
            value_type,
            big_endian: self.element.big_endian,
            filters: match &extents {
                StoredExtents::Runs(_) => Vec::new(),
                _ => self.filters.clone(),
            },
            extents,
            fill: self.fill.clone(),
            watched: vec![Watched {
                file: self.file.file_path().to_owned(),
                ranges: self.said_by.clone(),
            }],
        })
    }

    fn stored_tiles(
        &self,
        rows: u64,
        columns: u64,
        tiles: &[Tile],
    ) -> std::result::Result<StoredExtents, String> {
        let across = self.n_columns.div_ceil(columns);
        let n_tiles = across * self.n_rows.div_ceil(rows);
        if n_tiles > tiles.len() as u64 + MAX_ABSENT_CHUNKS {
            return Err(format!(
                "{} of the {n_tiles} chunks of {} were written",
                tiles.len(),
                self.path
            ));
        }
        let mut chunks = vec![StoredChunk::default(); n_tiles as usize];
        for tile in tiles {
            let stored_bytes = match self.pipeline.is_plain(tile.filter_mask) {
                true => rows * columns * self.element.stored_bytes() as u64,
                false => tile.stored_bytes,
            };
            let is_within = tile
                .offset_bytes
                .checked_add(stored_bytes)
                .is_some_and(|end| end <= self.file.len_bytes());
            let place = chunks.get_mut((tile.row / rows * across + tile.column / columns) as usize);
            let length = u32::try_from(stored_bytes).ok().filter(|&length| length > 0);
            let (Some(place), Some(stored_bytes), true) = (place, length, is_within) else {
                return Err(format!(
                    "the chunk of {} of row {}, column {} has {stored_bytes} bytes at offset {}, which is damaged",
                    self.path, tile.row, tile.column, tile.offset_bytes
                ));
            };
            *place = StoredChunk {
                offset_bytes: tile.offset_bytes,
                stored_bytes,
                file: 0,
                filter_mask: tile.filter_mask,
            };
        }
        Ok(StoredExtents::Tiles {
            rows,
            columns,
            chunks,
        })
    }

    /// The chunks that are not there.
    pub(crate) fn absent_chunks(&self) -> Option<AbsentChunks> {
        let counts = match &self.placement {
            Placement::Contiguous { offset_bytes: None } if self.n_rows * self.n_columns > 0 => (1, 1),
            Placement::Tiled {
                tile_rows,
                tile_columns,
                tiles,
            } => {
                let n_tiles = self.n_rows.div_ceil(*tile_rows) * self.n_columns.div_ceil(*tile_columns);
                // Others may be left over from a larger extent.
                let is_within = |tile: &&Tile| tile.row < self.n_rows && tile.column < self.n_columns;
                let n_there = tiles.iter().filter(is_within).count() as u64;
                (n_tiles.saturating_sub(n_there), n_tiles)
            }
            Placement::Foreign(foreign) => foreign.absent_chunks(),
            _ => (0, 0),
        };
        AbsentChunks::of(&self.file, &self.path, counts)
    }

    /// Reads rows `rows`, row after row, into `place`, which has room for exactly those.
    pub(crate) fn read(&self, rows: Range<u64>, place: &mut [u8]) -> Result<()> {
        let Some(translation) = &self.element.translation else {
            return self.read_stored(rows, place);
        };
        let n_elements = place.len() / self.element.size_bytes;
        let mut stored = vec![0; n_elements * translation.stored_bytes()];
        let first = rows.start;
        self.read_stored(rows, &mut stored)?;
        translation.apply(&stored, place).map_err(|(position, detail)| {
            let row = first + position as u64 / self.n_columns;
            self.file.damaged(&self.path, format!("row {row}: {detail}"))
        })
    }

    /// The same, as they lie in the file.
    fn read_stored(&self, rows: Range<u64>, place: &mut [u8]) -> Result<()> {
        let row_bytes = self.n_columns as usize * self.element.stored_bytes();
        assert!(
            rows.start <= rows.end && rows.end <= self.n_rows,
            "band {rows:?} of {} rows",
            self.n_rows
        );
        let n_rows = (rows.end - rows.start) as usize;
        assert_eq!(place.len(), n_rows * row_bytes, "place of the band");
        if place.is_empty() {
            return Ok(());
        }
        match &self.placement {
            Placement::Inline(bytes) => {
                let start = rows.start as usize * row_bytes;
                place.copy_from_slice(&bytes[start..start + place.len()]);
                Ok(())
            }
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } => {
                let start = offset + rows.start * row_bytes as u64;
                place
                    .par_chunks_mut(EXTENT_PIECE_BYTES)
                    .enumerate()
                    .try_for_each(|(piece, place)| {
                        let at = start + (piece * EXTENT_PIECE_BYTES) as u64;
                        self.file.read_exact_at(&self.path, place, at)
                    })
            }
            Placement::Tiled {
                tile_rows,
                tile_columns,
                tiles,
            } => {
                // Each row of tiles fills rows of its own.
                let mut bands = Vec::new();
                let mut rest = place;
                let mut start = rows.start;
                while start < rows.end {
                    let end = (start / tile_rows + 1).saturating_mul(*tile_rows).min(rows.end);
                    let (band, after) =
                        std::mem::take(&mut rest).split_at_mut((end - start) as usize * row_bytes);
                    rest = after;
                    bands.push((start..end, band));
                    start = end;
                }
                bands.into_par_iter().try_for_each(|(rows, band)| {
                    self.read_tiles(rows, band, (*tile_rows, *tile_columns), tiles)
                })
            }
            Placement::Foreign(foreign) => foreign.read(rows.clone(), place).map_err(|fault| {
                let at = foreign.place_of(rows.start);
                let fault = fault.about(&format!("row {} ({at})", rows.start));
                self.file.fault(&self.path, fault)
            }),
            Placement::Contiguous { offset_bytes: None }
            | Placement::Chunked { .. }
            | Placement::Unlocated => {
                self.fill(place);
                Ok(())
            }
        }
    }

    fn fill(&self, place: &mut [u8]) {
        for element in place.chunks_exact_mut(self.fill.len()) {
            element.copy_from_slice(&self.fill);
        }
    }

    /// Reads rows that lie in one row of tiles.
    fn read_tiles(&self, rows: Range<u64>, band: &mut [u8], tile: (u64, u64), tiles: &[Tile]) -> Result<()> {
        let (tile_rows, tile_columns) = tile;
        let first_row = rows.start / tile_rows * tile_rows;
        let from = tiles.partition_point(|tile| tile.row < first_row);
        let until = tiles.partition_point(|tile| tile.row <= first_row);
        let here = &tiles[from..until];
        if (here.len() as u64) < self.n_columns.div_ceil(tile_columns) {
            self.fill(band);
        }
        let width = self.element.stored_bytes();
        let row_bytes = self.n_columns as usize * width;
        let tile_row_bytes = tile_columns as usize * width;
        let tile_bytes = tile_rows as usize * tile_row_bytes;
        let skip = (rows.start - first_row) as usize;
        let pieces: Vec<(usize, Vec<u8>)> = here
            .par_iter()
            .map(|tile| Ok((tile.column as usize, self.decode(tile, tile_bytes)?)))
            .collect::<Result<_>>()?;
        for (column, decoded) in pieces {
            let n_bytes = tile_row_bytes.min(row_bytes - column * width);
            for (row, place) in band.chunks_exact_mut(row_bytes).enumerate() {
                let start = (skip + row) * tile_row_bytes;
                place[column * width..column * width + n_bytes]
                    .copy_from_slice(&decoded[start..start + n_bytes]);
            }
        }
        Ok(())
    }

    fn decode(&self, tile: &Tile, tile_bytes: usize) -> Result<Vec<u8>> {
        let damaged = |detail: String| {
            let (row, column, at) = (tile.row, tile.column, tile.offset_bytes);
            self.file.damaged(
                &self.path,
                format!("chunk of row {row}, column {column}, at offset {at}: {detail}"),
            )
        };
        let is_plain = self.pipeline.is_plain(tile.filter_mask);
        let stored_bytes = if is_plain {
            tile_bytes as u64
        } else {
            tile.stored_bytes
        };
        let end = tile.offset_bytes.checked_add(stored_bytes);
        if end.is_none_or(|end| end > self.file.len_bytes()) {
            return Err(damaged(format!("its {stored_bytes} bytes lie beyond the file")));
        }
        let mut stored = vec![0; stored_bytes as usize];
        self.file
            .read_exact_at(&self.path, &mut stored, tile.offset_bytes)?;
        if is_plain {
            return Ok(stored);
        }
        let mut decoded = Vec::new();
        self.pipeline
            .decode(&mut stored, tile.filter_mask, &mut decoded, tile_bytes)
            .map_err(damaged)?;
        Ok(decoded)
    }
}
