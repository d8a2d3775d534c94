//! Links that lead out of their file, or nowhere. The parser passes over them; they are looked for where an object is not found,
//! to tell why.

use hdf5_reader::btree_v1;
use hdf5_reader::btree_v2::{self, BTreeV2Header, BTreeV2Record};
use hdf5_reader::error::Error;
use hdf5_reader::fractal_heap::{FractalHeap, FractalHeapDirectBlockCache};
use hdf5_reader::group::Group;
use hdf5_reader::io::Cursor;
use hdf5_reader::local_heap::LocalHeap;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::link::{self, LinkTarget};
use hdf5_reader::messages::link_info::LinkInfoMessage;
use hdf5_reader::messages::symbol_table_msg::SymbolTableMessage;
use hdf5_reader::symbol_table::SymbolTableNode;

use super::Reader;
use crate::container::Fault;

/// The most soft links that are followed one after the other, as in HDF5.
const MAX_LINKS: usize = 16;

/// Entries of a symbol table that are soft links.
const SOFT: u32 = 2;

impl Reader {
    /// Why there is no object at a path: the first link on it that leads out of the file, or to nothing.
    pub(super) fn lost(&self, path: &str) -> Result<Option<Fault>, Error> {
        self.lost_after(path, MAX_LINKS)
    }

    fn lost_after(&self, path: &str, n_left: usize) -> Result<Option<Fault>, Error> {
        let mut parent = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let group = match self.file.group(&parent) {
                Err(Error::GroupNotFound(_)) => return Ok(None),
                other => other?,
            };
            let links = self.links(&group)?;
            let Some((_, target)) = links.into_iter().find(|(found, _)| found == name) else {
                return Ok(None);
            };
            let here = match parent.is_empty() {
                true => name.to_owned(),
                false => format!("{parent}/{name}"),
            };
            match target {
                LinkTarget::Hard { .. } => {}
                LinkTarget::External { filename, path } => {
                    return Ok(Some(Fault::Unsupported {
                        detail: format!("{here} is an HDF5 external link to {path} in {filename}, which is not followed"),
                        remedy: "convert that file instead, or open this one with anndata beside it and write it again"
                            .to_owned(),
                    }));
                }
                LinkTarget::Soft { path } => {
                    if !self.is_there(&group, name)? {
                        let target = match path.strip_prefix('/') {
                            Some(absolute) => absolute.to_owned(),
                            None => format!("{parent}/{path}"),
                        };
                        let further = match n_left.checked_sub(1) {
                            Some(n_left) => self.lost_after(&target, n_left)?,
                            None => None,
                        };
                        return Ok(Some(further.unwrap_or_else(|| Fault::Unsupported {
                            detail: format!("{here} is an HDF5 soft link to {path}, which does not exist"),
                            remedy:
                                "remove the link with h5py, or write the file again at its source".to_owned(),
                        })));
                    }
                }
            }
            parent = here;
        }
        Ok(None)
    }

    fn is_there(&self, group: &Group, name: &str) -> Result<bool, Error> {
        match group.group(name) {
            Ok(_) => return Ok(true),
            Err(Error::GroupNotFound(_)) => {}
            Err(other) => return Err(other),
        }
        match group.dataset(name) {
            Ok(_) => Ok(true),
            Err(Error::DatasetNotFound(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The links of a group, wherever they lead.
    pub(super) fn links(&self, group: &Group) -> Result<Vec<(String, LinkTarget)>, Error> {
        let header = self.file.get_or_parse_header(group.address())?;
        let mut links = Vec::new();
        for message in &header.messages {
            match message {
                HdfMessage::Link(link) => links.push((link.name.clone(), link.target.clone())),
                HdfMessage::LinkInfo(info)
                    if !Cursor::is_undefined_offset(info.fractal_heap_address, group.offset_size()) =>
                {
                    links.extend(dense_links(group, info)?);
                }
                HdfMessage::SymbolTable(table) => links.extend(old_links(group, table)?),
                _ => {}
            }
        }
        Ok(links)
    }
}

/// The links of a group that keeps them in a heap.
fn dense_links(group: &Group, info: &LinkInfoMessage) -> Result<Vec<(String, LinkTarget)>, Error> {
    let (storage, offset_size, length_size) = (group.storage(), group.offset_size(), group.length_size());
    let heap = FractalHeap::parse_at_storage(storage, info.fractal_heap_address, offset_size, length_size)?;
    let index =
        BTreeV2Header::parse_at_storage(storage, info.btree_name_index_address, offset_size, length_size)?;
    let records = btree_v2::collect_btree_v2_records_storage(
        storage,
        &index,
        offset_size,
        length_size,
        None,
        &[],
        None,
    )?;
    let mut cache = FractalHeapDirectBlockCache::default();
    let mut links = Vec::with_capacity(records.len());
    for record in &records {
        let BTreeV2Record::LinkNameHash { heap_id, .. } = record else {
            continue;
        };
        let message =
            heap.get_object_storage_cached(heap_id, storage, offset_size, length_size, &mut cache)?;
        let link = link::parse(
            &mut Cursor::new(&message),
            offset_size,
            length_size,
            message.len(),
        )?;
        links.push((link.name, link.target));
    }
    Ok(links)
}

/// The links of a group of the first version, which has hard and soft ones only.
fn old_links(group: &Group, table: &SymbolTableMessage) -> Result<Vec<(String, LinkTarget)>, Error> {
    let (storage, offset_size, length_size) = (group.storage(), group.offset_size(), group.length_size());
    let heap = LocalHeap::parse_at_storage(storage, table.heap_address, offset_size, length_size)?;
    let leaves = btree_v1::collect_btree_v1_leaves_storage(
        storage,
        table.btree_address,
        offset_size,
        length_size,
        None,
        &[],
        None,
    )?;
    /// Signature, version and number of entries.
    const NODE_BYTES: usize = 8;
    let entry_bytes = 2 * usize::from(offset_size) + 24;
    let mut links = Vec::new();
    for (_, address) in leaves {
        let header = storage.read_range(address, NODE_BYTES)?;
        let n_entries = header
            .as_ref()
            .get(6..)
            .and_then(|rest| rest.first_chunk::<2>())
            .map_or(0, |count| usize::from(u16::from_le_bytes(*count)));
        let node = storage.read_range(address, NODE_BYTES + n_entries * entry_bytes)?;
        let node = SymbolTableNode::parse(&mut Cursor::new(node.as_ref()), offset_size, length_size)?;
        for entry in node.entries {
            let name = heap.get_string_storage(entry.link_name_offset, storage)?;
            let target = if entry.cache_type == SOFT {
                let [a, b, c, d, ..] = entry.scratch;
                let at = u32::from_le_bytes([a, b, c, d]);
                LinkTarget::Soft {
                    path: heap.get_string_storage(at.into(), storage)?,
                }
            } else {
                LinkTarget::Hard {
                    address: entry.object_header_address,
                }
            };
            links.push((name, target));
        }
    }
    Ok(links)
}
