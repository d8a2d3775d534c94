//! [`Container`] on the crate `hdf5-reader`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use hdf5_reader::chunk_index::{self, ChunkEntry};
use hdf5_reader::error::{ByteOrder, Error};
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::{Datatype, Hdf5File, OpenOptions, StringPadding, StringSize, VarLenKind};
use hdf5_reader::{btree_v1, extensible_array, fixed_array};

use super::{
    Attribute, Chunk, Class, Container, Description, Element, Filter, Kind, Member, Padding, Placement, Tile,
};

/// Object headers of AnnData files are a few KiB; column-order of a very wide table may reach megabytes.
const MAX_OBJECT_HEADER_BYTES: usize = 16 << 20;

/// An HDF5 file as `hdf5-reader` sees it.
pub(super) struct Reader {
    file: Hdf5File,
}

/// What went wrong on opening.
pub(super) enum OpenError {
    NotHdf5,
    Io(std::io::Error),
    Other(String),
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_object_header_bytes(MAX_OBJECT_HEADER_BYTES);
        let opened = catch_unwind(AssertUnwindSafe(|| Hdf5File::open_with_options(path, options)))
            .map_err(|_| OpenError::Other(PANICKED.to_owned()))?;
        match opened {
            Ok(file) => Ok(Self { file }),
            Err(Error::InvalidMagic) => Err(OpenError::NotHdf5),
            Err(Error::Io(source)) => Err(OpenError::Io(source)),
            Err(other) => Err(OpenError::Other(other.to_string())),
        }
    }

    /// Length the file must have, and the offset every address is relative to.
    pub(super) fn extent(&self) -> (u64, u64) {
        let superblock = self.file.superblock();
        (superblock.eof_address, superblock.base_address)
    }

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

    fn placement(
        &self,
        dataset: &hdf5_reader::Dataset,
        layout: &DataLayout,
        element_bytes: usize,
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

    fn open_dataset(&self, path: &str) -> Result<hdf5_reader::Dataset, Error> {
        let (parent, name) = split(path);
        self.file.group(parent)?.dataset(name)
    }
}

impl Container for Reader {
    fn kind(&self, path: &str) -> Result<Option<Kind>, String> {
        guard(|| {
            if path.is_empty() {
                return Ok(Some(Kind::Group));
            }
            let (parent, name) = split(path);
            let parent = match self.file.group(parent) {
                Err(Error::GroupNotFound(_)) => return Ok(None),
                other => other?,
            };
            match parent.group(name) {
                Ok(_) => return Ok(Some(Kind::Group)),
                Err(Error::GroupNotFound(_)) => {}
                Err(other) => return Err(other),
            }
            match parent.dataset(name) {
                Ok(_) => Ok(Some(Kind::Dataset)),
                Err(Error::DatasetNotFound(_)) => Ok(None),
                Err(other) => Err(other),
            }
        })
    }

    fn members(&self, group: &str) -> Result<Vec<String>, String> {
        guard(|| {
            let (mut groups, datasets) = self.file.group(group)?.member_names()?;
            groups.extend(datasets);
            Ok(groups)
        })
    }

    fn attribute(&self, path: &str, kind: Kind, name: &str) -> Result<Option<Attribute>, String> {
        guard(|| {
            let found = match kind {
                Kind::Group => self.file.group(path)?.attribute(name),
                Kind::Dataset => self.open_dataset(path)?.attribute(name),
            };
            match found {
                Ok(attribute) => Ok(Some(convert_attribute(&attribute)?)),
                Err(Error::AttributeNotFound(_)) => Ok(None),
                Err(other) => Err(other),
            }
        })
    }

    fn describe(&self, dataset: &str) -> Result<Description, String> {
        guard(|| {
            let dataset = self.open_dataset(dataset)?;
            let element = element_of(dataset.dtype(), dataset.raw_element_size()?);
            let header = self.file.get_or_parse_header(dataset.address())?;
            let mut layout = None;
            let mut filters = Vec::new();
            for message in &header.messages {
                match message {
                    HdfMessage::DataLayout(found) => layout = Some(&found.layout),
                    HdfMessage::FilterPipeline(pipeline) => {
                        filters = pipeline
                            .filters
                            .iter()
                            .map(|filter| Filter {
                                id: filter.id,
                                name: filter.name.clone(),
                                client_data: filter.client_data.clone(),
                            })
                            .collect();
                    }
                    HdfMessage::ExternalFiles(_) => {
                        return Err(Error::UnsupportedEncoding(
                            "its data lies in other files".to_owned(),
                        ));
                    }
                    _ => {}
                }
            }
            let layout = layout.ok_or_else(|| Error::InvalidData("it has no data layout".to_owned()))?;
            let placement = self.placement(&dataset, layout, element.size_bytes)?;
            let fill = dataset.fill_value().and_then(|fill| fill.value.clone());
            Ok(Description {
                shape: dataset.shape().to_vec(),
                element,
                placement,
                filters,
                fill,
            })
        })
    }

    fn resolve(&self, reference: &[u8]) -> Result<Vec<u8>, String> {
        guard(|| self.file.root_group()?.resolve_vlen_reference_bytes(reference, 1))
    }
}

const PANICKED: &str = "the HDF5 parser failed on it";

/// Runs a call into the parser, which has panicked on damaged files before: such a panic is an error like any other.
fn guard<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(PANICKED.to_owned()),
    }
}

/// Parent group and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn convert_attribute(attribute: &hdf5_reader::Attribute) -> Result<Attribute, Error> {
    if attribute.num_elements()? == 0 {
        return Ok(Attribute::Empty);
    }
    Ok(match &attribute.datatype {
        Datatype::String { .. }
        | Datatype::VarLen {
            kind: VarLenKind::String,
            ..
        } => Attribute::Text(
            attribute
                .read_strings()
                .or_else(|_| attribute.read_string().map(|text| vec![text]))?,
        ),
        Datatype::FixedPoint {
            size,
            signed,
            byte_order,
        } => Attribute::Int(integers(
            &attribute.raw_data,
            usize::from(*size),
            *signed,
            *byte_order,
        )?),
        Datatype::Enum { .. } => Attribute::Bool(attribute.raw_data.first().is_some_and(|&byte| byte != 0)),
        _ => Attribute::Other,
    })
}

/// Integers of any width up to 8 bytes.
fn integers(bytes: &[u8], size_bytes: usize, signed: bool, order: ByteOrder) -> Result<Vec<i64>, Error> {
    if !(1..=8).contains(&size_bytes) {
        return Err(Error::InvalidData(format!("integers of {size_bytes} bytes")));
    }
    let widen = |element: &[u8]| {
        let mut little = [0u8; 8];
        little[..size_bytes].copy_from_slice(element);
        if order == ByteOrder::BigEndian {
            little[..size_bytes].reverse();
        }
        let unused_bits = 64 - 8 * size_bytes as u32;
        let shifted = u64::from_le_bytes(little) << unused_bits;
        if signed {
            Ok(shifted.cast_signed() >> unused_bits)
        } else {
            i64::try_from(shifted >> unused_bits)
                .map_err(|_| Error::InvalidData("a value exceeds 2^63".to_owned()))
        }
    };
    bytes.chunks_exact(size_bytes).map(widen).collect()
}

fn members_of(fields: &[hdf5_reader::CompoundField]) -> Vec<Member> {
    fields
        .iter()
        .map(|field| Member {
            name: field.name.clone(),
            offset_bytes: field.byte_offset as usize,
            element: element_of(&field.datatype, size_of_datatype(&field.datatype)),
        })
        .collect()
}

/// Bytes of a member of a record; 0 for types that no table has.
fn size_of_datatype(datatype: &Datatype) -> usize {
    /// A length, and the place in the global heap.
    const REFERENCE_BYTES: usize = 16;
    match datatype {
        Datatype::FixedPoint { size, .. } | Datatype::FloatingPoint { size, .. } => usize::from(*size),
        Datatype::String {
            size: StringSize::Fixed(size),
            ..
        } => *size as usize,
        Datatype::String { .. } | Datatype::VarLen { .. } => REFERENCE_BYTES,
        Datatype::Enum { base, .. } => size_of_datatype(base),
        _ => 0,
    }
}

fn element_of(datatype: &Datatype, size_bytes: usize) -> Element {
    let (class, order) = match datatype {
        Datatype::FixedPoint {
            signed, byte_order, ..
        } => (Class::Int { signed: *signed }, Some(*byte_order)),
        Datatype::FloatingPoint { byte_order, .. } => (Class::Float, Some(*byte_order)),
        Datatype::String {
            size: StringSize::Variable,
            ..
        }
        | Datatype::VarLen {
            kind: VarLenKind::String,
            ..
        } => (Class::VarText, None),
        Datatype::String { padding, .. } => {
            let padding = match padding {
                StringPadding::NullTerminate => Padding::NulTerminated,
                StringPadding::NullPad => Padding::Nul,
                StringPadding::SpacePad => Padding::Space,
            };
            (Class::FixedText(padding), None)
        }
        Datatype::Enum { members, .. } => {
            let has = |name: &str| {
                members
                    .iter()
                    .any(|member| member.name.eq_ignore_ascii_case(name))
            };
            let is_bool = size_bytes == 1 && members.len() == 2 && has("FALSE") && has("TRUE");
            (
                if is_bool {
                    Class::Bool
                } else {
                    Class::Other("an enum".to_owned())
                },
                None,
            )
        }
        Datatype::Compound { fields, .. } => (Class::Compound(members_of(fields)), None),
        Datatype::Array { .. } => (Class::Other("arrays".to_owned()), None),
        Datatype::VarLen { .. } => (Class::Other("variable-length sequences".to_owned()), None),
        Datatype::Opaque { .. } => (Class::Other("opaque bytes".to_owned()), None),
        Datatype::Reference { .. } => (Class::Other("references".to_owned()), None),
        Datatype::Bitfield { .. } => (Class::Other("bit fields".to_owned()), None),
    };
    Element {
        class,
        size_bytes,
        big_endian: order == Some(ByteOrder::BigEndian),
    }
}
