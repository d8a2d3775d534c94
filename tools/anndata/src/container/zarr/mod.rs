//! [`Container`] of zarr v2 and v3, in a directory or a zip file.
//!
//! The structure (which nodes there are, their attributes) is read from the metadata documents node by node; consolidated
//! metadata are not needed, but may not contradict them.

mod array;
mod chain;
mod codec;
mod consolidated;
mod element;
mod fill;
mod metadata;
mod pieces;
mod shards;
mod storage;
mod text;
mod zip;

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Attribute, Container, Description, Fault, Kind, Placement};
use array::ZarrArray;
use consolidated::Consolidated;
use metadata::{Metadata, Outline};
use storage::Storage;

/// The most bytes of one metadata document,
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// and its most values: each takes many times its bytes in memory.
const MAX_DOCUMENT_VALUES: usize = 1 << 20;

/// A node's document.
enum Document {
    /// `zarr.json`.
    V3(Value),
    /// `.zarray`, or `None` for a group; the attributes lie in `.zattrs`.
    V2(Option<Value>),
}

/// A zarr hierarchy.
pub(super) struct Zarr {
    storage: Arc<Storage>,
    /// Bytes of all its files.
    len_bytes: u64,
    consolidated: Consolidated,
}

impl Zarr {
    /// Opens a directory, or a zip file, whose files have so many bytes together; `None` where there is no zarr at its root.
    pub(super) fn open(path: &Path, is_zip: bool, len_bytes: u64) -> io::Result<Result<Option<Self>, Fault>> {
        Ok(Storage::open(path, is_zip)?.and_then(|storage| Self::at_root(storage, path, len_bytes)))
    }

    fn at_root(storage: Storage, path: &Path, len_bytes: u64) -> Result<Option<Self>, Fault> {
        let mut zarr = Self {
            storage: Arc::new(storage),
            len_bytes,
            consolidated: Consolidated::default(),
        };
        let (v2, v3) = (zarr.get("", ".zmetadata")?, zarr.get("", "zarr.json")?);
        let is_zip = matches!(*zarr.storage, Storage::Zip(..));
        zarr.consolidated = Consolidated::of(v2, v3, path, is_zip);
        if zarr.document("")?.is_some() {
            return Ok(Some(zarr));
        }
        if let Some(directory) = zarr.storage.only_directory()
            && zarr.document(directory)?.is_some()
        {
            return Err(Fault::Unsupported {
                detail: format!(
                    "all files of the zip file lie in a directory {directory} within it, but the root of zarr must lie at the top"
                ),
                remedy: format!("unpack it with unzip {} and convert {directory}", path.display()),
            });
        }
        Ok(None)
    }

    fn get(&self, path: &str, name: &str) -> Result<Option<Value>, Fault> {
        let key = match path {
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        };
        let Some(bytes) = self.storage.read(&key, MAX_DOCUMENT_BYTES)? else {
            return self.consolidated.check(&key, None).map(|()| None);
        };
        let n_values = bytes
            .iter()
            .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
            .count();
        if n_values > MAX_DOCUMENT_VALUES {
            return Err(
                format!("{key} has {n_values} values, expected at most {MAX_DOCUMENT_VALUES}").into(),
            );
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(document) if document.is_object() => {
                self.consolidated.check(&key, Some(&document))?;
                Ok(Some(document))
            }
            Ok(_) => Err(format!("{key} is not a JSON object").into()),
            Err(error) => Err(format!("{key}: {error}").into()),
        }
    }

    fn document(&self, path: &str) -> Result<Option<Document>, Fault> {
        if let Some(document) = self.get(path, "zarr.json")? {
            return Ok(Some(Document::V3(document)));
        }
        if let Some(array) = self.get(path, ".zarray")? {
            return Ok(Some(Document::V2(Some(array))));
        }
        Ok(self.get(path, ".zgroup")?.map(|_| Document::V2(None)))
    }
}

impl Document {
    fn kind(&self) -> Kind {
        let is_array = match self {
            Self::V3(document) => document["node_type"] == "array",
            Self::V2(array) => array.is_some(),
        };
        if is_array { Kind::Dataset } else { Kind::Group }
    }
}

impl Container for Zarr {
    fn kind(&self, path: &str) -> Result<Option<Kind>, Fault> {
        Ok(self.document(path)?.map(|document| document.kind()))
    }

    fn members(&self, group: &str) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        for name in self.storage.directories(group)? {
            let path = match group {
                "" => name.clone(),
                group => format!("{group}/{name}"),
            };
            if self.kind(&path)?.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn attribute(&self, path: &str, _: Kind, name: &str) -> Result<Option<Attribute>, Fault> {
        let attributes = match self.document(path)? {
            Some(Document::V3(mut document)) => document["attributes"].take(),
            Some(Document::V2(_)) => self.get(path, ".zattrs")?.unwrap_or_default(),
            None => return Ok(None),
        };
        Ok(attributes.get(name).and_then(convert_attribute))
    }

    fn describe(&self, dataset: &str) -> Result<Description, Fault> {
        let (is_v3, document) = match self.document(dataset)? {
            Some(Document::V3(document)) if document["node_type"] == "array" => (true, document),
            Some(Document::V2(Some(document))) => (false, document),
            _ => return Err("it is not an array".to_owned().into()),
        };
        let outline = match is_v3 {
            true => Outline::of_v3(&document)?,
            false => Outline::of_v2(&document)?,
        };
        if !outline.is_read() {
            return Ok(Description {
                shape: outline.shape,
                element: outline.element,
                placement: Placement::Unlocated,
                filters: Vec::new(),
                fill: None,
                said_by: Vec::new(),
            });
        }
        let metadata = match is_v3 {
            true => Metadata::of_v3(outline, dataset, &document)?,
            false => Metadata::of_v2(outline, dataset, &document)?,
        };
        let element = metadata.element.clone();
        let array = ZarrArray::new(&self.storage, dataset, metadata, self.len_bytes)?;
        Ok(Description {
            shape: array.shape(),
            element,
            placement: Placement::Foreign(Arc::new(array)),
            filters: Vec::new(),
            fill: None,
            said_by: Vec::new(),
        })
    }

    fn resolve(&self, _: &[u8]) -> Result<Vec<u8>, Fault> {
        Err("zarr has no references to text".to_owned().into())
    }
}

/// The meaning of an attribute; `None` for null.
fn convert_attribute(value: &Value) -> Option<Attribute> {
    let items = match value {
        Value::Null => return None,
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.is_empty() {
        return Some(Attribute::Empty);
    }
    let text: Option<Vec<String>> = items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    let integers: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
    let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    let flags: Option<Vec<bool>> = items.iter().map(Value::as_bool).collect();
    let found = text
        .map(Attribute::Text)
        .or(integers.map(Attribute::Int))
        .or(numbers.map(Attribute::Float))
        .or(flags.map(Attribute::Bool));
    Some(found.unwrap_or_else(|| Attribute::Other("JSON of another kind".to_owned())))
}
