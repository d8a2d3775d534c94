//! [`Container`] on the crate `zarrs`: zarr v2 and v3, in a directory or a zip file.
//!
//! The structure (which nodes there are, their attributes) is read from the metadata documents node by node; consolidated
//! metadata are not needed and not believed. `zarrs` decodes the chunks.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zarrs::filesystem::FilesystemStore;
use zarrs::metadata::ArrayMetadata;
use zarrs::storage::{ReadableListableStorage, StoreKey, StorePrefix};
use zarrs_zip::ZipStorageAdapter;

use super::zarr_array::{ZarrArray, guard};
use super::{Attribute, Class, Container, Description, Element, Kind, Member, Padding, Placement};

/// The most bytes of one metadata document.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// A node's document.
enum Document {
    /// `zarr.json`.
    V3(Value),
    /// `.zarray`, or `None` for a group; the attributes lie in `.zattrs`.
    V2(Option<Value>),
}

/// A zarr hierarchy.
pub(super) struct Zarr {
    storage: ReadableListableStorage,
}

impl Zarr {
    /// Opens a directory, or a zip file.
    pub(super) fn open(path: &Path, is_zip: bool) -> Result<Self, String> {
        let storage: ReadableListableStorage = guard(|| {
            if !is_zip {
                return Ok(Arc::new(FilesystemStore::new(path).map_err(|e| e.to_string())?) as _);
            }
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy())
                .unwrap_or_default();
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let directory = Arc::new(FilesystemStore::new(parent).map_err(|error| error.to_string())?);
            let key = StoreKey::new(name.as_ref()).map_err(|error| error.to_string())?;
            let zip = ZipStorageAdapter::new(directory, key).map_err(|error| error.to_string())?;
            Ok(Arc::new(zip) as _)
        })?;
        let zarr = Self { storage };
        match zarr.document("")? {
            Some(_) => Ok(zarr),
            None => Err("it has neither zarr.json nor .zgroup at its root".to_owned()),
        }
    }

    fn get(&self, path: &str, name: &str) -> Result<Option<Value>, String> {
        let key = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}/{name}")
        };
        let key = StoreKey::new(key).map_err(|error| error.to_string())?;
        guard(|| {
            let bytes = match self.storage.size_key(&key).map_err(|error| error.to_string())? {
                None => return Ok(None),
                Some(size) if size > MAX_DOCUMENT_BYTES => {
                    return Err(format!(
                        "{key} has {size} bytes, expected at most {MAX_DOCUMENT_BYTES}"
                    ));
                }
                Some(_) => self.storage.get(&key).map_err(|error| error.to_string())?,
            };
            bytes
                .map(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("{key}: {error}")))
                .transpose()
        })
    }

    fn document(&self, path: &str) -> Result<Option<Document>, String> {
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
    fn kind(&self, path: &str) -> Result<Option<Kind>, String> {
        Ok(self.document(path)?.map(|document| document.kind()))
    }

    fn members(&self, group: &str) -> Result<Vec<String>, String> {
        let prefix = if group.is_empty() {
            String::new()
        } else {
            format!("{group}/")
        };
        let prefix = StorePrefix::new(prefix).map_err(|error| error.to_string())?;
        let listed = guard(|| self.storage.list_dir(&prefix).map_err(|error| error.to_string()))?;
        let mut names = Vec::new();
        for member in listed.prefixes() {
            let path = member.as_str().trim_end_matches('/');
            if self.kind(path)?.is_some() {
                names.push(path.rsplit('/').next().unwrap_or(path).to_owned());
            }
        }
        Ok(names)
    }

    fn attribute(&self, path: &str, _: Kind, name: &str) -> Result<Option<Attribute>, String> {
        let attributes = match self.document(path)? {
            Some(Document::V3(mut document)) => document["attributes"].take(),
            Some(Document::V2(_)) => self.get(path, ".zattrs")?.unwrap_or_default(),
            None => return Ok(None),
        };
        Ok(attributes.get(name).map(convert_attribute))
    }

    fn describe(&self, dataset: &str) -> Result<Description, String> {
        let (element, metadata, record_bytes) = match self.document(dataset)? {
            Some(Document::V3(document)) => {
                let name = match &document["data_type"] {
                    Value::String(name) => name.clone(),
                    other => other["name"].as_str().unwrap_or("unnamed").to_owned(),
                };
                (element_of_v3(&name), document, None)
            }
            Some(Document::V2(Some(mut document))) => {
                if let Some(fill) = document["fill_value"].as_bool() {
                    document["fill_value"] = u8::from(fill).into();
                }
                let element = element_of_v2(&document["dtype"], &document["filters"]);
                let is_number = matches!(element.class, Class::Int { .. } | Class::Float | Class::Bool);
                if is_number || element.class == Class::VarText {
                    // They are decoded in this machine's order.
                    let element = Element {
                        big_endian: false,
                        ..element
                    };
                    (element, document, None)
                } else {
                    let bytes = element.size_bytes;
                    (element, as_bytes(document, bytes)?, Some(bytes))
                }
            }
            _ => return Err("it is not an array".to_owned()),
        };
        let array: ArrayMetadata = serde_json::from_value(metadata).map_err(|error| error.to_string())?;
        let array = ZarrArray::open(&self.storage, dataset, array, record_bytes, &element)?;
        Ok(Description {
            shape: array.shape(),
            element,
            placement: Placement::Foreign(Arc::new(array)),
            filters: Vec::new(),
            fill: None,
        })
    }

    fn resolve(&self, _: &[u8]) -> Result<Vec<u8>, String> {
        Err("zarr has no references to text".to_owned())
    }
}

fn convert_attribute(value: &Value) -> Attribute {
    match value {
        Value::String(text) => Attribute::Text(vec![text.clone()]),
        Value::Bool(value) => Attribute::Bool(*value),
        Value::Number(number) => number
            .as_i64()
            .map_or(Attribute::Other, |n| Attribute::Int(vec![n])),
        Value::Array(items) if items.is_empty() => Attribute::Empty,
        Value::Array(items) => {
            let text: Option<Vec<String>> = items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
            let integers: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
            match (text, integers) {
                (Some(text), _) => Attribute::Text(text),
                (_, Some(integers)) => Attribute::Int(integers),
                _ => Attribute::Other,
            }
        }
        _ => Attribute::Other,
    }
}

/// Bytes that stand for a string of variable length where a width is asked for.
const TEXT_BYTES: usize = 16;

fn element(class: Class, size_bytes: usize) -> Element {
    Element {
        class,
        size_bytes,
        big_endian: false,
    }
}

fn element_of_v3(name: &str) -> Element {
    let bytes = |prefix: &str| {
        let bits: usize = name.strip_prefix(prefix)?.parse().ok()?;
        matches!(bits, 8 | 16 | 32 | 64).then_some(bits / 8)
    };
    if name == "bool" {
        element(Class::Bool, 1)
    } else if name == "string" {
        element(Class::VarText, TEXT_BYTES)
    } else if let Some(bytes) = bytes("int") {
        element(Class::Int { signed: true }, bytes)
    } else if let Some(bytes) = bytes("uint") {
        element(Class::Int { signed: false }, bytes)
    } else if let Some(bytes) = bytes("float") {
        element(Class::Float, bytes)
    } else {
        element(Class::Other(format!("zarr data type {name}")), 1)
    }
}

/// The element of a numpy type string, or of a list of named ones.
fn element_of_v2(dtype: &Value, filters: &Value) -> Element {
    if let Value::Array(fields) = dtype {
        let mut at = 0;
        let mut members = Vec::new();
        for field in fields {
            let element = element_of_v2(&field[1], &Value::Null);
            // A third item is the shape of a field that is an array itself.
            let count = match field.get(2) {
                Some(Value::Array(shape)) => shape.iter().filter_map(Value::as_u64).product::<u64>() as usize,
                _ => 1,
            };
            let size_bytes = element.size_bytes;
            let element = match count {
                1 => element,
                _ => self::element(
                    Class::Other("arrays".to_owned()),
                    size_bytes.saturating_mul(count),
                ),
            };
            let size_bytes = element.size_bytes;
            members.push(Member {
                name: field[0].as_str().unwrap_or_default().to_owned(),
                offset_bytes: at,
                element,
            });
            at = at.saturating_add(size_bytes);
        }
        return element(Class::Compound(members), at.max(1));
    }
    let name = dtype.as_str().unwrap_or_default();
    let mut characters = name.chars();
    let order = characters.next();
    let kind = characters.next();
    let size: usize = characters.as_str().parse().unwrap_or(1).clamp(1, 1 << 20);
    let class = match kind {
        Some('b') => Class::Bool,
        Some('i') => Class::Int { signed: true },
        Some('u') => Class::Int { signed: false },
        Some('f') => Class::Float,
        Some('S') => Class::FixedText(Padding::Nul),
        Some('U') => Class::FixedUnicode,
        Some('O')
            if filters
                .as_array()
                .is_some_and(|f| f.iter().any(|f| f["id"] == "vlen-utf8")) =>
        {
            return element(Class::VarText, TEXT_BYTES);
        }
        _ => Class::Other(format!("numpy type {name}")),
    };
    let size_bytes = if class == Class::FixedUnicode {
        4 * size
    } else {
        size
    };
    Element {
        class,
        size_bytes,
        big_endian: order == Some('>'),
    }
}

/// The document of a list of records as one of their bytes, which lie in the same chunks.
fn as_bytes(mut document: Value, record_bytes: usize) -> Result<Value, String> {
    document["dtype"] = "|u1".into();
    document["fill_value"] = 0.into();
    for key in ["shape", "chunks"] {
        let bytes = match document[key].as_array().map(Vec::as_slice) {
            Some([length]) => length.as_u64().and_then(|n| n.checked_mul(record_bytes as u64)),
            _ => return Err(format!("its {key} is not one number, as records must have")),
        };
        document[key] = vec![bytes.ok_or_else(|| format!("its {key} is too large"))?].into();
    }
    Ok(document)
}
