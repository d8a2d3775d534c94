//! Where the elements of a dataset lie: its layout, and the index of its chunks.

use hdf5_reader::chunk_index::{self, ChunkEntry};
use hdf5_reader::error::Error;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::{btree_v1, extensible_array, fixed_array};

use super::Reader;
use crate::container::{Chunk, Placement, Tile};

impl Reader {
    fn chunk_entries(
        &self,
        dataset: &hdf5_reader::Dataset,
        address: u64,
        dims: &[u32],
        indexing: Option<&ChunkIndexing>,
        element_bytes: usize,
    ) -> Result<Vec<ChunkEntry>, Error> {
        let superblock = self.file.superblock();
        let (offset_size, length_size) = (superblock.offset_size, superblock.length_size);
        let storage = self.file.storage();
        let shape = dataset.shape();
        let rank = dims.len();
        match indexing {
            None => {
                let leaves = btree_v1::collect_btree_v1_leaves_storage(
                    storage,
                    address,
                    offset_size,
                    length_size,
                    Some(rank as u32),
                    dims,
                    None,
                )?;
                leaves
                    .into_iter()
                    .map(|(key, address)| match key {
                        btree_v1::BTreeV1Key::RawData {
                            chunk_size,
                            filter_mask,
                            offsets,
                        } => Ok(ChunkEntry {
                            address,
                            size: u64::from(chunk_size),
                            filter_mask,
                            offsets,
                        }),
                        btree_v1::BTreeV1Key::Group { .. } => {
                            Err(Error::InvalidData("its chunk index holds a group key".to_owned()))
                        }
                    })
                    .collect()
            }
            Some(ChunkIndexing::SingleChunk {
                filtered_size,
                filters,
            }) => Ok(vec![chunk_index::single_chunk_entry(
                address,
                *filtered_size,
                *filters,
                rank,
            )]),
            Some(ChunkIndexing::BTreeV2) => chunk_index::collect_v2_chunk_entries_storage(
                storage,
                address,
                offset_size,
                length_size,
                rank as u32,
                dims,
                None,
            ),
            Some(ChunkIndexing::Implicit) => chunk_index::collect_implicit_chunk_entries(
                address,
                shape,
                dims,
                element_bytes,
                None,
                storage.len(),
            ),
            Some(ChunkIndexing::FixedArray { .. }) => fixed_array::collect_fixed_array_chunk_entries_storage(
                storage,
                address,
                offset_size,
                length_size,
                shape,
                dims,
                None,
            ),
            Some(ChunkIndexing::ExtensibleArray { .. }) => {
                extensible_array::collect_extensible_array_chunk_entries_storage(
                    storage,
                    address,
                    offset_size,
                    length_size,
                    shape,
                    dataset.max_dims(),
                    dims,
                    None,
                )
            }
        }
    }

    pub(super) fn placement(
        &self,
        dataset: &hdf5_reader::Dataset,
        layout: &DataLayout,
        element_bytes: usize,
        is_filtered: bool,
    ) -> Result<Placement, Error> {
        let superblock = self.file.superblock();
        let base = superblock.base_address;
        let is_undefined = |address: u64| match superblock.offset_size {
            8 => address == u64::MAX,
            size => address == (1 << (8 * u32::from(size))) - 1,
        };
        let rank = dataset.shape().len();
        match layout {
            DataLayout::Compact { data } => Ok(Placement::Inline(data.clone())),
            DataLayout::Contiguous { address, .. } => {
                let offset_bytes = if is_undefined(*address) {
                    None
                } else {
                    address.checked_add(base)
                };
                Ok(Placement::Contiguous { offset_bytes })
            }
            DataLayout::Chunked {
                address,
                dims,
                chunk_indexing,
                ..
            } => {
                // Old layouts count the element size as one more dimension.
                if !(1..=2).contains(&rank) || !(rank..=rank + 1).contains(&dims.len()) {
                    return Ok(Placement::Unlocated);
                }
                let dims = &dims[..rank];
                if dims.contains(&0) {
                    return Err(Error::InvalidData("its chunks have no elements".to_owned()));
                }
                let entries = if is_undefined(*address) {
                    Vec::new()
                } else {
                    self.chunk_entries(dataset, *address, dims, chunk_indexing.as_ref(), element_bytes)?
                };
                // Also of chunks that are left over from a larger extent: else a damaged place would be taken for one that was never written.
                let is_off = |entry: &&ChunkEntry| {
                    let mut places = entry.offsets.iter().zip(dims);
                    places.any(|(&place, &length)| place % u64::from(length) != 0 || place >= 1 << 63)
                };
                if let Some(entry) = entries.iter().find(is_off) {
                    return Err(Error::InvalidData(format!(
                        "its index has a chunk at {:?}, which is not a multiple of {dims:?}",
                        &entry.offsets[..rank.min(entry.offsets.len())]
                    )));
                }
                // A chunk that is left over from a larger extent is no harm, but one whose place is damaged is missing elsewhere.
                // (Some indexes have room for chunks that were never written, beyond the shape too.)
                let written = || entries.iter().filter(|entry| !is_undefined(entry.address));
                let is_beyond = |entry: &&ChunkEntry| {
                    let mut places = entry.offsets.iter().zip(dataset.shape());
                    places.any(|(&place, &length)| place >= length)
                };
                let per_dimension = dataset.shape().iter().zip(dims);
                let n_within = per_dimension.fold(1u64, |n, (&length, &of_chunk)| {
                    n.saturating_mul(length.div_ceil(u64::from(of_chunk)))
                });
                if let Some(entry) = written().find(is_beyond)
                    && (written().filter(|entry| !is_beyond(entry)).count() as u64) < n_within
                {
                    return Err(Error::InvalidData(format!(
                        "its index has a chunk at {:?}, beyond its shape {:?}, and lacks one within that",
                        &entry.offsets[..rank.min(entry.offsets.len())],
                        dataset.shape()
                    )));
                }
                // Only the first index tells the length of chunks that no filter changes.
                let chunk_bytes = dims
                    .iter()
                    .try_fold(element_bytes as u64, |n, &length| n.checked_mul(length.into()));
                let is_other = |entry: &&ChunkEntry| Some(entry.size) != chunk_bytes;
                if chunk_indexing.is_none()
                    && !is_filtered
                    && let Some(entry) = entries.iter().find(is_other)
                {
                    return Err(Error::InvalidData(format!(
                        "its index has a chunk at {:?} of {} bytes, expected {}",
                        entry.offsets,
                        entry.size,
                        chunk_bytes.unwrap_or(u64::MAX)
                    )));
                }
                if let (&[tile_rows, tile_columns], &[n_rows, n_columns]) = (dims, dataset.shape()) {
                    let mut tiles = Vec::with_capacity(entries.len());
                    for entry in entries {
                        let (Some(&row), Some(&column)) = (entry.offsets.first(), entry.offsets.get(1))
                        else {
                            return Err(Error::InvalidData("its chunk index has one dimension".to_owned()));
                        };
                        if row < n_rows && column < n_columns && !is_undefined(entry.address) {
                            tiles.push(Tile {
                                row,
                                column,
                                offset_bytes: entry.address.saturating_add(base),
                                stored_bytes: entry.size,
                                filter_mask: entry.filter_mask,
                            });
                        }
                    }
                    tiles.sort_unstable_by_key(|tile| (tile.row, tile.column));
                    return Ok(Placement::Tiled {
                        tile_rows: u64::from(tile_rows),
                        tile_columns: u64::from(tile_columns),
                        tiles,
                    });
                }
                let n_elements = dataset.shape()[0];
                let mut chunks = Vec::with_capacity(entries.len());
                for entry in entries {
                    let first = entry.offsets.first().copied().unwrap_or(u64::MAX);
                    if first >= n_elements || is_undefined(entry.address) {
                        continue; // left over from a larger extent, or never written
                    }
                    chunks.push(Chunk {
                        first,
                        offset_bytes: entry.address.saturating_add(base),
                        stored_bytes: entry.size,
                        filter_mask: entry.filter_mask,
                    });
                }
                chunks.sort_unstable_by_key(|chunk| chunk.first);
                Ok(Placement::Chunked {
                    chunk_elements: u64::from(dims[0]),
                    chunks,
                })
            }
        }
    }
}
