//! [`Container`] on the crate `hdf5-reader`.

mod datatype;
mod link;
mod metered;
mod placement;

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};

use cellring_core::caught::caught;
use cellring_filters::Filter;
use hdf5_reader::error::Error;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::{Hdf5File, OpenOptions, RawAttribute, Storage};

use super::{Attribute, Container, Description, Fault, Kind};
use datatype::element_of;
use metered::{Metered, metered, noted};

/// Object headers of AnnData files are a few KiB; column-order of a very wide table may reach megabytes.
const MAX_OBJECT_HEADER_BYTES: usize = 16 << 20;

/// The longest text of an attribute: the names of the columns of a very wide table may reach megabytes.
const MAX_ATTRIBUTE_TEXT_BYTES: usize = 256 << 20;

/// About the length of the header of a dataset, which may have been read before.
const HEADER_BYTES: u64 = 512;

/// An HDF5 file as `hdf5-reader` sees it.
pub(super) struct Reader {
    file: Hdf5File,
    len_bytes: u64,
    /// The attributes of the object that was last asked for one: several are wanted of each.
    attributes: Mutex<Option<(String, Arc<Vec<RawAttribute>>)>>,
}

/// What a superblock says of writers.
const OPEN_FOR_WRITING: u32 = 1;
/// The first version of superblocks that says it.
const TELLS_OF_WRITERS: u8 = 3;

/// What went wrong on opening.
pub(super) enum OpenError {
    NotHdf5,
    Io(std::io::Error),
    Other(Fault),
}

impl Reader {
    /// Opens a regular file.
    pub(super) fn open(file: File) -> Result<Self, OpenError> {
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_object_header_bytes(MAX_OBJECT_HEADER_BYTES);
        let storage = Metered::new(file).map_err(|error| OpenError::Other(fault_of(&error)))?;
        let len_bytes = storage.len();
        let open = || Hdf5File::from_storage_with_options(Arc::new(storage), options);
        let opened = caught(|| metered(len_bytes, open));
        match opened.ok_or_else(|| OpenError::Other(Fault::Damaged(PANICKED.to_owned())))? {
            Ok(file) => Ok(Self {
                file,
                len_bytes,
                attributes: Mutex::default(),
            }),
            Err(Error::InvalidMagic) => Err(OpenError::NotHdf5),
            Err(Error::Io(source)) => Err(OpenError::Io(source)),
            Err(other) => Err(OpenError::Other(fault_of(&other))),
        }
    }

    /// Length the file must have, and the offset every address is relative to.
    pub(super) fn extent(&self) -> (u64, u64) {
        let superblock = self.file.superblock();
        (superblock.eof_address, superblock.base_address)
    }

    /// Whether a writer has the file open, or had it when it was killed.
    pub(super) fn is_open_for_writing(&self) -> bool {
        let superblock = self.file.superblock();
        superblock.version >= TELLS_OF_WRITERS && superblock.consistency_flags & OPEN_FOR_WRITING != 0
    }

    /// The attributes of an object.
    fn attributes(&self, path: &str, kind: Kind) -> Result<Arc<Vec<RawAttribute>>, Error> {
        let last = || self.attributes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = last().as_ref().filter(|(last, _)| last == path) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(match kind {
            Kind::Group => self.file.group(path)?.raw_attributes()?,
            Kind::Dataset => self.open_dataset(path)?.raw_attributes()?,
        });
        *last() = Some((path.to_owned(), Arc::clone(&found)));
        Ok(found)
    }

    /// Runs a call into the parser, which has panicked on damaged files before: such a panic is an error like any other.
    fn guard<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
        match caught(|| metered(self.len_bytes, call)) {
            Some(result) => result.map_err(|error| fault_of(&error)),
            None => Err(PANICKED.to_owned().into()),
        }
    }

    fn open_dataset(&self, path: &str) -> Result<hdf5_reader::Dataset, Error> {
        let (parent, name) = split(path);
        self.file.group(parent)?.dataset(name)
    }
}

impl Container for Reader {
    fn kind(&self, path: &str) -> Result<Option<Kind>, Fault> {
        let found = self.guard(|| {
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
                // Only datasets have layouts; this one is described as what it is.
                Err(error) if is_virtual(&error) => return Ok(Some(Kind::Dataset)),
                Err(other) => return Err(other),
            }
            match parent.dataset(name) {
                Ok(_) => Ok(Some(Kind::Dataset)),
                Err(Error::DatasetNotFound(_)) => Ok(None),
                Err(other) => Err(other),
            }
        })?;
        match found {
            Some(kind) => Ok(Some(kind)),
            None => match self.guard(|| self.lost(path))? {
                Some(fault) => Err(fault),
                None => Ok(None),
            },
        }
    }

    fn members(&self, group: &str) -> Result<Vec<String>, Fault> {
        self.guard(|| {
            let group = self.file.group(group)?;
            match group.member_names() {
                Ok((mut groups, datasets)) => {
                    groups.extend(datasets);
                    Ok(groups)
                }
                // One of them cannot be read; their names can.
                Err(_) => Ok(self.links(&group)?.into_iter().map(|(name, _)| name).collect()),
            }
        })
    }

    fn links_elsewhere(&self, group: &str) -> Result<Vec<String>, Fault> {
        self.guard(|| {
            let group = self.file.group(group)?;
            let Ok((groups, datasets)) = group.member_names() else {
                // Then all links are among the members.
                return Ok(Vec::new());
            };
            let found: HashSet<String> = groups.into_iter().chain(datasets).collect();
            let names = self.links(&group)?.into_iter().map(|(name, _)| name);
            Ok(names.filter(|name| !found.contains(name)).collect())
        })
    }

    fn attribute(&self, path: &str, kind: Kind, name: &str) -> Result<Option<Attribute>, Fault> {
        let attributes = self.guard(|| self.attributes(path, kind))?;
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name() == name) else {
            return Ok(None);
        };
        let message = attribute.message();
        let n = self.guard(|| Ok(message.dataspace.num_elements()?))?;
        let n = usize::try_from(n).map_err(|_| format!("it has {n} elements"))?;
        let element = element_of(attribute.raw_datatype())?;
        // Many references may lead to one long text.
        let n_bytes = Cell::new(0);
        Attribute::decode(&element, n, &message.raw_data, |reference| {
            let text = self.resolve(reference)?;
            n_bytes.set(n_bytes.get() + text.len());
            match n_bytes.get() > MAX_ATTRIBUTE_TEXT_BYTES {
                true => Err(format!("its texts have more than {MAX_ATTRIBUTE_TEXT_BYTES} bytes").into()),
                false => Ok(text),
            }
        })
        .map(Some)
    }

    fn describe(&self, dataset: &str) -> Result<Description, Fault> {
        let element = {
            let message = self.guard(|| self.open_dataset(dataset)?.raw_datatype())?;
            element_of(&message)?
        };
        let mut is_elsewhere = false;
        let (description, read) = noted(|| {
            self.guard(|| {
                let dataset = self.open_dataset(dataset)?;
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
                        HdfMessage::ExternalFiles(_) => is_elsewhere = true,
                        _ => {}
                    }
                }
                let layout = layout.ok_or_else(|| Error::InvalidData("it has no data layout".to_owned()))?;
                let placement =
                    self.placement(&dataset, layout, element.stored_bytes(), !filters.is_empty())?;
                let header_at = dataset.address().saturating_add(self.extent().1);
                let fill = dataset.fill_value().and_then(|fill| fill.value.clone());
                Ok(Description {
                    shape: dataset.shape().to_vec(),
                    element: element.clone(),
                    placement,
                    filters,
                    fill,
                    said_by: iter::once(header_at..header_at.saturating_add(HEADER_BYTES)).collect(),
                })
            })
        });
        let mut description = description?;
        description.said_by.extend(read);
        match is_elsewhere {
            true => Err(Fault::Unsupported {
                detail: "its data lie in other files (HDF5 external storage), which are not read".to_owned(),
                remedy: "open it with anndata beside those files and write it again".to_owned(),
            }),
            false => Ok(description),
        }
    }

    fn resolve(&self, reference: &[u8]) -> Result<Vec<u8>, Fault> {
        let resolve = |reference: &[u8]| {
            self.guard(|| self.file.root_group()?.resolve_vlen_reference_bytes(reference, 1))
        };
        let found = resolve(reference)?;
        let Some(n_bytes) = stated_length(reference) else {
            // It is to no object, which the parser takes for an empty string, whatever length it states.
            return Ok(found);
        };
        if found.len() as u64 != u64::from(n_bytes) {
            return Err(format!("a string of {n_bytes} bytes has {} in its heap", found.len()).into());
        }
        // The parser takes the beginning of a longer object for the string, which HDF5 refuses: one that has a byte more is longer.
        let mut longer = reference.to_vec();
        if let Some(length) = longer.first_chunk_mut::<4>() {
            *length = n_bytes.saturating_add(1).to_le_bytes();
        }
        match resolve(&longer).is_ok_and(|longer| longer.len() > found.len()) {
            true => Err(format!("a string of {n_bytes} bytes has more in its heap").into()),
            false => Ok(found),
        }
    }
}

/// The length that a reference to a string states; `None` if it is to no object: its heap has the address 0, or none and it states no bytes. A
/// reference is the length, the address of the heap, of 4 or 8 bytes, and the number of the object in it (HDF5 File Format, IV.A.2.d).
fn stated_length(reference: &[u8]) -> Option<u32> {
    let (length, rest) = reference.split_first_chunk::<4>()?;
    let (address, _) = rest.split_last_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let is = |value: u8| address.iter().all(|&byte| byte == value);
    let is_null = is(0) || (is(0xff) && length == 0);
    (!is_null).then_some(length)
}

const PANICKED: &str = "the HDF5 parser failed on it";

/// The class of the layout of a virtual dataset.
const VIRTUAL: u8 = 3;

/// How the parser says that an attribute refers to its datatype elsewhere.
const SHARED_IN_ATTRIBUTE: &str = "shared datatype/dataspace in attribute";

fn is_virtual(error: &Error) -> bool {
    match error {
        Error::Context { source, .. } => is_virtual(source),
        error => matches!(error, Error::UnsupportedLayoutClass(VIRTUAL)),
    }
}

/// Whether a sound file may have made the parser fail.
fn is_unsupported(error: &Error) -> bool {
    match error {
        Error::Context { source, .. } => is_unsupported(source),
        Error::ResourceLimit(_) => true,
        // Its variants of this kind are many, and are all called so.
        error => format!("{error:?}").starts_with("Unsupported"),
    }
}

fn fault_of(error: &Error) -> Fault {
    if is_virtual(error) {
        return Fault::Unsupported {
            detail: "it is an HDF5 virtual dataset, whose data lie in other files".to_owned(),
            remedy: "convert those files instead (convert A B ...), or open it with anndata beside them and write it again"
                .to_owned(),
        };
    }
    let detail = error.to_string();
    if detail.contains(SHARED_IN_ATTRIBUTE) {
        return Fault::Unsupported {
            detail: "an attribute there or below has a committed or shared HDF5 datatype (shared object header messages), which is not read"
                .to_owned(),
            remedy: "open it with anndata and write it again".to_owned(),
        };
    }
    match is_unsupported(error) {
        true => Fault::Unsupported {
            detail,
            remedy: "open it with anndata and write it again if it opens there; if not, it is damaged"
                .to_owned(),
        },
        false => Fault::Damaged(detail),
    }
}

/// Parent group and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_references_state_no_length() {
        let length = |length: u32, address: u64| {
            let parts = [&length.to_le_bytes()[..], &address.to_le_bytes(), &[0; 4]];
            stated_length(&parts.concat())
        };
        assert_eq!((length(5, 0x800), length(0, 0x800)), (Some(5), Some(0)));
        assert_eq!((length(5, 0), length(0, u64::MAX)), (None, None));
        assert_eq!(length(5, u64::MAX), Some(5), "libhdf5 refuses it");
        assert_eq!(stated_length(&[1; 7]), None);
    }
}
